"""Which members teach which fold, and what they may know: how pseudo-labels are kept free of leaks.

The teachers of fold k are the stage-1 members that held fold k out. How far to trust them is measured on the other
folds' rows, each scored by members that held out both its own fold and fold k. So nothing about fold k's held-out rows
reaches its pseudo-labels: shuffling their labels leaves them as they are, bit for bit.
"""

from dataclasses import fields
from pathlib import Path

import numpy as np
import pandas as pd

from meiju.config import Config
from meiju.data.corpus import Corpus
from meiju.data.labels import TASKS
from meiju.evaluation import ensemble
from meiju.evaluation.ensemble import Probabilities
from meiju.pseudo.gates import Gate, assert_unseen, fit_gates, label_fold
from meiju.training import members
from meiju.training.members import Member
from meiju.utils import files

LABELLED_PER_PSEUDO = 20  # below one pseudo-label for so many labelled clips, stage 2 is stage 1 over again
GATE = [field.name for field in fields(Gate)]
CONFIDENCES = [f"{task}_confidence" for task in TASKS]


def label_pool(config: Config, corpus: Corpus, folds: pd.DataFrame, folder: Path) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Pseudo-labels of all folds (see `meiju.pseudo.gates.label_fold`, with a column fold), and the gates they passed.

    The teachers are the stage-1 members in `folder`; the gates are fitted on the predictions of calibration models.
    Raises LeakError where a teacher has seen its fold.
    """
    pool, tables, gates = np.array(pool_of(corpus), dtype=str), [], []
    for fold in range(config.folds):
        teachers = _members(config, (fold,))
        _assert_unseen(folder, teachers, _held_out(folds, fold))
        rows, predicted = calibration_out_of_fold(config, folds, folder, fold)
        labelled = rows.merge(corpus.part("training"), on="name", validate="one_to_one")
        truth = {task: corpus.labels.encode(task, labelled[task]) for task in TASKS}
        by_task = fit_gates(config.pseudo, predicted, truth)
        probabilities = ensemble.mean_over(folder, teachers, list(pool))
        tables.append(label_fold(pool, probabilities, by_task, corpus.labels).assign(fold=fold))
        gates += [{"fold": fold, "task": task, **vars(gate)} for task, gate in by_task.items()]
    return pd.concat(tables, ignore_index=True), pd.DataFrame(gates)


def pool_of(corpus: Corpus) -> list[str]:
    """Names of the unlabelled clips."""
    return list(corpus.part("unlabelled").name)


def calibration_out_of_fold(
    config: Config, folds: pd.DataFrame, folder: Path, fold: int
) -> tuple[pd.DataFrame, Probabilities]:
    """Predictions by models like fold's teachers of rows they never saw: rows (name, fold), and their probabilities.

    Every row of another fold j is scored by the calibration models, which held out both j and `fold`.
    """
    rows, parts = [], []
    for other in sorted(set(range(config.folds)) - {fold}):
        rows.append(folds[folds.fold == other])
        models = _members(config, tuple(sorted((fold, other))))
        _assert_unseen(folder, models, _held_out(folds, fold))
        parts.append(ensemble.mean_over(folder, models, list(rows[-1].name)))
    return pd.concat(rows, ignore_index=True), {t: np.concatenate([part[t] for part in parts]) for t in TASKS}


def write(folder: Path, table: pd.DataFrame, gates: pd.DataFrame) -> list[Path]:
    """Write pseudo_labels.csv and gates.csv; returns their paths."""
    written = {folder / "pseudo_labels.csv": table, folder / "gates.csv": gates}
    for path, content in written.items():
        files.write_text(path, content.to_csv(index=False))
    return list(written)


def read(folder: Path) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Read what `write` wrote."""
    types = {"name": str, "fold": int, **dict.fromkeys(TASKS, str)}
    types |= {f"{task}_confidence": float for task in TASKS} | {f"{task}_accepted": bool for task in TASKS}
    path = folder / "gates.csv"
    with files.reading(path):
        numbers = {"fold": int, **dict.fromkeys(GATE, float)}
        gates = pd.read_csv(path, dtype={"task": str, **numbers})[["fold", "task", *GATE]]
        pairs = list(zip(gates.fold, gates.task, strict=True))
        if sorted(pairs) != sorted((fold, task) for fold in set(gates.fold) for task in TASKS):
            raise ValueError("not one gate for each fold and task")
        if not (gates.temperature > 0).all() or gates.threshold.isna().any():
            raise ValueError("a gate without a temperature above 0 or without a threshold")
    path = folder / "pseudo_labels.csv"
    with files.reading(path):
        table = pd.read_csv(path, dtype=types, keep_default_na=False)
        lost = set(types) - set(table)
        if lost:
            raise ValueError(f"has no column {min(lost)}")
        if not all(table[column].between(0, 1).all() for column in CONFIDENCES):
            raise ValueError("a confidence that is no probability")
        sizes = table.fold.value_counts()
        if sizes.nunique() > 1 or (len(sizes) and set(sizes.index) != set(gates.fold)):
            raise ValueError("not all folds have the same clips")
    return table, gates


def accepted(table: pd.DataFrame) -> pd.DataFrame:
    """The rows of pseudo-labels of which at least one task was accepted."""
    return table[table.emotion_accepted | table.intent_accepted]


def too_few(table: pd.DataFrame, n_labelled: int, n_folds: int) -> str:
    """The warning to show where stage 2 has hardly any pseudo-labels, or "" where it has enough.

    That is where a fold accepts, on average, less than one pseudo-labelled clip (for at least one task) for every
    LABELLED_PER_PSEUDO labelled clips of the training part.

    table: pseudo-labels of all folds, as from `label_pool`; n_labelled: those labelled clips, of all folds.
    """
    n_accepted = len(accepted(table)) / n_folds
    if n_accepted * LABELLED_PER_PSEUDO >= n_labelled:
        return ""
    accepts = f"{n_accepted:.1f} pseudo-labelled clips on average" if n_accepted else "no pseudo-labelled clip"
    if len(table) == 0:
        accepts += ", as there are no unlabelled clips"
    return (
        f"Stage 2 is nearly stage 1 again: for {n_labelled} labelled clips, a fold has {accepts}; "
        f"with fewer than one for every {LABELLED_PER_PSEUDO}, any gain or loss is chance."
    )


def describe(table: pd.DataFrame, gates: pd.DataFrame, corpus: Corpus) -> str:
    """What was accepted per class and per pair, beside the training part; and what would be, if nothing was."""
    n_folds = gates.fold.nunique()
    if len(table) == 0:
        return "there are no unlabelled clips, so there are no pseudo-labels and stage 2 learns nothing new"
    lines = [f"pseudo-labels of {len(table) // n_folds} unlabelled clips, mean over {n_folds} folds"]
    training = corpus.part("training")
    for task in TASKS:
        kept = table[table[f"{task}_accepted"]]
        lines.append(_describe_gates(task, len(kept), gates[gates.task == task]))
        if len(kept) == 0:
            surest = table.groupby("fold")[f"{task}_confidence"].max().min()
            lines.append(
                f"  no {task} is accepted; with --pseudo.threshold {np.floor(1000 * surest) / 1000:.3f} every fold "
                "would accept at least one clip"
            )
        lines.append(_beside_training(kept[task], training[task], n_folds, corpus.labels[task]).to_string())
    both = table[table.emotion_accepted & table.intent_accepted]
    if len(both):
        pairs = pair_counts(both, n_folds, corpus)
        lines += ["pairs with both tasks accepted, clips per fold:", pairs.round(0).astype(int).to_string()]
        lines += ["pairs of the training part, clips:", pair_counts(training, 1, corpus).astype(int).to_string()]
    return "\n".join(lines)


def _describe_gates(task: str, n_accepted: int, gates: pd.DataFrame) -> str:
    """One line on the gates of a task, one row per fold, and on how many labels passed them in all folds."""
    text = f"{task}: {n_accepted / len(gates):.0f} accepted (temperature {gates.temperature.mean():.2f}"
    if (gates.threshold == 0).all():
        return f"{text}: the whole pool; of held-out rows, {gates.precision.mean():.3f} of the likeliest are right)"
    text += f", at a confidence of {gates.threshold.mean():.3f} or more"
    if gates.precision.isna().all():
        return f"{text}; no held-out row passes)"
    return f"{text}; of held-out rows that pass, {gates.precision.mean():.3f} are right)"


def pair_counts(table: pd.DataFrame, n_folds: int, corpus: Corpus) -> pd.DataFrame:
    """Clips per fold by emotion (rows) and intent (columns)."""
    counts = pd.crosstab(table.emotion, table.intent) / n_folds
    return counts.reindex(index=corpus.labels.emotion, columns=corpus.labels.intent, fill_value=0)


def _beside_training(kept: pd.Series, training: pd.Series, n_folds: int, classes: tuple[str, ...]) -> pd.DataFrame:
    counts = pd.DataFrame(
        {"accepted per fold": kept.value_counts() / n_folds, "training clips": training.value_counts()},
        index=list(classes),
    ).fillna(0)
    shares = (100 * counts / counts.sum().clip(lower=1)).round(1).add_suffix(" %")
    return pd.concat([counts.round(0).astype(int), shares], axis=1)


def _held_out(folds: pd.DataFrame, fold: int) -> np.ndarray:
    """Names of the clips of a fold."""
    return folds.name[folds.fold == fold].to_numpy().astype(str)


def _members(config: Config, held_out: tuple[int, ...]) -> list[Member]:
    return [Member(heads, seed, held_out) for heads in config.model.heads for seed in range(config.train.seeds)]


def _assert_unseen(folder: Path, chosen: list[Member], held_out: np.ndarray) -> None:
    for member in chosen:
        assert_unseen(members.trained_on(folder, member), held_out)
