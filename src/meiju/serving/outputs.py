"""Predictions as a table to look at, as JSON, or as csv."""

import json
import unicodedata
from collections.abc import Sequence

import pandas as pd

from meiju.data.labels import TASKS
from meiju.features.base import Clip
from meiju.serving.predictor import Prediction
from meiju.utils import spreadsheets


def as_records(predictions: Sequence[Prediction], problems: dict[str, str]) -> list[dict]:
    """One record a clip, as plain JSON values, and one for each place with a problem that is no clip.

    Keys clip, emotion, intent (None without a prediction), probabilities (by task and label), streams (those used),
    missing (reason by stream), notes (by stream that is used, such as what of it is damaged), sentence (as it was
    read), transcribed (whether speech recognition made it), problem (None where there is none).
    """
    known = {prediction.clip.path for prediction in predictions}
    nothing = {task: {} for task in TASKS}
    predictions = [*predictions, *(Prediction(Clip("", "", p), nothing, (), {}) for p in problems if p not in known)]
    records = []
    for prediction in predictions:
        clip, by_task = prediction.clip.path or prediction.clip.name, prediction.probabilities
        records.append(
            {
                "clip": clip,
                **{task: max(by_task[task], key=by_task[task].get, default=None) for task in TASKS},
                "probabilities": {task: {label: round(p, 6) for label, p in by_task[task].items()} for task in TASKS},
                "streams": list(prediction.streams),
                "missing": prediction.missing,
                "notes": prediction.notes,
                "sentence": prediction.clip.sentence,
                "transcribed": prediction.transcribed,
                "problem": problems.get(clip) or prediction.problem or None,
            }
        )
    return records


def as_json(records: Sequence[dict]) -> str:
    """All there is to know."""
    text = json.dumps(records, ensure_ascii=False, indent=1) + "\n"
    return text.encode("utf-8", "backslashreplace").decode("utf-8")  # of a file's name that is not UTF-8


def as_csv(records: Sequence[dict]) -> str:
    """One row a record, and one column a probability, such as emotion_happy."""
    rows = []
    for record in records:
        probabilities = {f"{task}_{label}": p for task in TASKS for label, p in record["probabilities"][task].items()}
        texts = {"streams": "+".join(record["streams"])}
        texts |= {key: _by_stream(record[key]) for key in ("missing", "notes")}
        rows.append(record | texts | probabilities)
    return spreadsheets.as_csv(pd.DataFrame(rows).drop(columns="probabilities"))


def as_table(records: Sequence[dict]) -> str:
    """Likeliest labels with their probabilities, aligned, what was used and what was not, and what was transcribed."""
    rows = [["clip", *TASKS, "streams", "note"]]
    for record in records:
        likeliest = [
            f"{record[task]} {record['probabilities'][task][record[task]]:.2f}" if record[task] else "–"
            for task in TASKS
        ]
        transcript = [f"transcribed: {record['sentence']}"] if record["transcribed"] else []
        problem = record["problem"] or _by_stream(record["missing"])
        note = "; ".join(filter(None, [*transcript, problem, _by_stream(record["notes"])]))
        row = [record["clip"], *likeliest, "+".join(record["streams"]) or "–", note]
        rows.append([spreadsheets.one_line(cell) for cell in row])
    widths = [max(map(_width, column)) for column in zip(*rows, strict=True)]
    padded = [[cell + " " * (n - _width(cell)) for cell, n in zip(row, widths, strict=True)] for row in rows]
    return "".join("  ".join(cells).rstrip() + "\n" for cells in padded)


FORMATS = {"table": as_table, "json": as_json, "csv": as_csv}


def _by_stream(notes: dict[str, str]) -> str:
    return "; ".join(f"{stream}: {note}" for stream, note in notes.items())


def _width(text: str) -> int:
    """Columns that a text takes in a terminal: two for a wide character, such as a Chinese one, none for an accent."""
    return sum(2 if unicodedata.east_asian_width(c) in "WF" else not unicodedata.combining(c) for c in text)
