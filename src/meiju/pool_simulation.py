"""Pools of known labels, made of labelled clips, to try the estimate of `meiju.pool_precision` on.

A real pool has another mix of labels than the labelled clips, and pairs that these never show. So the clips of some
pairs are taken out of the labelled part, a first stage is trained without them, and each pool is drawn from what the
teachers never saw: held-out clips in another mix of emotions, and a share of those taken out.
"""

from dataclasses import replace

import numpy as np
import pandas as pd

from meiju import pseudo_quality, stages, teaching
from meiju.config import require
from meiju.corpus import Corpus
from meiju.ensemble import Probabilities
from meiju.labels import TASKS
from meiju.pseudo import calibrate, label_pool
from meiju.pseudo_quality import Hidden
from meiju.steps import Run

SPREAD = 1.0  # standard deviation of the logarithm of an emotion's weight in a pool: a third to three times, as a rule
TAKEN_OUT = (0.0, 0.4)  # least and largest share of a pool in pairs that no labelled clip shows
DRAWN_CLIPS = 2000


def pairs_to_take_out(training: pd.DataFrame) -> list[tuple[str, str]]:
    """The two commonest intents with the two emotions that they go with most, as in the challenge's labelled part.

    training: columns emotion and intent. A pair that is all there is of its emotion or intent stays; raises ConfigError
    where all do.
    """
    counts = pd.crosstab(training.emotion, training.intent)
    intents = counts.sum().nlargest(2).index
    emotions = counts[intents].min(axis=1).nlargest(2).index
    left = counts.copy()
    left.loc[emotions, intents] = 0
    pairs = [(e, i) for e in emotions for i in intents if counts.loc[e, i] and left.loc[e].any() and left[i].any()]
    require(len(pairs) > 0, "--corpus.root: no pair of emotion and intent can be spared in the training part")
    return pairs


def without(run: Run, pairs: list[tuple[str, str]]) -> Run:
    """The run on its training part alone, with the clips of `pairs` as its unlabelled pool."""
    clips = run.corpus.part("training")
    moved = np.array([pair in pairs for pair in zip(clips.emotion, clips.intent, strict=True)])
    clips = clips.assign(part=np.where(moved, "unlabelled", "training"))
    for task in TASKS:
        clips[task] = clips[task].where(~moved, "")
    simulated = run.variant(run.config)
    simulated.corpus = replace(run.corpus, clips=clips)
    simulated.folds = run.folds[run.folds.name.isin(clips.name[~moved])].reset_index(drop=True)
    return simulated


def teach(run: Run) -> None:
    """Carry out the steps up to pseudo-labels."""
    stages.refine_transcripts(run)
    stages.extract_features(run)
    stages.train_stage1(run)
    stages.label_pool(run)


def simulate(run: Run, truth: Corpus, n_pools: int) -> pd.DataFrame:
    """Try the estimate on `n_pools` pools; run: as from `without`, taught; truth: the corpus with all its labels.

    Returns a row a pool and task: pool, task, taken_out (share of the pool in pairs that no labelled clip shows), right
    (the precision among accepted clips, by their labels), on_hidden_rows (the same on held-out rows, in the labelled
    mix), estimate; each a mean over folds, in each of which the pool is of clips that its teachers never saw.
    """
    _, gates = teaching.read(run.result("pseudo"))

    def ask(fold, names):
        return stages.ask_teachers(run, fold, names)

    hidden = pseudo_quality.label_hidden(run.config, run.corpus, run.folds, gates, ask)
    by_fold = [_candidates(run, truth, hidden, gates, fold) for fold in range(run.config.folds)]
    rng, rows = np.random.default_rng(run.config.seed), []
    for pool in range(n_pools):
        share = rng.uniform(*TAKEN_OUT)
        weights = dict(zip(truth.labels.emotion, np.exp(rng.normal(0, SPREAD, len(truth.labels.emotion))), strict=True))
        tried = [_try(truth, hidden, fold, *known, weights, share, rng) for fold, known in enumerate(by_fold)]
        means = pd.concat(tried).groupby("task", sort=False).mean().reset_index()
        rows.append(means.assign(pool=pool, taken_out=share))
    found = pd.concat(rows, ignore_index=True)
    return found[["pool", "task", "taken_out", "right", "on_hidden_rows", "estimate"]]


def errors(found: pd.DataFrame) -> pd.DataFrame:
    """Root mean square and largest error by task, of the estimate and of the precision on held-out rows as it is."""
    off = found[["estimate", "on_hidden_rows"]].sub(found.right, axis=0).abs().groupby(found.task, sort=False)
    rms = off.agg(lambda error: np.sqrt(np.mean(np.square(error))))
    return rms.add_suffix(", root mean square").join(off.max().add_suffix(", largest"))


def _candidates(
    run: Run, truth: Corpus, hidden: Hidden, gates: pd.DataFrame, fold: int
) -> tuple[pd.DataFrame, Probabilities]:
    """The clips that a fold's teachers never saw, as they label them, with columns _true; and probabilities of them."""
    taken_out = run.corpus.part("unlabelled").name.to_numpy()
    names = np.concatenate([run.folds.name[run.folds.fold == fold], taken_out])
    by_task = teaching.gates_of(gates, fold)
    raw = stages.ask_teachers(run, fold, list(names))
    uncapped = replace(run.config.pseudo, cap=None, soft=False)
    others = hidden.table[hidden.table.fold != fold]
    others = others[["emotion_true", "intent_true"]].set_axis(list(TASKS), axis=1)
    table = label_pool(uncapped, names, raw, by_task, others, run.corpus.labels)
    labels = truth.clips.set_index("name").loc[names]
    table = table.assign(taken_out=table.name.isin(taken_out), **{f"{t}_true": labels[t].to_numpy() for t in TASKS})
    return table, {task: calibrate(raw[task], by_task[task].temperature) for task in TASKS}


def _try(
    truth: Corpus,
    hidden: Hidden,
    fold: int,
    table: pd.DataFrame,
    said: Probabilities,
    weights: dict[str, float],
    share: float,
    rng: np.random.Generator,
) -> pd.DataFrame:
    """A pool drawn for one fold, and what the estimate, which knows the other folds' rows, says of it."""
    weight = table.emotion_true.map(weights).to_numpy()
    chance = np.zeros(len(table))
    for out, part in ((True, share), (False, 1 - share)):
        own = (table.taken_out == out).to_numpy()
        chance[own] = part * weight[own] / weight[own].sum()
    drawn = rng.choice(len(table), DRAWN_CLIPS, p=chance)
    pool = table.iloc[drawn]
    others = hidden.take(np.flatnonzero(hidden.table.fold != fold))
    estimate, _ = pseudo_quality.estimate_precision(
        others, pool, {task: said[task][drawn] for task in TASKS}, truth.labels
    )
    return pd.DataFrame(
        {
            "task": task,
            "right": _precision(pool, task),
            "on_hidden_rows": _precision(others.table, task),
            "estimate": estimate[task],
        }
        for task in TASKS
    )


def _precision(table: pd.DataFrame, task: str) -> float:
    accepted = table[table[f"{task}_accepted"]]
    return (accepted[task] == accepted[f"{task}_true"]).mean()
