"""How good pseudo-labels are: held-out rows are labelled as if they were unlabelled, then compared with their labels.

The teachers of a fold label the rows that it holds out, through its own gates (without the cap, which counts clips of
the pool). Nothing is learnt from the comparison: it is for the report.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np
import pandas as pd
from scipy.stats import binomtest

from meiju.config import Config
from meiju.corpus import Corpus
from meiju.ensemble import Probabilities
from meiju.figures import expected_calibration_error
from meiju.labels import TASKS, LabelSet
from meiju.pool_precision import MODEL_ERROR, Labelled, find_shift, precision
from meiju.pseudo import calibrate, label_pool
from meiju.teaching import gates_of

# Asks the teachers of a fold for probabilities of clips by name.
Ask = Callable[[int, Sequence[str]], Probabilities]

N_DRAWS = 40
DRAWN_CLIPS = 2000  # of the pool, a draw


@dataclass(frozen=True)
class Hidden:
    """Held-out rows as their teachers label them.

    table: name, fold, and by task its label, _confidence, _raw (the confidence before the temperature), _accepted,
    _true. said: calibrated probabilities [N, K] by task; truth: class numbers [N]; both in the order of the table.
    """

    table: pd.DataFrame
    said: Probabilities
    truth: dict[str, np.ndarray]

    def take(self, rows: np.ndarray) -> "Hidden":
        """Some rows, by number; any may come more than once."""
        said, truth = ({task: values[task][rows] for task in TASKS} for values in (self.said, self.truth))
        return Hidden(self.table.iloc[rows], said, truth)


def label_hidden(config: Config, corpus: Corpus, folds: pd.DataFrame, gates: pd.DataFrame, ask: Ask) -> Hidden:
    """Label every fold's held-out rows by its teachers and gates."""
    training = folds.merge(corpus.part("training"), on="name", validate="one_to_one")
    parts = []
    for fold in range(config.folds):
        own, others = training[training.fold == fold], training[training.fold != fold]
        parts.append(label_unseen(config, corpus.labels, own, others, gates, fold, ask))
    table = pd.concat([part.table for part in parts], ignore_index=True)
    said, truth = (
        {task: np.concatenate([values[task] for values in of]) for task in TASKS}
        for of in ([part.said for part in parts], [part.truth for part in parts])
    )
    return Hidden(table, said, truth)


def label_unseen(
    config: Config,
    labels: LabelSet,
    clips: pd.DataFrame,
    others: pd.DataFrame,
    gates: pd.DataFrame,
    fold: int,
    ask: Ask,
) -> Hidden:
    """Label clips that a fold's teachers never saw by them and the fold's gates.

    clips: name and, to compare, emotion and intent; others: labelled clips of the other folds, whose pairs are known.
    """
    raw, by_task = ask(fold, list(clips.name)), gates_of(gates, fold)
    uncapped = replace(config.pseudo, cap=None, soft=False)
    table = label_pool(uncapped, clips.name.to_numpy(), raw, by_task, others, labels).assign(fold=fold)
    for task in TASKS:
        table[f"{task}_raw"] = raw[task].max(axis=1)
        table[f"{task}_true"] = clips[task].to_numpy()
    said = {task: calibrate(raw[task], by_task[task].temperature) for task in TASKS}
    return Hidden(table, said, {task: labels.encode(task, clips[task]) for task in TASKS})


def reached(table: pd.DataFrame, task: str) -> float:
    """The share of right labels among the accepted ones of a table as in `Hidden`; NaN if none is."""
    return (table[task] == table[f"{task}_true"])[table[f"{task}_accepted"]].mean()


def summary(config: Config, hidden: Hidden, gates: pd.DataFrame) -> pd.DataFrame:
    """By task: what was asked of the gate, what it promised and what it reached on hidden rows, and how sure that is.

    Columns task, asked (precision, NaN for the fixed gate), promised, reached, reached_low and reached_high (95 %,
    Wilson), accepted, coverage (share of rows), ece_before and ece_after the temperature.
    """
    table, rows = hidden.table, []
    for task in TASKS:
        accepted = table[f"{task}_accepted"].to_numpy()
        correct = (table[task] == table[f"{task}_true"]).to_numpy()
        promised = gates[gates.task == task].set_index("fold").precision
        low, high = share_interval(int(correct[accepted].sum()), int(accepted.sum()))
        rows.append(
            {
                "task": task,
                "asked": config.pseudo.precision if config.pseudo.gate == "precision" else np.nan,
                "promised": table.fold[accepted].map(promised).mean(),
                "reached": reached(table, task),
                "reached_low": low,
                "reached_high": high,
                "accepted": int(accepted.sum()),
                "coverage": accepted.mean(),
                "ece_before": expected_calibration_error(table[f"{task}_raw"].clip(0, 1), correct),
                "ece_after": expected_calibration_error(table[f"{task}_confidence"].clip(0, 1), correct),
            }
        )
    return pd.DataFrame(rows)


def curve(hidden: Hidden, task: str) -> pd.DataFrame:
    """Precision and coverage if all rows above a threshold were accepted: columns threshold, precision, coverage.

    Without the filter of pairs. Ends where fewer than 20 rows are left.
    """
    confidence = hidden.table[f"{task}_confidence"].to_numpy()
    order = np.argsort(-confidence, kind="stable")
    correct = (hidden.table[task] == hidden.table[f"{task}_true"]).to_numpy()[order]
    n = np.arange(1, len(order) + 1)
    found = pd.DataFrame({"threshold": confidence[order], "precision": np.cumsum(correct) / n, "coverage": n / len(n)})
    return found[n >= 20].drop_duplicates("threshold", keep="last").iloc[::-1].reset_index(drop=True)


def estimate_precision(
    hidden: Hidden, table: pd.DataFrame, said: Probabilities, labels: LabelSet
) -> tuple[dict[str, float], dict[str, np.ndarray]]:
    """By task the precision of what is accepted of a pool, and the shares of its labels (see `meiju.pool_precision`).

    table: the pool's pseudo-labels; said: calibrated probabilities of its clips [N, K] by task, in the table's order.
    """
    found, shares = {}, {}
    for task in TASKS:
        shift = find_shift(hidden.said[task], hidden.truth[task], said[task])
        pool, held_out = (
            Labelled(labels.encode(task, rows[task]), rows[f"{task}_accepted"].to_numpy(dtype=bool))
            for rows in (table, hidden.table)
        )
        found[task] = precision(shift, pool, held_out, hidden.truth[task])
        shares[task] = shift.shares
    return found, shares


def pool_estimate(
    config: Config,
    corpus: Corpus,
    hidden: Hidden,
    pseudo: pd.DataFrame,
    gates: pd.DataFrame,
    ask: Ask,
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """The precision of accepted pseudo-labels on the pool, and the pool's labels; both are empty without a pool.

    First table, a row a task: accepted (clips, mean over folds), on_hidden_rows (the precision there, which takes the
    pool's mix for the labelled one), estimate, low and high (95 %: hidden rows and pool clips drawn anew, and the error
    of the estimate in simulated pools). Second table: task, label, labelled (share among hidden rows), pool.
    """
    names = np.array(corpus.part("unlabelled").name)
    if len(names) == 0:
        return pd.DataFrame(), pd.DataFrame()
    labels, tables, said, found, shares = corpus.labels, {}, {}, {}, []
    for fold, own in pseudo.groupby("fold"):
        raw = ask(fold, list(names))
        said[fold] = {task: calibrate(raw[task], gates_of(gates, fold)[task].temperature) for task in TASKS}
        tables[fold] = own.set_index("name").loc[names]
        found[fold], share = estimate_precision(hidden, tables[fold], said[fold], labels)
        shares.append(share)
    found = pd.DataFrame.from_dict(found, orient="index")  # a row a fold
    again = _drawn_anew(config, hidden, tables, said, labels)
    off = again - found.loc[again.index].to_numpy()
    rows, mix = [], []
    for task in TASKS:
        estimate = found[task].mean()
        half = 1.96 * np.hypot(off[task].std(ddof=0), MODEL_ERROR)
        rows.append(
            {
                "task": task,
                "accepted": pseudo[f"{task}_accepted"].sum() / config.folds,
                "on_hidden_rows": reached(hidden.table, task),
                "estimate": estimate,
                "low": max(estimate - half, 0.0),
                "high": min(estimate + half, 1.0),
            }
        )
        labelled = np.bincount(hidden.truth[task], minlength=len(labels[task])) / len(hidden.table)
        pool = np.mean([share[task] for share in shares], axis=0)
        mix.append(pd.DataFrame({"task": task, "label": labels[task], "labelled": labelled, "pool": pool}))
    return pd.DataFrame(rows), pd.concat(mix, ignore_index=True)


def _drawn_anew(
    config: Config, hidden: Hidden, tables: dict[int, pd.DataFrame], said: dict[int, Probabilities], labels: LabelSet
) -> pd.DataFrame:
    """The estimate with hidden rows and pool clips drawn anew (bootstrap): a column a task, indexed by fold."""
    rng, found, folds = np.random.default_rng(config.seed), [], []
    for draw in range(N_DRAWS):
        folds.append(fold := draw % config.folds)
        n_clips = len(tables[fold])
        rows = rng.integers(len(hidden.table), size=len(hidden.table))
        clips = rng.integers(n_clips, size=min(n_clips, DRAWN_CLIPS))
        drawn = {task: said[fold][task][clips] for task in TASKS}
        found.append(estimate_precision(hidden.take(rows), tables[fold].iloc[clips], drawn, labels)[0])
    return pd.DataFrame(found, index=folds)


def share_interval(hits: int, n: int) -> tuple[float, float]:
    """95 % interval of a share (Wilson 1927); NaN of nothing."""
    return tuple(binomtest(hits, n).proportion_ci(method="wilson")) if n else (float("nan"), float("nan"))
