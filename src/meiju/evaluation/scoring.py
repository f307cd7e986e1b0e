"""Scores submissions against a table of true labels, and the pseudo-labels of a pool whose labels are known.

The table is a csv file with a column of clips' names and with emotion and intent, in any of the spellings that the
tables of a corpus may have (`meiju.data.tables`). With a column speaker or dialogue, intervals are over these.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from meiju.config import ConfigError
from meiju.data import submission
from meiju.data.labels import OFFICIAL, TASKS, UNKNOWN, LabelSet, clean_label
from meiju.data.tables import COLUMN_NAMES, Problem, format_problems, name_problems, read_table
from meiju.data.units import Units, units_of
from meiju.evaluation.metrics import SCORES, bootstrap, interval, joint_score, per_class
from meiju.utils import files, spreadsheets

AVERAGES = ("weighted", "micro")
SHOWN = 3  # examples named in a remark


@dataclass(frozen=True)
class Truth:
    """True labels: columns name, emotion, intent (cleaned, "" where there is none), speaker, dialogue, part, row.

    part: as the file's column of this name says, "" without one.
    """

    file: str
    clips: pd.DataFrame

    @property
    def is_official(self) -> bool:
        """Whether all labels are those of the challenge."""
        return all({*self.clips[task]} <= {*OFFICIAL[task], ""} for task in TASKS)

    @property
    def tested(self) -> list[str]:
        """The clips that are said to be of the test part."""
        return list(self.clips.name[self.clips.part.str.casefold().str.startswith("test")])


@dataclass(frozen=True)
class Scored:
    """Some submissions for the same clips, beside the truth.

    truth[task], predicted[k][task]: class numbers [N] in `labels`, UNKNOWN where the truth has none; units: what
    intervals resample; remarks: what was left out, and labels that no clip of the truth has.
    """

    labels: LabelSet
    truth: dict[str, np.ndarray]
    predicted: list[dict[str, np.ndarray]]
    units: Units
    remarks: tuple[str, ...]


def read_truth(path: Path) -> Truth:
    """Raises ConfigError with every problem of the file."""
    if not path.is_file():
        raise ConfigError(f"{path}: no such file; give a csv file of clips' names, emotion and intent")
    problems: list[Problem] = []
    clips, _ = read_table(path, path.name, "truth", problems, needed=("name", *TASKS))
    problems += name_problems(clips)
    if problems:
        raise ConfigError("\n".join(format_problems(problems)))
    for task in TASKS:
        cleaned = clips[task].map(clean_label)
        spelling = {label.casefold(): label for label in (*sorted(cleaned), *OFFICIAL[task])}
        clips[task] = [spelling[label.casefold()] for label in cleaned]
    return Truth(path.name, clips.assign(part=_parts(path, clips.row)))


def _parts(path: Path, rows: pd.Series) -> list[str]:
    """What the column `part` of a table that was read says in these rows; "" where there is none."""
    (_, header), *lines = spreadsheets.read_rows(path, columns=COLUMN_NAMES)
    columns = [spreadsheets.column_name(cell) for cell in header]
    if "part" not in columns:
        return [""] * len(rows)
    cells = dict(lines)
    return [cells[row][columns.index("part")].strip() for row in rows]


def read(truth: Truth, paths: Sequence[Path]) -> Scored:
    """Read submissions and put them beside the truth.

    Scored are the clips that the truth says are of the test part, and all of these must be predicted; where it says of
    none, those that the first submission names. Raises ConfigError with every problem of all files.
    """
    allowed = OFFICIAL if truth.is_official else LabelSet((), ())
    others = () if truth.tested else truth.clips.name
    options = {"names": truth.tested, "others": others, "emotions": allowed.emotion, "intents": allowed.intent}
    problems = [problem for path in paths for problem in submission.check(path, **options)]
    if problems:
        raise ConfigError("\n".join(problems))
    tables = [submission.read(path) for path in paths]
    names = sorted(truth.tested or tables[0].index)
    for path, table in zip(paths, tables, strict=True):
        lost = sorted({*names} - {*table.index})
        if lost:
            problems.append(f"{path}: lacks {_count(lost, f'clip of {paths[0]}')}; give submissions for the same clips")
    clips = truth.clips.set_index("name").loc[names].reset_index()
    if not names:
        problems.append(f"{paths[0]}: names no clip; there is nothing to score")
    for task in TASKS:
        if names and (clips[task] == "").all():
            problems.append(f"{truth.file}: no clip to score has its {task}; fill in the column")
    if problems:
        raise ConfigError("\n".join(problems))
    return _scored(truth, clips, paths, [table.loc[names] for table in tables])


def _scored(truth: Truth, clips: pd.DataFrame, paths: Sequence[Path], tables: Sequence[pd.DataFrame]) -> Scored:
    remarks, names, spelled = _left_out(truth, clips), {}, {}
    for task in TASKS:
        known = OFFICIAL[task] if truth.is_official else tuple(sorted({*truth.clips[task]} - {""}))
        spelled[task] = [_spelled(table[task], known) for table in tables]
        for path, labels in zip(paths, spelled[task], strict=True):
            wrong = [label for label in labels if label not in known]
            what = _count(wrong, f"label of {task} that {truth.file} does not have")
            remarks += [f"{path.name}: {what}; counted as wrong"] if wrong else []
        names[task] = (*known, *sorted(set().union(*spelled[task]) - {*known}))
        lacking = clips.name[clips[task] == ""]
        what = _count(lacking, f"clip without {task}")
        remarks += [f"{truth.file}: {what}; left out of its F1"] if len(lacking) else []
    labels = LabelSet(**names)
    predicted = [{task: labels.encode(task, spelled[task][k]) for task in TASKS} for k in range(len(tables))]
    true = {task: labels.encode(task, clips[task]) for task in TASKS}
    return Scored(labels, true, predicted, units_of(clips, "auto"), tuple(remarks))


def _left_out(truth: Truth, clips: pd.DataFrame) -> list[str]:
    rest = truth.clips[~truth.clips.name.isin(clips.name)]
    counts = rest.part.value_counts()
    named = ", ".join(f"{n} {part or 'without a row in the submission'}" for part, n in counts.items())
    return [f"{truth.file}: {len(rest)} of {len(truth.clips)} rows are left out ({named})"] if len(rest) else []


def _spelled(labels: pd.Series, known: Sequence[str]) -> list[str]:
    """Labels in the spelling of those that are known."""
    spelling = {label.casefold(): label for label in known}
    return [spelling.get(clean_label(label).casefold(), clean_label(label)) for label in labels]


def _count(names: Sequence[str], what: str) -> str:
    """How many, and the first few; what: one of them in words, such as 'clip to score'."""
    distinct = list(dict.fromkeys(names))
    more = f" and {len(distinct) - SHOWN} more" if len(distinct) > SHOWN else ""
    noun = what if len(names) == 1 else what.replace(" ", "s ", 1)
    return f"{len(names)} {noun} ({', '.join(map(repr, distinct[:SHOWN]))}{more})"


def table(scored: Scored) -> pd.DataFrame:
    """E, I and JRBM by both averages, with 95 % intervals: columns average, score, value, low, high.

    Of two submissions also beside, beside_low, beside_high, and difference (the first less the second), difference_low,
    difference_high.
    """
    rows = []
    for average in AVERAGES:
        values = [vars(joint_score(scored.truth, predicted, average)) for predicted in scored.predicted]
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


@dataclass(frozen=True)
class PoolScore:
    """How many of the accepted pseudo-labels of a pool are right.

    by_fold: columns task, fold (and "mean"), accepted, precision, and low and high of the mean (95 %). by_class:
    columns task, class, accepted (a fold, in the mean), precision. over: what the interval resamples, in words.
    """

    by_fold: pd.DataFrame
    by_class: pd.DataFrame
    over: str
    remarks: tuple[str, ...]


def score_pool(path: Path, truth: Truth) -> PoolScore:
    """Compare the accepted pseudo-labels in a file of step 06 with the truth, for the clips that it holds.

    Raises ConfigError where there is nothing to compare, and Damaged where the file is none of step 06.
    """
    if not path.is_file():
        raise ConfigError(f"--pseudo: no file {path}; step 06 writes work/<run>/pseudo/<fingerprint>/pseudo_labels.csv")
    with files.reading(path):
        types = {"name": str, "fold": int, **dict.fromkeys(TASKS, str), **{f"{t}_accepted": bool for t in TASKS}}
        labelled = pd.read_csv(path, dtype=types, keep_default_na=False)[list(types)]
    n_names = labelled.name.nunique()
    labelled = labelled.merge(truth.clips, on="name", suffixes=("", "_true"))
    if len(labelled) == 0:
        raise ConfigError(f"{path.name}: none of its {n_names} clips is in {truth.file}; nothing can be compared")
    units = units_of(labelled.drop_duplicates("name").reset_index(drop=True), "auto")
    by_fold, by_class = [], []
    for task in TASKS:
        rows = labelled[labelled[f"{task}_accepted"] & (labelled[f"{task}_true"] != "")].copy()
        rows["right"] = _spelled(rows[task], sorted({*rows[f"{task}_true"]})) == rows[f"{task}_true"]
        by_fold.append(_by_fold(task, rows, labelled, units))
        of_class = rows.groupby(task).right.agg(["size", "mean"]).reset_index()
        of_class.insert(0, "task", task)
        of_class["size"] /= labelled.fold.nunique()
        by_class.append(of_class.set_axis(["task", "class", "accepted", "precision"], axis=1))
    known = labelled.name.nunique()
    remarks = () if known == n_names else (f"{n_names - known} of {n_names} clips of the pool are not in {truth.file}",)
    return PoolScore(pd.concat(by_fold, ignore_index=True), pd.concat(by_class, ignore_index=True), units.what, remarks)


def _by_fold(task: str, rows: pd.DataFrame, labelled: pd.DataFrame, units: Units) -> pd.DataFrame:
    """Precision of each fold's accepted labels `rows`, and their mean; labelled: the labels of all clips."""
    names, folds = list(labelled.name.drop_duplicates()), sorted(labelled.fold.unique())
    counts = {
        what: kept.groupby(["name", "fold"]).size().unstack(fill_value=0).reindex(names, columns=folds, fill_value=0)
        for what, kept in (("accepted", rows), ("right", rows[rows.right]))
    }
    draws = units.draw(1000, 0)
    accepted, right = (counts[what].to_numpy() for what in ("accepted", "right"))
    with np.errstate(invalid="ignore"):
        precision = right.sum(axis=0) / accepted.sum(axis=0)
        drawn = (draws @ right) / (draws @ accepted)
    found = pd.DataFrame({"task": task, "fold": folds, "accepted": accepted.sum(axis=0), "precision": precision})
    mean = {"task": task, "fold": "mean", "accepted": accepted.sum(axis=0).mean(), "precision": np.nan}
    if accepted.any():
        mean["precision"] = float(np.nanmean(precision))
        full = drawn[~np.isnan(drawn).all(axis=1)]
        mean["low"], mean["high"] = interval(mean["precision"], np.nanmean(full, axis=1), units)
    return pd.concat([found.astype({"fold": object}), pd.DataFrame([mean])], ignore_index=True)
