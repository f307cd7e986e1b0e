"""Finds and reads the owners' files below the folder that somebody has put them in."""

import io
import re
from collections.abc import Iterable
from pathlib import Path

import pandas as pd

from meiju.config import ConfigError, require
from meiju.utils.clip_files import MEDIA_SUFFIXES, VIDEO_SUFFIXES, clip_name, walk

# EMOTyDA's twelve dialogue acts, by the code that its tables hold (README.md of sahatulika15/EMOTyDA).
ACTS = {
    "g": "greeting",
    "q": "question",
    "ans": "answer",
    "o": "statement-opinion",
    "s": "statement-non-opinion",
    "ap": "apology",
    "c": "command",
    "ag": "agreement",
    "dag": "disagreement",
    "a": "acknowledge",
    "b": "backchannel",
    "oth": "others",
}


def files_below(source: Path) -> list[Path]:
    """All files below the source, the least deep first; hidden ones, such as macOS' ._dia0_utt0.mp4, are left out."""
    require(source.is_dir(), f"{source} is not a folder; give the folder that holds the corpus' files")
    return sorted(walk(source).files, key=lambda path: (len(path.parts), path))


def media_below(paths: list[Path]) -> dict[str, Path]:
    """The clips among files, by the clip's name; of a film and its sound, the film."""
    found: dict[str, Path] = {}
    for path in sorted(paths, key=lambda path: path.suffix.lower() not in VIDEO_SUFFIXES):
        if path.suffix.lower() in MEDIA_SUFFIXES:
            found.setdefault(clip_name(path.name), path)
    return found


def require_files(paths: list[Path], source: Path, wanted: dict[str, str]) -> dict[str, Path]:
    """The least deep file of each wanted name; raises ConfigError that names all that miss.

    wanted: the name, in any case, and what to do if there is none.
    """
    by_name: dict[str, Path] = {}
    for path in paths:
        by_name.setdefault(path.name.casefold(), path)
    missing = [f"no {name} ({remedy})" for name, remedy in wanted.items() if name.casefold() not in by_name]
    require(not missing, f"below {source} there is {', '.join(missing)}")
    return {name: by_name[name.casefold()] for name in wanted}


def read_table(path: Path, columns: Iterable[str]) -> pd.DataFrame:
    """These columns of a csv file, as texts without spaces around them. Raises ConfigError where it is no such table.

    A byte-order mark is passed over. What is not UTF-8 is read as Windows' Latin-1, whose apostrophe is 0x92; it is an
    apostrophe too where a table was made UTF-8 by somebody who took it for plain Latin-1.
    """
    data = path.read_bytes()
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError:
        text = data.decode("latin-1")
    text = re.sub("[\x80-\x9f]", lambda c: c[0].encode("latin-1").decode("cp1252", "replace"), text)
    try:
        table = pd.read_csv(io.StringIO(text), dtype=str, keep_default_na=False, skipinitialspace=True)
    except (pd.errors.ParserError, pd.errors.EmptyDataError) as error:
        raise ConfigError(f"{path} is no csv table: {error}; get the file again from its owners") from None
    table.columns = table.columns.str.strip()
    missing = ", ".join(column for column in columns if column not in table)
    remedy = f"its columns are {', '.join(table.columns)}: is it the owners' file?"
    require(not missing, f"{path}: there is no column {missing}; {remedy}")
    return table[list(columns)].apply(lambda column: column.fillna("").str.strip())
