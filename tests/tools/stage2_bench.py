"""Compares ways to use the unlabelled pool, on clips that no stage saw.

Of a run whose steps 02 to 04 are done, only the training part is used: some of its speakers (of its clips, where no
speaker is known) are held out as test, N of the others are labelled, and the rest is the pool, its labels known to the
bench alone. Both stages are trained on that as the pipeline does it, with five folds and one head count; each way to
label the pool is scored on the test clips, by the mean of all members. --pool adds the run's own unlabelled clips.

Writes  one row per draw and way to --out, a csv, as soon as it is there; a second call goes on
Run     .venv/bin/python tests/tools/stage2_bench.py --labelled 300 --draws 3 --out ways.csv -- PRESET [--flag ...]
"""

import argparse
import dataclasses
import sys
from collections import defaultdict
from functools import partial
from itertools import combinations
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from sklearn.metrics import f1_score, log_loss

from meiju.cli import main
from meiju.config import Config
from meiju.data import folds
from meiju.data.corpus import Corpus
from meiju.data.labels import TASKS
from meiju.evaluation.ensemble import Probabilities
from meiju.evaluation.metrics import calibrate, fit_temperature, jrbm
from meiju.features import frame_store
from meiju.run import Run
from meiju.training.batches import Frames, MemberData, Rows, hard_rows, n_pseudo, n_steps
from meiju.training.loop import predict, train_members

N_FOLDS = 5
TEST_SHARE = 0.25  # of speakers, or of clips where none is known
TOGETHER = 5  # members that train side by side
RATIO = 1.0  # pseudo-labelled clips for each labelled one


@dataclasses.dataclass(frozen=True)
class Split:
    """One draw of a corpus: numbers of its clips by use, the labels that are known, and the fold of labelled ones."""

    labelled: np.ndarray
    pool: np.ndarray
    test: np.ndarray
    labels: dict[str, np.ndarray]  # of all clips, -1 where not known
    fold: np.ndarray  # of `labelled`
    classes: dict[str, int]


def draw(run: Run, n_labelled: int, seed: int, *, with_pool: bool) -> Split:
    """Draw test, labelled clips and pool by names in sorted order and a seed."""
    clips, rng = run.corpus.clips, np.random.default_rng(seed)
    training = clips[clips.part == "training"]
    what, group = folds.group(training.reset_index(drop=True), run.config.folds_by)
    group = pd.Series(group.to_numpy() if what else training.name.to_numpy(), index=training.index)
    names = np.sort(group.unique())
    is_test = group.isin(rng.permutation(names)[: round(TEST_SHARE * len(names))])
    others = rng.permutation(training.index[~is_test])
    labelled, pool = np.sort(others[:n_labelled]), np.sort(others[n_labelled:])
    if with_pool:
        pool = np.sort(np.concatenate([pool, clips.index[clips.part == "unlabelled"]]))
    labels = {task: run.corpus.labels.encode(task, clips[task]) for task in TASKS}
    own = Corpus(clips.loc[labelled], run.corpus.labels, [])
    drawn = folds.draw(own, n_folds=N_FOLDS, by=run.config.folds_by, seed=seed).set_index("name").fold
    classes = {task: len(run.corpus.labels[task]) for task in TASKS}
    test, fold = training.index[is_test].to_numpy(), drawn[clips.name[labelled]].to_numpy()
    return Split(labelled, pool, test, labels, fold, classes)


def soft(p: Probabilities, temperature: dict[str, float]) -> tuple[Probabilities, Probabilities]:
    """--pseudo.gate soft: targets [pool, K] are calibrated probabilities, weights [pool] are 1."""
    return {task: calibrate(p[task], temperature[task]) for task in TASKS}, {t: np.ones(len(p[t])) for t in TASKS}


def paper(p: Probabilities, temperature: dict[str, float]) -> tuple[Probabilities, Probabilities]:
    """--pseudo.gate paper: the likeliest classes above a confidence of 0.99, as the networks give it."""
    likeliest = {task: np.eye(p[task].shape[1])[p[task].argmax(axis=1)] for task in TASKS}
    return likeliest, {task: (p[task].max(axis=1) >= 0.99).astype(float) for task in TASKS}


# How the pool is labelled, and whether stage 2 starts from the weights of stage 1.
WAYS = {"all, soft": (soft, False), "paper": (paper, False), "all, soft, warm start": (soft, True)}


class Bench:
    """Trains members on one draw. Predictions are by the folds that a member holds out."""

    def __init__(self, config: Config, frames: Frames, split: Split, seed: int):
        self.config, self.frames, self.split, self.seed = config, frames, split, seed
        self.weights: dict[tuple, dict[str, torch.Tensor]] = {}  # of stage 1, where warm starts begin
        every = range(N_FOLDS)
        self.stage1 = self.train(dict.fromkeys([*((k,) for k in every), *combinations(every, 2)]))

    def train(self, jobs: dict[tuple[int, ...], Rows | None], *, warm_start=False) -> dict[tuple, Probabilities]:
        """Predictions of all clips. jobs: pseudo-labelled rows, or none."""
        config, split = self.config, self.split
        data, alike, predictions = {}, defaultdict(list), {}
        for held_out, pseudo in jobs.items():
            rows = split.labelled[~np.isin(split.fold, held_out)]
            labels = {task: split.labels[task][rows] for task in TASKS}
            labelled = hard_rows(rows, labels, split.classes, config.train.class_weights)
            seed = int(np.random.SeedSequence([self.seed, pseudo is not None, *held_out]).generate_state(1)[0])
            data[held_out] = MemberData(labelled, pseudo, seed)
            n_beside = n_pseudo(data[held_out], config.train.batch_size, RATIO)
            alike[n_steps(config.train, len(labelled)), n_beside].append(held_out)
        for chosen in [keys[k : k + TOGETHER] for keys in alike.values() for k in range(0, len(keys), TOGETHER)]:
            members, start = [data[key] for key in chosen], None
            if warm_start:
                before = [self.weights[key] for key in chosen]
                start = {name: torch.stack([weights[name] for weights in before]) for name in before[0]}
            options = {"heads": config.model.heads[0], "pseudo_ratio": RATIO, "start": start}
            network = train_members(self.frames, members, config.model, config.train, **options)
            predicted, weights = predict(network, self.frames, np.arange(len(self.frames))), network.state_dict()
            for e, key in enumerate(chosen):
                predictions[key] = {task: np.exp(predicted[task][e].astype(float)) for task in TASKS}
                if jobs[key] is None:
                    self.weights.setdefault(key, {name: w[e].clone() for name, w in weights.items()})
        return predictions

    def stage2(self, way: str) -> dict[tuple, Probabilities]:
        label, warm_start = WAYS[way]
        split, jobs = self.split, {}
        rows = list(zip(split.labelled, split.fold, strict=True))
        for k in range(N_FOLDS):
            # The temperature suits what the calibration models predict of clips that they never saw.
            left_out = [(row, tuple(sorted((k, fold)))) for row, fold in rows if fold != k]
            truth = {task: split.labels[task][[row for row, _ in left_out]] for task in TASKS}
            predicted = {task: np.stack([self.stage1[key][task][row] for row, key in left_out]) for task in TASKS}
            temperature = {task: fit_temperature(predicted[task], truth[task]) for task in TASKS}
            targets, weight = label({task: self.stage1[k,][task][split.pool] for task in TASKS}, temperature)
            weight = {task: (self.config.stage2.weight * w).astype(np.float32) for task, w in weight.items()}
            taken = np.flatnonzero(sum(weight.values()) > 0)
            of_pool = Rows(split.pool, {t: p.astype(np.float32) for t, p in targets.items()}, weight)
            jobs[k,] = of_pool.take(taken) if len(taken) else None
        return self.train(jobs, warm_start=warm_start)

    def scores(self, predictions: dict[tuple, Probabilities]) -> dict[str, float]:
        """F1 and log-loss of the members' mean on test clips, and how many of their labels of the pool are right.

        The temperature of the log-loss suits the labelled clips, each predicted by the member that held it out.
        """
        split, row, every = self.split, {}, range(N_FOLDS)
        for task in TASKS:
            truth, test = split.labels[task], np.mean([predictions[k,][task][split.test] for k in every], axis=0)
            own = np.stack([predictions[k,][task][n] for n, k in zip(split.labelled, split.fold, strict=True)])
            calibrated = calibrate(test, fit_temperature(own, truth[split.labelled]))
            row[f"f1_{task}"] = f1_score(truth[split.test], test.argmax(axis=1), average="weighted")
            row[f"log_loss_{task}"] = log_loss(truth[split.test], calibrated, labels=range(split.classes[task]))
            known = split.pool[truth[split.pool] >= 0]
            right = [(predictions[k,][task][known].argmax(axis=1) == truth[known]).mean() for k in every]
            row[f"right_{task}"] = np.mean(right)
        row["jrbm"] = jrbm(row["f1_emotion"], row["f1_intent"])
        row["log_loss"] = row["log_loss_emotion"] + row["log_loss_intent"]
        return row


def shortened(store: frame_store.Store, most: int) -> frame_store.Store:
    """The store with at most so many frames a clip, each the mean of a stretch, so that a draw takes minutes."""
    parts, length = [], []
    for start, stop in zip(store.index.start, store.index.stop, strict=True):
        frames = store.frames[start:stop].astype(np.float32)
        pieces = np.array_split(frames, min(most, len(frames))) if len(frames) else []
        parts += [piece.mean(axis=0) for piece in pieces]
        length.append(len(pieces))
    stop = np.cumsum(length)
    index = store.index.assign(start=stop - length, stop=stop)
    return dataclasses.replace(store, frames=np.stack(parts).astype(np.float16), index=index)


def bench(run: Run, options: argparse.Namespace) -> None:
    torch.set_num_threads(1)
    stores = {s: shortened(frame_store.load(folder), options.frames) for s, folder in run.stores.items()}
    frames = Frames(stores, list(run.corpus.clips.name))
    rows = pd.read_csv(options.out).to_dict("records") if options.out.exists() else []
    for seed in range(options.draws):
        split = draw(run, options.labelled, seed, with_pool=options.pool)
        key = {"run": run.config.run, "labelled": options.labelled, "seed": seed}
        done = {row["way"] for row in rows if key.items() <= row.items()}
        missing = [name for name in ("stage 1", *WAYS) if name not in done]
        one = Bench(run.config, frames, split, seed) if missing else None
        for name in missing:
            scores = one.scores(one.stage1 if name == "stage 1" else one.stage2(name))
            rows.append(key | {"way": name, "n_pool": len(split.pool), "n_test": len(split.test), **scores})
            pd.DataFrame(rows).to_csv(options.out, index=False)
            print(*key.values(), f"{name}: {scores['jrbm']:.4f} {scores['log_loss']:.4f}", flush=True)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--labelled", type=int, default=300)
    parser.add_argument("--draws", type=int, default=3)
    parser.add_argument("--out", type=Path, default=Path("ways.csv"))
    parser.add_argument("--frames", type=int, default=6)
    parser.add_argument("--pool", action="store_true")
    cut = sys.argv.index("--") if "--" in sys.argv else len(sys.argv)
    options = parser.parse_args(sys.argv[1:cut])
    sys.argv = [sys.argv[0], *sys.argv[cut + 1 :]]
    main(partial(bench, options=options), __doc__)
