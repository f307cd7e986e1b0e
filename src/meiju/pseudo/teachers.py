"""Pseudo-labels: what the second stage learns from predictions on the unlabelled pool, kept free of leaks.

By default (--pseudo.gate soft) that is the whole pool, with the teachers' probabilities as targets, calibrated by a
temperature. The paper accepts, for each task by itself, the likeliest class where the networks' own softmax is above
0.99 (arXiv 2501.06215): the gate `paper`.

The teachers of fold k are the stage-1 members that held fold k out. How far to trust them is measured on the other
folds' rows, each scored by members that held out both its own fold and fold k. So nothing about fold k's held-out rows
reaches its pseudo-labels: shuffling their labels leaves them as they are, bit for bit. One set of pseudo-labels made by
all folds' models would lift cross-validation and nothing else.
"""

from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd

from meiju.config import Config, PseudoConfig
from meiju.data.corpus import Corpus
from meiju.data.labels import TASKS, LabelSet, probability_column
from meiju.evaluation import ensemble
from meiju.evaluation.ensemble import Probabilities
from meiju.evaluation.metrics import calibrate, fit_temperature
from meiju.training import members
from meiju.training.members import Member
from meiju.utils import files

LABELLED_PER_PSEUDO = 20  # below one pseudo-label for so many labelled clips, stage 2 is stage 1 over again
CONFIDENCES = [f"{task}_confidence" for task in TASKS]


class Gate(NamedTuple):
    """What a prediction of one task must pass: `threshold` on the confidence after `temperature`."""

    temperature: float
    threshold: float
    precision: float  # of the held-out rows that pass; NaN if none of them does


class LeakError(AssertionError):
    """A teacher or a calibration model has trained on a clip that it should hold out."""


def label_pool(config: Config, corpus: Corpus, folds: pd.DataFrame, folder: Path) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Pseudo-labels of all folds (see `label_fold`, with a column fold), and the gates they passed.

    The teachers are the stage-1 members in `folder`; the gates are fitted on the predictions of calibration models.
    Raises LeakError where a member has trained on its fold.
    """
    pool, tables, gates = corpus.part("unlabelled").name.to_numpy(dtype=str), [], []
    for fold in range(config.folds):
        teachers = _unseen(config, folds, folder, (fold,))
        rows, predicted = calibration_out_of_fold(config, folds, folder, fold)
        labelled = rows.merge(corpus.part("training"), on="name", validate="one_to_one")
        truth = {task: corpus.labels.encode(task, labelled[task]) for task in TASKS}
        by_task = {task: fit_gate(config.pseudo, predicted[task], truth[task]) for task in TASKS}
        probabilities = ensemble.mean_over(folder, teachers, list(pool))
        tables.append(label_fold(pool, probabilities, by_task, corpus.labels).assign(fold=fold))
        gates += [{"fold": fold, "task": task, **gate._asdict()} for task, gate in by_task.items()]
    return pd.concat(tables, ignore_index=True), pd.DataFrame(gates)


def fit_gate(config: PseudoConfig, probabilities: np.ndarray, labels: np.ndarray) -> Gate:
    """The gate of a task, from probabilities [N, K] by calibration models of rows they never saw, with labels [N].

    The paper takes confidences as they come; otherwise the temperature suits these rows, and everything passes.
    """
    paper = config.gate == "paper"
    temperature = 1.0 if paper else fit_temperature(probabilities, labels)
    calibrated = calibrate(probabilities, temperature)
    threshold = config.threshold if paper else 0.0
    correct = (calibrated.argmax(axis=1) == labels)[calibrated.max(axis=1) >= threshold]
    return Gate(temperature, threshold, float(correct.mean()) if len(correct) else float("nan"))


def label_fold(
    names: np.ndarray, probabilities: Probabilities, gates: dict[str, Gate], labels: LabelSet
) -> pd.DataFrame:
    """Pseudo-labels of one fold: by task its label, confidence, whether it is accepted, and each class' probability.

    names [N] and probabilities are the teachers' on the pool; the confidence is calibrated.
    """
    table = pd.DataFrame({"name": names})
    for task in TASKS:
        calibrated = calibrate(probabilities[task], gates[task].temperature)
        confidence = calibrated.max(axis=1)
        table[task] = labels.decode(task, calibrated.argmax(axis=1))
        table[f"{task}_confidence"] = confidence.round(6)
        table[f"{task}_accepted"] = confidence >= gates[task].threshold
        for k, label in enumerate(labels[task]):
            table[probability_column(task, label)] = calibrated[:, k].round(6)
    return table


def calibration_out_of_fold(
    config: Config, folds: pd.DataFrame, folder: Path, fold: int
) -> tuple[pd.DataFrame, Probabilities]:
    """Predictions by models like fold's teachers of rows they never saw: rows (name, fold), and their probabilities.

    Every row of another fold j is scored by the calibration models, which held out both j and `fold`.
    """
    rows, parts = [], []
    for other in sorted(set(range(config.folds)) - {fold}):
        rows.append(folds[folds.fold == other])
        models = _unseen(config, folds, folder, tuple(sorted((fold, other))))
        parts.append(ensemble.mean_over(folder, models, list(rows[-1].name)))
    return pd.concat(rows, ignore_index=True), {t: np.concatenate([part[t] for part in parts]) for t in TASKS}


def write(folder: Path, table: pd.DataFrame, gates: pd.DataFrame) -> list[Path]:
    """Write pseudo_labels.csv and gates.csv; returns their paths."""
    written = {folder / "pseudo_labels.csv": table, folder / "gates.csv": gates}
    for path, content in written.items():
        files.write_text(path, content.to_csv(index=False))
    return list(written)


def read(folder: Path) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Read what `write` wrote. Raises Damaged where it is not whole."""
    types = {"fold": int, "task": str, **dict.fromkeys(Gate._fields, float)}
    with files.reading(folder / "gates.csv"):
        gates = pd.read_csv(folder / "gates.csv", dtype=types)[list(types)]
    types = {"name": str, "fold": int, **dict.fromkeys(TASKS, str), **dict.fromkeys(CONFIDENCES, float)}
    types |= {f"{task}_accepted": bool for task in TASKS}
    with files.reading(folder / "pseudo_labels.csv"):
        table = pd.read_csv(folder / "pseudo_labels.csv", dtype=types, keep_default_na=False)
        known = table[list(types)]  # raises where one is missing
        if not all(known[column].between(0, 1).all() for column in CONFIDENCES):
            raise ValueError("a confidence that is no probability")
        if known.fold.value_counts().nunique() > 1:
            raise ValueError("not all folds have the same clips")
    return table, gates


def accepted(table: pd.DataFrame) -> pd.DataFrame:
    """The rows of pseudo-labels of which at least one task was accepted."""
    return table[table.emotion_accepted | table.intent_accepted]


def too_few(table: pd.DataFrame, n_labelled: int, n_folds: int) -> str:
    """The warning where a fold accepts less than one clip for LABELLED_PER_PSEUDO labelled ones; "" where it does not.

    table: pseudo-labels of all folds, as from `label_pool`; n_labelled: the clips of the training part.
    """
    n_accepted = len(accepted(table)) / n_folds
    if n_accepted * LABELLED_PER_PSEUDO >= n_labelled:
        return ""
    return (
        f"Stage 2 is nearly stage 1 again: for {n_labelled} labelled clips, a fold has {n_accepted:.1f} "
        f"pseudo-labelled ones; with fewer than one for every {LABELLED_PER_PSEUDO}, any gain or loss is chance."
    )


def describe(table: pd.DataFrame, gates: pd.DataFrame, corpus: Corpus) -> str:
    """What was accepted per class and per pair, beside the training part; and what would be, if nothing was."""
    n_folds = gates.fold.nunique()
    if len(table) == 0:
        return "there are no unlabelled clips, so there are no pseudo-labels and stage 2 learns nothing new"
    lines = [f"pseudo-labels of {len(table) // n_folds} unlabelled clips, mean over {n_folds} folds"]
    training = corpus.part("training")
    for task in TASKS:
        kept, mean = table[table[f"{task}_accepted"]], gates[gates.task == task][list(Gate._fields)].mean()
        right = "none passes" if np.isnan(mean.precision) else f"{mean.precision:.3f} of those that pass are right"
        lines.append(
            f"{task}: {len(kept) / n_folds:.0f} accepted, at a confidence of {mean.threshold:.3f} or more (temperature "
            f"{mean.temperature:.2f}; of held-out rows, {right})"
        )
        if len(kept) == 0:
            surest = np.floor(1000 * table.groupby("fold")[f"{task}_confidence"].max().min()) / 1000
            lines.append(f"  with --pseudo.threshold {surest:.3f} every fold would accept at least one clip")
        counts = {"accepted per fold": kept[task].value_counts() / n_folds, "training": training[task].value_counts()}
        beside = pd.DataFrame(counts, index=list(corpus.labels[task])).fillna(0)
        lines.append(beside.round(0).astype(int).to_string())
    both = table[table.emotion_accepted & table.intent_accepted]
    if len(both):
        lines += ["pairs with both tasks accepted, clips per fold:", pair_counts(both, n_folds, corpus).to_string()]
        lines += ["pairs of the training part, clips:", pair_counts(training, 1, corpus).to_string()]
    return "\n".join(lines)


def pair_counts(table: pd.DataFrame, n_folds: int, corpus: Corpus) -> pd.DataFrame:
    """Clips per fold, rounded, by emotion (rows) and intent (columns)."""
    counts = (pd.crosstab(table.emotion, table.intent) / n_folds).round().astype(int)
    return counts.reindex(index=corpus.labels.emotion, columns=corpus.labels.intent, fill_value=0)


def _unseen(config: Config, folds: pd.DataFrame, folder: Path, held_out: tuple[int, ...]) -> list[Member]:
    """The members that hold out these folds. Raises LeakError where one has trained on a clip of them."""
    chosen = [Member(heads, seed, held_out) for heads in config.model.heads for seed in range(config.train.seeds)]
    names = folds.name[folds.fold.isin(held_out)].to_numpy().astype(str)
    for member in chosen:
        leaked = np.intersect1d(members.trained_on(folder, member), names)
        if len(leaked):
            raise LeakError(f"{len(leaked)} held-out clips were trained on, the first: {', '.join(leaked[:3])}")
    return chosen
