"""Scores submissions against a table of true labels, and the pseudo-labels of a pool whose labels are known.

The table is a csv file with a column of clips' names and with emotion and intent, in any of the spellings that the
tables of a corpus may have (`meiju.data.tables`). With a column speaker or dialogue, intervals are over these.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from meiju.config import require
from meiju.data import submission
from meiju.data.labels import OFFICIAL, TASKS, UNKNOWN, LabelSet, clean_label, spelled
from meiju.data.tables import read_alone
from meiju.data.units import Units, units_of
from meiju.evaluation.metrics import SCORES, bootstrap, interval, joint_score, per_class
from meiju.utils import files

AVERAGES = ("weighted", "micro")


@dataclass(frozen=True)
class Scored:
    """Some submissions for the same clips, beside the truth.

    clips: the table of true labels, see `read_truth`, whether scored or not; truth[task], predicted[k][task]: class
    numbers [N] in `labels`, UNKNOWN where the truth has none; units: what intervals resample.
    """

    clips: pd.DataFrame
    labels: LabelSet
    truth: dict[str, np.ndarray]
    predicted: list[dict[str, np.ndarray]]
    units: Units


def read(path: Path, submissions: Sequence[Path]) -> Scored:
    """Read the truth and put submissions beside it.

    Scored are the clips that a column `part` says are of the test part, and all of these must be predicted; where it
    says of none, those that the first submission names. Raises ConfigError with every problem of all files.
    """
    clips = read_truth(path)
    is_official = all({*clips[task]} <= {*OFFICIAL[task], ""} for task in TASKS)
    allowed = OFFICIAL if is_official else LabelSet((), ())
    tested = list(clips.name[clips.part.str.casefold().str.startswith("test")])
    options = {"names": tested, "others": () if tested else clips.name}
    options |= {"emotions": allowed.emotion, "intents": allowed.intent}
    problems = [problem for one in submissions for problem in submission.check(one, **options)]
    require(not problems, "\n".join(problems))
    tables = [submission.read(one) for one in submissions]
    names = sorted(tested or tables[0].index)
    lost = {one: sorted({*names} - {*own.index}) for one, own in zip(submissions, tables, strict=True)}
    first = submissions[0]
    problems = [f"{one}: lacks {len(own)} clips of {first}, such as {own[0]}" for one, own in lost.items() if own]
    scored = clips.set_index("name").loc[names].reset_index()
    blank = [task for task in TASKS if (scored[task] == "").all()]
    problems += [f"{path.name}: no clip to score has its {task}; fill in the column" for task in blank]
    require(not problems, "\n".join(problems))
    known = {task: OFFICIAL[task] if is_official else tuple(sorted({*clips[task]} - {""})) for task in TASKS}
    predicted = [{task: spelled(table.loc[names][task], known[task]) for task in TASKS} for table in tables]
    # A label that the truth does not have is a class of its own, so that it counts as wrong.
    new = {task: sorted({label for one in predicted for label in one[task]} - {*known[task]}) for task in TASKS}
    labels = LabelSet(**{task: (*known[task], *new[task]) for task in TASKS})
    numbers = [{task: labels.encode(task, one[task]) for task in TASKS} for one in (scored, *predicted)]
    return Scored(clips, labels, numbers[0], numbers[1:], units_of(scored, "auto"))


def read_truth(path: Path) -> pd.DataFrame:
    """Columns name, emotion, intent (cleaned, "" where there is none), speaker, dialogue, part ("" where not told)."""
    clips = read_alone(path, ("name", *TASKS))
    for task in TASKS:
        clips[task] = spelled(clips[task], (*sorted(map(clean_label, clips[task])), *OFFICIAL[task]))
    return clips


def table(scored: Scored) -> pd.DataFrame:
    """E, I and JRBM by both averages, with 95 % intervals: columns average, score, value, low, high.

    Of two submissions also beside, beside_low, beside_high, and difference (the first less the second), difference_low,
    difference_high.
    """
    rows = []
    for average in AVERAGES:
        values = [joint_score(scored.truth, predicted, average) for predicted in scored.predicted]
        drawn = bootstrap(scored.truth, scored.predicted, average, units=scored.units)
        for name in SCORES:
            found = {"value": (values[0][name], drawn[name][0])}
            if len(values) > 1:
                found["beside"] = (values[1][name], drawn[name][1])
                found["difference"] = (values[0][name] - values[1][name], drawn[name][0] - drawn[name][1])
            row = {"average": average, "score": name}
            for column, (value, draws) in found.items():
                start = "" if column == "value" else f"{column}_"
                low, high = interval(value, draws, scored.units)
                if column != "difference":  # of a handful of speakers, it would reach beyond what a score can be
                    low, high = np.clip((low, high), 0, 1)
                row |= {column: value, f"{start}low": low, f"{start}high": high}
            rows.append(row)
    return pd.DataFrame(rows)


def classes(scored: Scored) -> pd.DataFrame:
    """Of each class: columns task, class, support, precision, recall, F1; of a second submission with beside_."""
    tables = []
    for task in TASKS:
        of_task = pd.DataFrame({"task": task, "class": scored.labels[task]})
        for k, predicted in enumerate(scored.predicted):
            known = scored.truth[task] != UNKNOWN
            found = per_class(scored.truth[task][known], predicted[task][known], len(of_task))
            of_task["support"] = found.pop("support")
            of_task = of_task.join(found.add_prefix("beside_" if k else ""))
        tables.append(of_task)
    return pd.concat(tables, ignore_index=True)


def pool_precision(path: Path, truth: pd.DataFrame) -> tuple[pd.DataFrame, pd.DataFrame, str]:
    """How many of the accepted pseudo-labels in a file of step 06 are right, of the clips whose labels are known.

    truth: see `read_truth`. Returns a row per task (accepted: labels a fold; precision, low, high: the share of them
    that is right, over all folds, and its 95 % interval), a row per task and predicted class, and what the interval is
    over. Raises ConfigError where there is nothing to compare, and Damaged where the file is none of step 06.
    """
    where = "work/<run>/pseudo/<fingerprint>/pseudo_labels.csv"
    require(path.is_file(), f"--pseudo: no file {path}; step 06 writes {where}")
    with files.reading(path):
        types = {"name": str, "fold": int, **dict.fromkeys(TASKS, str), **{f"{t}_accepted": bool for t in TASKS}}
        labelled = pd.read_csv(path, dtype=types, keep_default_na=False)[list(types)]
    labelled = labelled.merge(truth, on="name", suffixes=("", "_true"))
    require(len(labelled) > 0, f"{path.name}: none of its clips is in the table of true labels")
    clips, n_folds = labelled.drop_duplicates("name").reset_index(drop=True), labelled.fold.nunique()
    units, tasks, by_class = units_of(clips, "auto"), [], []
    draws = units.draw(1000, 0)  # [draws, clips]
    for task in TASKS:
        rows = labelled[labelled[f"{task}_accepted"] & (labelled[f"{task}_true"] != "")].copy()
        rows["right"] = spelled(rows[task], sorted({*rows[f"{task}_true"]})) == rows[f"{task}_true"]
        by_clip = rows.groupby("name").right.agg(["size", "sum"]).reindex(clips.name, fill_value=0)
        with np.errstate(invalid="ignore"):
            drawn = (draws @ by_clip["sum"].to_numpy()) / (draws @ by_clip["size"].to_numpy())
        low, high = interval(rows.right.mean(), drawn[~np.isnan(drawn)], units) if len(rows) else (np.nan, np.nan)
        tasks.append([task, len(rows) / n_folds, rows.right.mean(), low, high])
        of_class = rows.groupby(task).right.agg(accepted="size", precision="mean").rename_axis("class").reset_index()
        by_class.append(of_class.assign(task=task, accepted=of_class.accepted / n_folds))
    classes = pd.concat(by_class, ignore_index=True)[["task", "class", "accepted", "precision"]]
    return pd.DataFrame(tasks, columns=["task", "accepted", "precision", "low", "high"]), classes, units.what
