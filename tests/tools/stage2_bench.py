"""Compares ways to use the unlabelled pool, on clips that no stage saw; every choice of stage 2 is made by it.

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
from collections.abc import Callable
from dataclasses import dataclass
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
from meiju.evaluation.calibration import calibrate, fit_temperature
from meiju.evaluation.metrics import jrbm
from meiju.features import frame_store
from meiju.run import Run
from meiju.training.batches import Frames, MemberData, Rows, hard_rows, n_pseudo, n_steps
from meiju.training.loop import predict, train_members

N_FOLDS = 5
TEST_SHARE = 0.25  # of speakers, or of clips where none is known
TOGETHER = 5  # members that train side by side
RATIO = 1.0  # pseudo-labelled clips for each labelled one

Probabilities = dict[str, np.ndarray]  # by task [N, K]


@dataclass(frozen=True)
class Split:
    """One draw of a corpus: numbers of its clips by use, the labels that are known, and the fold of labelled ones."""

    labelled: np.ndarray
    pool: np.ndarray
    test: np.ndarray
    labels: dict[str, np.ndarray]  # of all clips, -1 where not known
    fold: np.ndarray  # of `labelled`
    classes: dict[str, int]


@dataclass(frozen=True)
class Teachers:
    """What stage 1 knows: by fold, probabilities of the pool by the fold's member, and the temperature of each task.

    own: of each labelled clip, by the member that held out its fold; test: of the test clips, the mean of all members.
    """

    pool: list[Probabilities]
    temperature: list[dict[str, float]]
    own: Probabilities
    test: Probabilities


@dataclass(frozen=True)
class Way:
    """How the pool is labelled: targets[task] [pool, K] and weight[task] [pool] for one fold; how members train."""

    targets: Callable[["Teachers", int, Split], tuple[Probabilities, Probabilities]]
    modality_dropout: float | None = None
    warm_start: bool = False
    rounds: int = 1


def draw(run: Run, n_labelled: int, seed: int, *, with_pool: bool) -> Split:
    """Draw test, labelled clips and pool by names in sorted order and a seed."""
    clips, rng = run.corpus.clips, np.random.default_rng(seed)
    training = clips[clips.part == "training"]
    what, group = folds.group(training.reset_index(drop=True), run.config.folds_by)
    group = pd.Series(group.to_numpy() if what else training.name.to_numpy(), index=training.index)
    names = np.sort(group.unique())
    held_out = rng.permutation(names)[: round(TEST_SHARE * len(names))]
    is_test = group.isin(held_out)
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


class Bench:
    """Trains and asks members on one draw."""

    def __init__(self, config: Config, frames: Frames, split: Split, seed: int):
        self.config, self.frames, self.split, self.seed = config, frames, split, seed
        self.weights: dict[tuple, dict[str, torch.Tensor]] = {}  # of stage 1, where warm starts begin

    def train(self, jobs: dict[tuple[int, ...], Rows | None], way: Way | None = None) -> dict[tuple, Probabilities]:
        """By the folds that a member holds out, its predictions of all clips. jobs: pseudo-labelled rows or none."""
        config, split, way = self.config, self.split, way or Way(everything)
        dropout = way.modality_dropout or config.model.modality_dropout
        model = dataclasses.replace(config.model, modality_dropout=dropout)
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
            if way.warm_start:
                before = [self.weights[key] for key in chosen]
                start = {name: torch.stack([weights[name] for weights in before]) for name in before[0]}
            network = train_members(
                self.frames, members, model, config.train, heads=config.model.heads[0], pseudo_ratio=RATIO, start=start
            )
            predicted, weights = predict(network, self.frames, np.arange(len(self.frames))), network.weights()
            for e, key in enumerate(chosen):
                predictions[key] = {task: np.exp(predicted[task][e].astype(float)) for task in TASKS}
                if jobs[key] is None:
                    self.weights.setdefault(key, {name: w[e].clone() for name, w in weights.items()})
        return predictions

    def stage1(self) -> Teachers:
        split, every = self.split, range(N_FOLDS)
        predictions = self.train(dict.fromkeys([*((k,) for k in every), *combinations(every, 2)]))
        temperature = []
        for k in every:  # by the calibration models
            rows = [(row, fold) for row, fold in zip(split.labelled, split.fold, strict=True) if fold != k]
            truth = {task: split.labels[task][[row for row, _ in rows]] for task in TASKS}
            p = {t: np.stack([predictions[tuple(sorted((k, fold)))][t][row] for row, fold in rows]) for t in TASKS}
            temperature.append({task: fit_temperature(p[task], truth[task]) for task in TASKS})
        return Teachers(self._of_pool(predictions), temperature, *self._scored(predictions))

    def _of_pool(self, predictions: dict[tuple, Probabilities]) -> list[Probabilities]:
        return [{task: predictions[k,][task][self.split.pool] for task in TASKS} for k in range(N_FOLDS)]

    def _scored(self, predictions: dict[tuple, Probabilities]) -> tuple[Probabilities, Probabilities]:
        """Of each labelled clip, by the member that held out its fold; of test clips, the mean of all members."""
        split = self.split
        rows = list(zip(split.labelled, split.fold, strict=True))
        own = {task: np.stack([predictions[fold,][task][row] for row, fold in rows]) for task in TASKS}
        test = {t: np.mean([predictions[k,][t][split.test] for k in range(N_FOLDS)], axis=0) for t in TASKS}
        return own, test

    def stage2(self, way: Way, teachers: Teachers) -> tuple[Probabilities, Probabilities, dict[str, float]]:
        """Predictions of labelled clips by members that held them out, and of test clips; the pool's precision."""
        split = self.split
        for _ in range(way.rounds):
            jobs, right = {}, defaultdict(list)
            for k in range(N_FOLDS):
                targets, weight = way.targets(teachers, k, split)
                for task in TASKS:
                    truth = split.labels[task][split.pool]
                    known = (truth >= 0) & (weight[task] > 0)
                    hit = (targets[task].argmax(axis=1) == truth)[known]
                    right[task].append(np.average(hit, weights=weight[task][known]) if known.any() else np.nan)
                weight = {task: (self.config.stage2.weight * w).astype(np.float32) for task, w in weight.items()}
                rows = Rows(split.pool, {t: p.astype(np.float32) for t, p in targets.items()}, weight)
                taken = np.flatnonzero(sum(weight.values()) > 0)
                jobs[k,] = rows.take(taken) if len(taken) else None
            predictions = self.train(jobs, way)
            teachers = dataclasses.replace(teachers, pool=self._of_pool(predictions))
        return *self._scored(predictions), {f"precision_{task}": np.mean(right[task]) for task in TASKS}


def _calibrated(teachers: Teachers, fold: int) -> Probabilities:
    return {task: calibrate(teachers.pool[fold][task], teachers.temperature[fold][task]) for task in TASKS}


def _likeliest(p: Probabilities) -> Probabilities:
    return {task: np.eye(p[task].shape[1])[p[task].argmax(axis=1)] for task in TASKS}


def paper(teachers: Teachers, fold: int, split: Split):
    """--pseudo.gate paper: the likeliest classes above a confidence of 0.99, as the networks give it."""
    p = teachers.pool[fold]
    return _likeliest(p), {task: (p[task].max(axis=1) >= 0.99).astype(float) for task in TASKS}


def everything(teachers: Teachers, fold: int, split: Split, *, hard: bool = False):
    """--pseudo.gate soft: calibrated probabilities of the whole pool; or, with `hard`, the likeliest classes."""
    p = _calibrated(teachers, fold)
    return _likeliest(p) if hard else p, {task: np.ones(len(p[task])) for task in TASKS}


def soft_match(teachers: Teachers, fold: int, split: Split):
    """SoftMatch's weights (arXiv 2301.10921, section 3): a truncated Gaussian of the confidence."""
    p, weight = _calibrated(teachers, fold), {}
    for task in TASKS:
        confidence = p[task].max(axis=1)
        below = np.minimum(confidence - confidence.mean(), 0)
        weight[task] = np.exp(-(below**2) / (2 * confidence.var()))
    return p, weight


def free_match(teachers: Teachers, fold: int, split: Split):
    """FreeMatch (arXiv 2205.07246, section 4): the mean confidence, scaled by what each class has on average."""
    calibrated, weight = _calibrated(teachers, fold), {}
    for task, p in calibrated.items():
        confidence, local = p.max(axis=1), p.mean(axis=0) / p.mean(axis=0).max()
        weight[task] = (confidence >= (local * confidence.mean())[p.argmax(axis=1)]).astype(float)
    return _likeliest(calibrated), weight


WAYS = {
    "all, soft": Way(everything),
    "paper": Way(paper),
    "all, hard": Way(partial(everything, hard=True)),
    "SoftMatch": Way(soft_match),
    "FreeMatch": Way(free_match),
    "two rounds": Way(everything, rounds=2),
    "modality dropout 0.4": Way(everything, modality_dropout=0.4),
    "all, soft, warm start": Way(everything, warm_start=True),
}


def scores(split: Split, own: Probabilities, test: Probabilities) -> dict[str, float]:
    """F1 and log-loss on test clips; the temperature of the log-loss is that of the labelled clips out of fold."""
    row = {}
    for task in TASKS:
        truth = split.labels[task][split.test]
        row[f"f1_{task}"] = f1_score(truth, test[task].argmax(axis=1), average="weighted")
        heat = fit_temperature(own[task], split.labels[task][split.labelled])
        row[f"log_loss_{task}"] = log_loss(truth, calibrate(test[task], heat), labels=range(split.classes[task]))
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
        missing = [name for name in ("stage 1", *(options.ways or WAYS)) if name not in done]
        if not missing:
            continue
        one = Bench(run.config, frames, split, seed)
        teachers = one.stage1()
        for name in missing:
            own, test, precision = teachers.own, teachers.test, {}
            if name != "stage 1":
                own, test, precision = one.stage2(WAYS[name], teachers)
            row = {"way": name, "n_pool": len(split.pool), "n_test": len(split.test), **scores(split, own, test)}
            rows.append(key | row | precision)
            pd.DataFrame(rows).to_csv(options.out, index=False)
            print(*key.values(), f"{name}: {row['jrbm']:.4f} {row['log_loss']:.4f}", flush=True)


def parse(arguments: list[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--labelled", type=int, default=300)
    parser.add_argument("--draws", type=int, default=3)
    parser.add_argument("--out", type=Path, default=Path("ways.csv"))
    parser.add_argument("--frames", type=int, default=6)
    parser.add_argument("--pool", action="store_true")
    parser.add_argument("--ways", nargs="*")
    return parser.parse_args(arguments)


if __name__ == "__main__":
    cut = sys.argv.index("--")
    options = parse(sys.argv[1:cut])
    sys.argv = [sys.argv[0], *sys.argv[cut + 1 :]]
    main(partial(bench, options=options), __doc__)
