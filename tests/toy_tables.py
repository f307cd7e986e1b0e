"""Tables and files of a corpus in the official layout."""

import csv
from pathlib import Path


def write_tables(root: Path, *, encoding: str = "utf-8", form: dict | None = None, **parts: list[list]) -> Path:
    """Annotation/<part>.csv of each part, its header first; form: options of `csv.writer`. Returns the root."""
    (root / "Annotation").mkdir(parents=True, exist_ok=True)
    for part, rows in parts.items():
        with (root / "Annotation" / f"{part}.csv").open("w", newline="", encoding=encoding) as file:
            csv.writer(file, **(form or {})).writerows(rows)
    return root


def write_files(root: Path, *names: str) -> None:
    """Files that hold their own names."""
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(name)
