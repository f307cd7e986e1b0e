"""What tests of public corpora share: toy clips, tables as their owners write them, and a corpus prepared and read."""

from pathlib import Path

import numpy as np
import pandas as pd

from meiju.config import CorpusConfig
from meiju.data.corpus import Corpus, read_corpus
from meiju.data.public import CORPORA
from meiju.data.public.preparing import prepare
from meiju.features.media import write_clip


def toy_clip(path: Path, *, seconds: float = 0.2) -> Path:
    """A grey film with silence; sounds are given the ending of sounds."""
    path.parent.mkdir(parents=True, exist_ok=True)
    is_film = path.suffix in (".mp4", ".avi")
    frames = np.full((max(1, round(seconds * 10)), 16, 16, 3), 99, dtype=np.uint8) if is_film else None
    write_clip(path, frames, np.zeros(round(seconds * 16000), dtype=np.float32), fps=10)
    return path


def write_rows(path: Path, rows: list[dict], *, encoding: str = "utf-8") -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(pd.DataFrame(rows).to_csv(index=False), encoding=encoding)


def prepared(name: str, source: Path, out: Path, **settings) -> tuple[str, pd.DataFrame]:
    """Prepare a corpus; returns what its README says and the withheld labels by name."""
    truth = out.with_name(f"{out.name}-truth.csv")
    text = prepare(name, CORPORA[name], source, out, truth, **settings)
    return text, pd.read_csv(truth, keep_default_na=False).set_index("filename")


def as_corpus(out: Path, *, needs_media: bool) -> Corpus:
    """The prepared folder as the pipeline reads it: without a problem or a warning."""
    corpus = read_corpus(CorpusConfig(root=out, labels="training-file"), needs_media=needs_media)
    assert not any(remark.startswith("warning") for remark in corpus.remarks)
    return corpus
