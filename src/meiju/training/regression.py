"""Fits what a member learns in one go: its weights of streams, and its logistic-regression head."""

from dataclasses import replace

import numpy as np
import torch

from meiju.data.labels import TASKS
from meiju.models.logistic_regression import PLAIN_VARIANCE, LogisticRegressionHead
from meiju.models.network import MemberNetwork
from meiju.models.stream_weights import LOWEST, stream_variances
from meiju.training.batches import PREDICT_BATCH, Frames, MemberData, Rows

REGRESSION_ROWS = 20_000  # pseudo-labelled clips that a logistic-regression head learns from at most


def fit_to_pooled_frames(
    network: MemberNetwork, frames: Frames, data: list[MemberData], *, weigh_streams: bool, pseudo_ratio: float
) -> None:
    """Set each member's weights of streams by its labelled rows, and fit its logistic-regression head.

    The fusion network gets a stream's token times the cube root of its variance, beside that of the best stream. The
    head learns from the labelled rows and, so that its time and memory end somewhere, REGRESSION_ROWS of the others,
    which together weigh no more than in the network's batches.
    """
    head = network.regression or LogisticRegressionHead(network.n_members, network.spec)
    rows_of_members = [
        [one.labelled] if network.regression is None else _rows_of_regression(one, len(frames), pseudo_ratio)
        for one in data
    ]
    clips = np.unique(np.concatenate([rows.clips for parts in rows_of_members for rows in parts]))
    pooled, there = _pooled(head, frames, clips)
    for e, parts in enumerate(rows_of_members):
        labelled, place = parts[0], np.searchsorted(clips, np.concatenate([rows.clips for rows in parts]))
        n = len(labelled)
        head.set_moments(e, pooled[place[:n]], there[place[:n]])
        x = head.standardise(e, pooled[place], there[place])
        variances = {task: np.full(len(frames.dims), PLAIN_VARIANCE) for task in TASKS}
        if weigh_streams:
            by_stream = head.by_stream(x[:n])
            for k, task in enumerate(TASKS):
                variances[task] = stream_variances(by_stream, labelled.targets[task], labelled.weight[task])
                share = np.cbrt(variances[task] / max(variances[task].max(), LOWEST))
                network.fusion.tokens.stream_weight[e, k] = torch.from_numpy(share)
        if network.regression is not None:
            targets = {t: np.concatenate([rows.targets[t] for rows in parts]) for t in TASKS}
            weight = {t: np.concatenate([rows.weight[t] for rows in parts]) for t in TASKS}
            head.fit(e, x, targets, weight, variances)


def _rows_of_regression(data: MemberData, n_clips: int, ratio: float) -> list[Rows]:
    """Its labelled rows, and its pseudo-labelled ones; of more than REGRESSION_ROWS those of a low random rank.

    The rank is the same for all members, so that what they share is pooled once. As in the network's batches (see
    `n_pseudo`), there are at most `ratio` times as many pseudo-labelled clips as labelled ones: where there are more,
    each weighs less.
    """
    if data.pseudo is None:
        return [data.labelled]
    rank = np.random.default_rng(0).permutation(n_clips)[data.pseudo.clips]
    pseudo = data.pseudo.take(np.sort(np.argsort(rank)[:REGRESSION_ROWS]))
    share = np.float32(min(1.0, ratio * len(data.labelled) / len(pseudo)))
    return [data.labelled, replace(pseudo, weight={task: share * weight for task, weight in pseudo.weight.items()})]


def _pooled(head: LogisticRegressionHead, frames: Frames, clips: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Pooled values of clips, and which are there: both [N, P]."""
    chunks = torch.from_numpy(clips).split(PREDICT_BATCH)
    parts = [head.pool(frames.batch(chunk[None])) for chunk in chunks]
    return tuple(torch.cat(part, dim=1)[0].cpu().numpy() for part in zip(*parts, strict=True))
