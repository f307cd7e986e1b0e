"""What heads do: how far members with different head counts disagree, what heads attend to, what passes the gates.

Looked at on Validation and testing clips, which no member saw; nothing is chosen by it.
"""

import itertools
import math
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from torch import Tensor, nn

from meiju import members
from meiju.fusion import Interactive
from meiju.labels import TASKS
from meiju.members import Member
from meiju.network import MemberNetwork
from meiju.training import Frames, batch_for_all

BATCH = 128  # clips at once
WITHIN, BETWEEN = "own task", "other task"


def disagreement(folder: Path, chosen: Sequence[Member], names: Sequence[str]) -> pd.DataFrame:
    """How often two members decide differently, for every pair of them.

    Columns task, heads, other_heads, same_fold, same_seed, disagreement (share of clips).
    """
    decided = {m: {t: p.argmax(axis=1) for t, p in members.probabilities(folder, m, names).items()} for m in chosen}
    rows = []
    for first, second in itertools.combinations(sorted(chosen), 2):
        for task in TASKS:
            rows.append(
                {
                    "task": task,
                    "heads": first.heads,
                    "other_heads": second.heads,
                    "same_fold": first.held_out == second.held_out,
                    "same_seed": first.seed == second.seed,
                    "disagreement": float((decided[first][task] != decided[second][task]).mean()),
                }
            )
    columns = ["task", "heads", "other_heads", "same_fold", "same_seed", "disagreement"]
    return pd.DataFrame(rows, columns=columns)


def disagreement_by_kind(pairs: pd.DataFrame) -> pd.DataFrame:
    """Mean disagreement by what two members have in common: columns task, members with, pairs, disagreement."""
    heads = np.where(pairs.heads == pairs.other_heads, "the same", "different")
    fold = np.where(pairs.same_fold, "same fold", "different folds")
    seed = np.where(pairs.same_seed, "", ", different seeds")
    kind = pd.Series(heads, pairs.index) + " heads, " + fold + seed
    by_kind = pairs.assign(**{"members with": kind}).groupby(["task", "members with"]).disagreement
    return by_kind.agg(pairs="size", disagreement="mean").reset_index()


def disagreement_by_heads(pairs: pd.DataFrame) -> dict[str, pd.DataFrame]:
    """By task: mean disagreement by both head counts, of members with different folds throughout.

    So the diagonal holds what folds and seeds do, and what is more beside it is due to heads.
    """
    apart = pairs[~pairs.same_fold]
    both = pd.concat([apart, apart.rename(columns={"heads": "other_heads", "other_heads": "heads"})])
    return {
        task: of_task.pivot_table(index="heads", columns="other_heads", values="disagreement", aggfunc="mean")
        for task, of_task in both.groupby("task")
    }


@torch.inference_mode()
def attention(network: MemberNetwork, frames: Frames, clips: np.ndarray) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Where the heads of a stacked network look, and what its gates let in, mean over clip numbers [N].

    First table, one row per head: member (its number in the stack), head, task, where (own task or other task), stream,
    attention (share, mean over clips that have every stream, and over query tokens), evenness (entropy of these shares
    in one clip, mean over clips, relative to that of equal shares: 1 is no choice at all). Second table: member, task,
    stream, openness (mean of the gate, 0 to 1), added (norm of what is added relative to what was there). Both are
    empty for a fusion without attention, the second without interaction of tasks.
    """
    if not isinstance(network.fusion, Interactive):
        return pd.DataFrame(), pd.DataFrame()
    network.eval()
    watch = _Watch(network.fusion)
    try:
        for chunk in torch.from_numpy(clips).split(BATCH):
            batch = batch_for_all(frames, chunk, network.n_members)
            watch.complete = torch.stack([mask.any(dim=2)[0] for mask in batch.mask.values()]).all(dim=0)
            network(batch)
    finally:
        watch.stop()
    return watch.tables(network.fusion.tokens.names)


class _Watch:
    """Recomputes, from what goes into attention and interaction, what their forward passes keep to themselves."""

    def __init__(self, network: Interactive):
        self.complete = torch.empty(0, dtype=torch.bool)  # which clips of the batch have every stream
        self.sums: dict[tuple[str, str], Tensor] = {}
        self.counts: dict[tuple[str, str], int] = {}
        self._handles = []
        for task in TASKS:
            self._on(network.within[task].attention, self._heads, (task, WITHIN))
            if network.interact:
                self._on(network.between[task].attention, self._heads, (task, BETWEEN))
                self._on(network.between[task], self._gates, (task, "gate"))

    def stop(self) -> None:
        for handle in self._handles:
            handle.remove()

    def tables(self, streams: Sequence[str]) -> tuple[pd.DataFrame, pd.DataFrame]:
        heads, gates = [], []
        for (task, where), total in self.sums.items():
            mean = (total / max(self.counts[task, where], 1)).cpu().numpy()
            for place in np.ndindex(mean.shape[:-1]):
                if where == "gate":
                    member, k = place
                    row = {"member": member, "task": task, "stream": streams[k]}
                    gates.append(row | {"openness": mean[member, k, 0], "added": mean[member, k, 1]})
                    continue
                member, head = place
                *shares, evenness = mean[place]
                row = {"member": member, "head": head, "task": task, "where": where, "evenness": evenness}
                heads += [row | {"stream": s, "attention": a} for s, a in zip(streams, shares, strict=True)]
        return pd.DataFrame(heads), pd.DataFrame(gates)

    def _on(self, module: nn.Module, what, key: tuple[str, str]) -> None:
        self._handles.append(module.register_forward_pre_hook(lambda module, inputs: what(module, inputs, key)))

    def _heads(self, module, inputs, key) -> None:
        weights = module.weights(*inputs)[:, self.complete]  # (E, B, H, S, C)
        entropy = torch.special.entr(weights).sum(dim=-1, keepdim=True) / math.log(max(weights.shape[-1], 2))
        self._add(key, torch.cat([weights, entropy], dim=-1).mean(dim=3).sum(dim=1), weights.shape[1])

    def _gates(self, module, inputs, key) -> None:
        # `look` calls the attention once more, and with it its hook: the mean stays what it is.
        before = inputs[0][:, self.complete]  # (E, B, S, D)
        gate, seen = (x[:, self.complete] for x in module.look(*inputs))
        added = (gate * seen).norm(dim=-1) / before.norm(dim=-1).clamp(min=1e-6)  # (E, B, S)
        self._add(key, torch.stack([gate.mean(dim=-1), added], dim=-1).sum(dim=1), before.shape[1])

    def _add(self, key: tuple[str, str], total: Tensor, count: int) -> None:
        self.sums[key] = self.sums.get(key, 0) + total
        self.counts[key] = self.counts.get(key, 0) + count
