"""Which members teach which fold, and what they may know: how pseudo-labels are kept free of leaks.

The teachers of fold k are the stage-1 members that held fold k out. How far to trust them is measured on the other
folds' rows, each scored by members that held out both its own fold and fold k. So nothing about fold k's held-out rows
reaches its pseudo-labels: shuffling their labels leaves them as they are, bit for bit.
"""

from collections.abc import Callable
from dataclasses import fields
from pathlib import Path

import numpy as np
import pandas as pd

from meiju import ensemble, members
from meiju.config import Config, PseudoConfig
from meiju.corpus import Corpus
from meiju.ensemble import Probabilities
from meiju.folds import draw_share, units_of
from meiju.labels import TASKS
from meiju.members import Member
from meiju.pseudo import Gate, assert_unseen, carry_gate, fit_gates, label_pool
from meiju.utils import files

LABELLED_PER_PSEUDO = 20  # below one pseudo-label for so many labelled clips, stage 2 is stage 1 over again
GATE = [field.name for field in fields(Gate)]
CONFIDENCES = [f"{task}_confidence" for task in TASKS]


def label_first_round(
    config: Config, corpus: Corpus, folds: pd.DataFrame, folder: Path
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Pseudo-labels of all folds (see `meiju.pseudo.label_pool`, with a column fold), and the gates they passed.

    The teachers are the stage-1 members in `folder`; the gates are fitted on the predictions of nested members.
    """
    pool, usable = pool_of(corpus), learnable(config, corpus, folds)[["name", "fold"]]

    def ask(fold: int) -> tuple[Probabilities, dict[str, Gate]]:
        rows, nested = nested_out_of_fold(config, folds, folder, fold, usable)
        labelled = rows.merge(corpus.part("training"), on="name", validate="one_to_one")
        truth = {task: corpus.labels.encode(task, labelled[task]) for task in TASKS}
        units = units_of(labelled, config.folds_by)
        gates = fit_gates(config.pseudo, nested, truth, units.group if units.n < len(labelled) else None)
        return ensemble.mean_over(folder, _members(config, (fold,)), pool), gates

    return _label_all_folds(config, corpus, folds, folder, ask)


def label_next_round(
    config: Config,
    corpus: Corpus,
    folds: pd.DataFrame,
    folder: Path,
    probabilities: dict[int, Probabilities],
    before: tuple[pd.DataFrame, pd.DataFrame],
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """As `label_first_round`, where the teachers are the stage-2 members in `folder`.

    probabilities[fold]: of the pool, by the members that hold out this fold. before: pseudo-labels and gates of the
    round that these members learnt from. They never saw the fold they hold out, and their gates are carried on from
    `before` (see `meiju.pseudo.carry_gate`), so nothing of the fold comes in.
    """
    table, gates = before

    def ask(fold: int) -> tuple[Probabilities, dict[str, Gate]]:
        old, mean_confidence = gates_of(gates, fold), table[table.fold == fold][CONFIDENCES].mean()
        carried = {
            task: carry_gate(config.pseudo, old[task], probabilities[fold][task], mean_confidence[f"{task}_confidence"])
            for task in TASKS
        }
        return probabilities[fold], carried

    return _label_all_folds(config, corpus, folds, folder, ask)


def pool_of(corpus: Corpus) -> list[str]:
    """Names of the unlabelled clips."""
    return list(corpus.part("unlabelled").name)


def learnable(config: Config, corpus: Corpus, folds: pd.DataFrame) -> pd.DataFrame:
    """The training clips that members may train on, with their fold (see --train.labelled-share)."""
    training = folds.merge(corpus.part("training"), on="name", validate="one_to_one")
    return training[draw_share(training, config.train.labelled_share, config.seed)].reset_index(drop=True)


def nested_out_of_fold(
    config: Config, folds: pd.DataFrame, folder: Path, fold: int, usable: pd.DataFrame
) -> tuple[pd.DataFrame, Probabilities]:
    """Predictions by models like fold's teachers of rows they never saw: rows (name, fold), and their probabilities.

    usable: name, fold of the clips that may be learnt from, fewer than `folds` where --train.labelled-share says so.
    Every row of another fold j is scored by the nested members, which held out both j and `fold`.
    """
    rows, parts = [], []
    for other in sorted(set(range(config.folds)) - {fold}):
        rows.append(usable[usable.fold == other])
        nested = _members(config, tuple(sorted((fold, other))))
        _assert_unseen(folder, nested, _held_out(folds, fold))
        parts.append(ensemble.mean_over(folder, nested, list(rows[-1].name)))
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


def gates_of(gates: pd.DataFrame, fold: int) -> dict[str, Gate]:
    """The gates of one fold by task, from the table that `read` returns."""
    by_task = gates[gates.fold == fold].set_index("task")
    return {task: Gate(*map(float, by_task.loc[task, GATE])) for task in TASKS}


def accepted(table: pd.DataFrame) -> pd.DataFrame:
    """The rows of pseudo-labels of which at least one task was accepted."""
    return table[table.emotion_accepted | table.intent_accepted]


def too_few(table: pd.DataFrame, n_labelled: int, n_folds: int) -> str:
    """The warning to show where stage 2 has hardly any pseudo-labels, or "" where it has enough.

    That is where a fold accepts, on average, less than one pseudo-labelled clip (for at least one task) for every
    LABELLED_PER_PSEUDO labelled clips of the training part that may be learnt from.

    table: pseudo-labels of all folds, as from `label_first_round`; n_labelled: those labelled clips, of all folds.
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


def describe(pseudo: PseudoConfig, table: pd.DataFrame, gates: pd.DataFrame, corpus: Corpus) -> str:
    """What was accepted per class and per pair, beside the training part; and what would be, if nothing was.

    pseudo: the settings that the pseudo-labels were made with.
    """
    n_folds = gates.fold.nunique()
    if len(table) == 0:
        return "there are no unlabelled clips, so there are no pseudo-labels and stage 2 learns nothing new"
    lines = [f"pseudo-labels of {len(table) // n_folds} unlabelled clips, mean over {n_folds} folds"]
    training = corpus.part("training")
    for task in TASKS:
        kept = table[table[f"{task}_accepted"]]
        lines.append(_describe_gates(task, len(kept), gates[gates.task == task]))
        if len(kept) == 0:
            lines.append(_what_would_open(pseudo, table, task, training))
        lines.append(_beside_training(kept[task], training[task], n_folds, corpus.labels[task]).to_string())
    both = table[table.emotion_accepted & table.intent_accepted]
    if len(both):
        pairs = pair_counts(both, n_folds, corpus)
        lines += ["pairs with both tasks accepted, clips per fold:", pairs.round(0).astype(int).to_string()]
        lines += ["pairs of the training part, clips:", pair_counts(training, 1, corpus).astype(int).to_string()]
    return "\n".join(lines)


def _describe_gates(task: str, n_accepted: int, gates: pd.DataFrame) -> str:
    """One line on the gates of a task, one row per fold, and on how many labels passed them in all folds."""
    n_folds = len(gates)
    text = f"{task}: {n_accepted / n_folds:.0f} accepted (temperature {gates.temperature.mean():.2f}"
    is_open = np.isfinite(gates.threshold)
    if not is_open.any():
        return f"{text}; no confidence threshold reaches the required precision in any fold)"
    if (gates.threshold == 0).all():
        return f"{text}: the whole pool; of held-out rows, {gates.precision.mean():.3f} of the likeliest are right)"
    text += f", at a confidence of {gates.threshold[is_open].mean():.3f} or more"
    if not is_open.all():
        text += f" in {is_open.sum()} of {n_folds} folds, in the others none"
    if gates.precision.isna().all():
        return f"{text}; no held-out row passes)"
    return f"{text}; of held-out rows that pass, {gates.precision.mean():.3f} are right)"


def _what_would_open(pseudo: PseudoConfig, table: pd.DataFrame, task: str, training: pd.DataFrame) -> str:
    """The threshold at which every fold would accept a label of a task of which none is accepted."""
    confidence = table[f"{task}_confidence"]
    if pseudo.joint_gate:
        confidence = table[[f"{t}_confidence" for t in TASKS]].min(axis=1)
    if pseudo.plausible_pairs:
        known = pd.MultiIndex.from_frame(training[list(TASKS)])
        confidence = confidence.where(pd.MultiIndex.from_frame(table[list(TASKS)]).isin(known), 0)
    surest = confidence.groupby(table.fold).max().min()
    if surest == 0:
        return f"  no {task} is accepted: in some fold, no clip's two labels are a pair that labelled clips show"
    gate = "paper" if pseudo.gate == "paper" else "fixed"
    return (
        f"  no {task} is accepted; with --pseudo.gate {gate} --pseudo.threshold {np.floor(1000 * surest) / 1000:.3f} "
        "every fold would accept at least one clip"
    )


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


def _label_all_folds(
    config: Config,
    corpus: Corpus,
    folds: pd.DataFrame,
    folder: Path,
    ask: Callable[[int], tuple[Probabilities, dict[str, Gate]]],
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Label the pool once per fold. ask(fold): the probabilities of the pool by fold's teachers, and their gates.

    Raises LeakError where a teacher, which lies in `folder`, has seen the fold.
    """
    pool, labelled = np.array(pool_of(corpus), dtype=str), learnable(config, corpus, folds)
    tables, gates = [], []
    for fold in range(config.folds):
        _assert_unseen(folder, _members(config, (fold,)), _held_out(folds, fold))
        probabilities, by_task = ask(fold)
        seen = labelled[labelled.fold != fold]
        table = label_pool(config.pseudo, pool, probabilities, by_task, seen, corpus.labels)
        tables.append(table.assign(fold=fold))
        gates += [{"fold": fold, "task": task, **vars(gate)} for task, gate in by_task.items()]
    return pd.concat(tables, ignore_index=True), pd.DataFrame(gates)


def _held_out(folds: pd.DataFrame, fold: int) -> np.ndarray:
    """Names of the clips of a fold."""
    return folds.name[folds.fold == fold].to_numpy().astype(str)


def _members(config: Config, held_out: tuple[int, ...]) -> list[Member]:
    return [Member(heads, seed, held_out) for heads in config.model.heads for seed in range(config.train.seeds)]


def _assert_unseen(folder: Path, chosen: list[Member], held_out: np.ndarray) -> None:
    for member in chosen:
        assert_unseen(members.trained_on(folder, member), held_out)
