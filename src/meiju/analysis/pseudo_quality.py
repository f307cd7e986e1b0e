"""How good pseudo-labels are: held-out rows are labelled as if they were unlabelled, then compared with their labels.

The teachers of a fold label the rows that it holds out, through its own gates (without the cap, which counts clips of
the pool). Nothing is learnt from the comparison: it is for the report.
"""

from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np
import pandas as pd
from scipy.special import stdtrit

from meiju.config import Config
from meiju.corpus import Corpus
from meiju.ensemble import Probabilities
from meiju.folds import units_of
from meiju.labels import TASKS
from meiju.metrics import expected_calibration_error
from meiju.pseudo import label_pool
from meiju.tables import GROUPS
from meiju.teachers import gates_of

# Asks the teachers of a fold for probabilities of clips by name.
Ask = Callable[[int, Sequence[str]], Probabilities]


def label_held_out(config: Config, corpus: Corpus, folds: pd.DataFrame, gates: pd.DataFrame, ask: Ask) -> pd.DataFrame:
    """Label every fold's held-out rows by its teachers and gates.

    Columns name, fold, dialogue, speaker, and by task its label, _confidence, _raw (the confidence before the
    temperature), _accepted and _true (the label that the corpus gives).
    """
    training = folds.merge(corpus.part("training"), on="name", validate="one_to_one")
    uncapped = replace(config.pseudo, cap=None)
    tables = []
    for fold in range(config.folds):
        held_out, others = training[training.fold == fold], training[training.fold != fold]
        raw = ask(fold, list(held_out.name))
        table = label_pool(uncapped, held_out.name.to_numpy(), raw, gates_of(gates, fold), others, corpus.labels)
        for task in TASKS:
            table[f"{task}_raw"] = raw[task].max(axis=1)
            table[f"{task}_true"] = held_out[task].to_numpy()
        tables.append(table.assign(fold=fold, **{column: held_out[column].to_numpy() for column in GROUPS}))
    return pd.concat(tables, ignore_index=True)


def reached(table: pd.DataFrame, task: str) -> float:
    """The share of right labels among the accepted ones of a table as from `label_held_out`; NaN if none is."""
    return (table[task] == table[f"{task}_true"])[table[f"{task}_accepted"]].mean()


def summary(config: Config, held_out: pd.DataFrame, gates: pd.DataFrame) -> pd.DataFrame:
    """By task: what was asked of the gate, what it promised and what it reached on held-out rows.

    Columns task, asked (precision, NaN for the fixed gate), promised, reached, reached_low and reached_high (95 %;
    see `share_interval`), over (what these take for independent, in words), accepted, coverage (share of rows),
    ece_before and ece_after the temperature.
    """
    rows, units = [], units_of(held_out, config.folds_by)
    for task in TASKS:
        accepted = held_out[f"{task}_accepted"].to_numpy()
        correct = (held_out[task] == held_out[f"{task}_true"]).to_numpy()
        promised = gates[gates.task == task].set_index("fold").precision
        low, high = share_interval(correct[accepted], units.group[accepted])
        rows.append(
            {
                "task": task,
                "asked": config.pseudo.precision if config.pseudo.gate == "precision" else np.nan,
                "promised": held_out.fold[accepted].map(promised).mean(),
                "reached": reached(held_out, task),
                "reached_low": low,
                "reached_high": high,
                "over": units.what,
                "accepted": int(accepted.sum()),
                "coverage": accepted.mean(),
                "ece_before": expected_calibration_error(held_out[f"{task}_raw"].clip(0, 1), correct),
                "ece_after": expected_calibration_error(held_out[f"{task}_confidence"].clip(0, 1), correct),
            }
        )
    return pd.DataFrame(rows)


def curve(held_out: pd.DataFrame, task: str) -> pd.DataFrame:
    """Precision and coverage if all rows above a threshold were accepted: columns threshold, precision, coverage.

    Without the filter of pairs. Ends where fewer than 20 rows are left.
    """
    confidence = held_out[f"{task}_confidence"].to_numpy()
    order = np.argsort(-confidence, kind="stable")
    correct = (held_out[task] == held_out[f"{task}_true"]).to_numpy()[order]
    n = np.arange(1, len(order) + 1)
    precision = np.cumsum(correct) / n
    by_threshold = pd.DataFrame({"threshold": confidence[order], "precision": precision, "coverage": n / len(n)})
    return by_threshold[n >= 20].drop_duplicates("threshold", keep="last").iloc[::-1].reset_index(drop=True)


def share_interval(correct: np.ndarray, group: np.ndarray) -> tuple[float, float]:
    """95 % interval of the share of rows [n] that are correct (Wilson 1927), whose groups [n] are independent.

    Where groups hold several rows, for as many rows as would have the variance between groups, and with Student's t for
    the number of groups (Korn and Graubard 1998, Survey Methodology 24, 193-201). NaN of nothing.
    """
    n, number = len(correct), np.unique(group, return_inverse=True)[1]
    if n == 0:
        return float("nan"), float("nan")
    share, n_groups = correct.mean(), number.max() + 1
    if n_groups == 1 < n:
        return 0.0, 1.0
    deviation = np.bincount(number, weights=correct - share)
    variance = share * (1 - share)
    n_alike = n_groups
    if variance and n_groups < n:
        n_alike = min(n, variance / (n_groups / (n_groups - 1) * np.square(deviation).sum() / n**2))
    t = stdtrit(n_groups - 1 if n_groups < n else np.inf, 0.975)
    middle = (share + t**2 / (2 * n_alike)) / (1 + t**2 / n_alike)
    half = t / (1 + t**2 / n_alike) * np.sqrt(variance / n_alike + t**2 / (4 * n_alike**2))
    return float(middle - half), float(middle + half)
