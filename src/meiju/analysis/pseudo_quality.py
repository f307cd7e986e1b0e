"""How good pseudo-labels are: held-out rows are labelled as if they were unlabelled, then compared with their labels.

The teachers of a fold label the rows that it holds out, through its own gates (without the cap, which counts clips of
the pool). Nothing is learnt from the comparison: it is for the report.
"""

from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np
import pandas as pd
from scipy.stats import binomtest

from meiju.config import Config
from meiju.corpus import Corpus
from meiju.ensemble import Probabilities
from meiju.labels import TASKS
from meiju.metrics import expected_calibration_error
from meiju.pseudo import label_pool
from meiju.teachers import gates_of

# Asks the teachers of a fold for probabilities of clips by name.
Ask = Callable[[int, Sequence[str]], Probabilities]


def label_held_out(config: Config, corpus: Corpus, folds: pd.DataFrame, gates: pd.DataFrame, ask: Ask) -> pd.DataFrame:
    """Label every fold's held-out rows by its teachers and gates.

    Columns name, fold, and by task its label, _confidence, _raw (the confidence before the temperature), _accepted and
    _true (the label that the corpus gives).
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
        tables.append(table.assign(fold=fold))
    return pd.concat(tables, ignore_index=True)


def reached(table: pd.DataFrame, task: str) -> float:
    """The share of right labels among the accepted ones of a table as from `label_held_out`; NaN if none is."""
    return (table[task] == table[f"{task}_true"])[table[f"{task}_accepted"]].mean()


def summary(config: Config, held_out: pd.DataFrame, gates: pd.DataFrame) -> pd.DataFrame:
    """By task: what was asked of the gate, what it promised and what it reached on held-out rows.

    Columns task, asked (precision, NaN for the fixed gate), promised, reached, reached_low and reached_high (95 %,
    Wilson), accepted, coverage (share of rows), ece_before and ece_after the temperature.
    """
    rows = []
    for task in TASKS:
        accepted = held_out[f"{task}_accepted"].to_numpy()
        correct = (held_out[task] == held_out[f"{task}_true"]).to_numpy()
        promised = gates[gates.task == task].set_index("fold").precision
        low, high = share_interval(int(correct[accepted].sum()), int(accepted.sum()))
        rows.append(
            {
                "task": task,
                "asked": config.pseudo.precision if config.pseudo.gate == "precision" else np.nan,
                "promised": held_out.fold[accepted].map(promised).mean(),
                "reached": reached(held_out, task),
                "reached_low": low,
                "reached_high": high,
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


def share_interval(hits: int, n: int) -> tuple[float, float]:
    """95 % interval of a share (Wilson 1927); NaN of nothing."""
    return tuple(binomtest(hits, n).proportion_ci(method="wilson")) if n else (float("nan"), float("nan"))
