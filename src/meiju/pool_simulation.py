"""Pools of known labels, made of labelled clips, to try the estimate of `meiju.pool_precision` on.

A real pool has another mix of labels than the labelled clips, and pairs that these never show. So the clips of some
pairs are taken out of the labelled part, a first stage is trained without them, and each pool is drawn from what the
teachers never saw: held-out clips in another mix of emotions, and a share of those taken out.
"""

from dataclasses import replace
from functools import partial

import numpy as np
import pandas as pd

from meiju import pseudo_quality, stages, teaching
from meiju.config import require
from meiju.corpus import Corpus
from meiju.labels import TASKS, LabelSet
from meiju.pseudo_quality import Hidden, reached
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
    ask = partial(stages.ask_teachers, run)
    hidden = pseudo_quality.label_hidden(run.config, run.corpus, run.folds, gates, ask)
    clips = truth.clips.set_index("name", drop=False)
    taken_out = run.corpus.part("unlabelled").name
    candidates = []  # by fold, what its teachers never saw
    for fold in range(run.config.folds):
        own, others = (run.folds.name[run.folds.fold.eq(fold) == held_out] for held_out in (True, False))
        unseen = clips.loc[[*own, *taken_out]]
        candidates.append(
            pseudo_quality.label_unseen(run.config, truth.labels, unseen, clips.loc[others], gates, fold, ask)
        )
    rng, rows = np.random.default_rng(run.config.seed), []
    for pool in range(n_pools):
        share = rng.uniform(*TAKEN_OUT)
        weights = np.exp(rng.normal(0, SPREAD, len(truth.labels.emotion)))
        tried = []
        for fold, known in enumerate(candidates):
            chance = _chances(weights[known.truth["emotion"]], known.table.name.isin(taken_out).to_numpy(), share)
            drawn = known.take(rng.choice(len(chance), DRAWN_CLIPS, p=chance))
            others = hidden.take(np.flatnonzero(hidden.table.fold != fold))
            tried.append(_try(drawn, others, truth.labels))
        means = pd.concat(tried).groupby("task", sort=False).mean().reset_index()
        rows.append(means.assign(pool=pool, taken_out=share))
    found = pd.concat(rows, ignore_index=True)
    return found[["pool", "task", "taken_out", "right", "on_hidden_rows", "estimate"]]


def errors(found: pd.DataFrame) -> pd.DataFrame:
    """Root mean square and largest error by task, of the estimate and of the precision on held-out rows as it is."""
    off = found[["estimate", "on_hidden_rows"]].sub(found.right, axis=0).abs().groupby(found.task, sort=False)
    rms = off.agg(lambda error: np.sqrt(np.mean(np.square(error))))
    return rms.add_suffix(", root mean square").join(off.max().add_suffix(", largest"))


def _chances(weight: np.ndarray, taken_out: np.ndarray, share: float) -> np.ndarray:
    """The chance of each clip to be drawn: by its weight [N], and `share` in all for those taken out [N]."""
    chance = np.empty(len(weight))
    for own, part in ((taken_out, share), (~taken_out, 1 - share)):
        chance[own] = part * weight[own] / weight[own].sum()
    return chance


def _try(pool: Hidden, hidden: Hidden, labels: LabelSet) -> pd.DataFrame:
    """What the estimate, which knows the hidden rows' labels, says of a pool, and what is right."""
    estimate, _ = pseudo_quality.estimate_precision(hidden, pool.table, pool.said, labels)
    return pd.DataFrame(
        {
            "task": task,
            "right": reached(pool.table, task),
            "on_hidden_rows": reached(hidden.table, task),
            "estimate": estimate[task],
        }
        for task in TASKS
    )
