"""Trains the members of a stage in worker processes, and loads them as stacked networks."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from safetensors import safe_open
from safetensors.torch import save
from torch import Tensor
from tqdm import tqdm

from meiju.config import Config, ModelConfig
from meiju.data.labels import TASKS, UNKNOWN, LabelSet, probability_column
from meiju.features import frame_store
from meiju.models.layers import InputSpec, MemberRandom
from meiju.models.network import MemberNetwork
from meiju.training.batches import MAX_FRAMES, Frames, MemberData, Rows, hard_rows, n_pseudo, n_steps
from meiju.training.loop import predict, train_members
from meiju.training.members import Member, paths, weights_name
from meiju.utils import files
from meiju.utils.compute import pick_device, run_jobs

TOGETHER_ON_CPU = 5  # members: more do not share a processor's cache
GPU_SHARE = 0.25  # of a GPU's memory, for the steps of members that train together; frames may take half of it


@dataclass(frozen=True)
class StageData:
    """What all members of a stage share.

    clips: names, parts and labels of all clips, sorted by name; folds: name, fold; pseudo: pseudo-labels (see
    meiju.pseudo.teachers) or None in stage 1; stores: the folder of each stream's store;
    start: the folder of members whose weights are started from, or None.
    """

    clips: pd.DataFrame
    labels: LabelSet
    folds: pd.DataFrame
    stores: dict[str, Path]
    pseudo: pd.DataFrame | None = None
    start: Path | None = None

    @property
    def stage(self) -> int:
        """1, or 2 where there are pseudo-labels."""
        return 1 if self.pseudo is None else 2

    def frames(self, device: str = "cpu") -> Frames:
        """The frames of all clips."""
        stores = {stream: frame_store.load(path) for stream, path in self.stores.items()}
        return Frames(stores, list(self.clips.name), device)


def train(config: Config, data: StageData, members: list[Member], folder: Path) -> None:
    """Train the members that are not in `folder` yet, in worker processes; each finished group is kept at once."""
    device = pick_device(config.device).type
    groups = group_members(config, data, members, device)
    todo = [group for group in groups if not all(p.exists() for p in paths([m for m, _ in group], folder))]
    folder.mkdir(parents=True, exist_ok=True)
    # On a CPU, one thread per process is fastest. On GPUs, one process each, because each keeps its own context there.
    n_jobs = config.n_jobs if device == "cpu" else torch.cuda.device_count()
    places = [device if device == "cpu" else f"{device}:{k % torch.cuda.device_count()}" for k in range(len(todo))]
    jobs = [(config, data, group, folder, place) for group, place in zip(todo, places, strict=True)]
    n_done = len(members) - sum(map(len, todo))
    with tqdm(total=len(members), initial=n_done, desc=f"stage {data.stage}", unit="member", disable=None) as bar:
        for k in run_jobs(config.compute, train_group, jobs, n_jobs=min(n_jobs, len(todo)), folder=folder):
            bar.update(len(todo[k]))


def read_weights(folder: Path, members: Sequence[Member]) -> tuple[InputSpec, dict[str, Tensor]]:
    """What members of one head count were trained on, which must be the same, and their weights.

    These are stacked: each [E, ...] in the order of `members`. Raises Damaged where a file is not whole.
    """
    shapes, states = [], []
    for member in members:
        path = folder / weights_name(member)
        with files.reading(path), safe_open(path, framework="pt") as file:
            shapes.append(InputSpec.from_json((file.metadata() or {})["shape"]))
            if shapes[-1].to_json() != shapes[0].to_json():
                raise ValueError(f"other streams or classes than in {weights_name(members[0])}")
            states.append({key: file.get_tensor(key) for key in sorted(file.keys())})
            if not all(weight.is_floating_point() and weight.isfinite().all() for weight in states[-1].values()):
                raise ValueError("weights that are no finite numbers")
    return shapes[0], {key: torch.stack([state[key] for state in states]).float() for key in states[0]}


def load_network(
    folder: Path, members: Sequence[Member], config: ModelConfig, device: torch.device | str = "cpu"
) -> MemberNetwork:
    """Trained members of one head count as one stacked network, ready for `meiju.training.loop.predict`.

    config: the network they were trained with; what streams they see lies beside their weights.
    """
    (heads,) = {member.heads for member in members}
    with files.reading(folder):
        shape, weights = read_weights(folder, members)
        # Made without memory, so that settings and files that do not fit each other cannot ask for more than there is.
        with torch.device("meta"):
            network = MemberNetwork(shape, config, heads=heads, random=MemberRandom([0] * len(members), "meta"))
        wanted = network.state_dict()
        if {key: weight.shape for key, weight in weights.items()} != {key: w.shape for key, w in wanted.items()}:
            raise ValueError("weights of other names or sizes than the settings ask for")
        network.load_state_dict(weights, assign=True)
    return network.to(device).eval()


Group = list[tuple[Member, MemberData]]


def group_members(config: Config, data: StageData, members: list[Member], device: str) -> list[Group]:
    """Members that train together: same heads, seed, number of steps and batches; on a GPU as many as fit.

    Who trains with whom is decided by the plan and the device alone, never by what is done already. More head counts or
    seeds leave the groups of the others as they are, so what is done stays done, to the last digit.
    """
    alike: dict[tuple, Group] = {}
    for member in members:
        member_data = _member_data(config, data, member)
        steps = n_steps(config.train, len(member_data.labelled))
        per_step = n_pseudo(member_data, config.train.batch_size, config.stage2.ratio)
        key = (member.heads, member.seed, len(member.held_out), steps, per_step)
        alike.setdefault(key, []).append((member, member_data))
    groups = []
    for (*_, per_step), those in alike.items():
        size = config.train.together or TOGETHER_ON_CPU
        if config.train.together is None and device != "cpu":
            size = _most_on_gpu(config, data, config.train.batch_size + per_step)
            size = min(size, math.ceil(len(those) / torch.cuda.device_count()))  # each GPU gets as many
        groups += [those[k : k + size] for k in range(0, len(those), size)]
    return groups


def _most_on_gpu(config: Config, data: StageData, n_clips: int) -> int:
    """How many members GPU_SHARE of its memory holds, with `n_clips` clips in a step; at least 1.

    Nearly all that a step takes is one float32 per value of a frame, for the frames as they are, standardised and
    masked and for a gradient, and per unit of a frame, for what the layers before the pooling keep for theirs.
    """
    frames, width = data.frames(), config.model.width
    values = sum(min(frames.longest[s], MAX_FRAMES) * (4 * dim + 10 * width) for s, dim in frames.dims.items())
    memory = torch.cuda.get_device_properties(0).total_memory
    return max(1, int(GPU_SHARE * memory / (4 * n_clips * values)))


def _member_data(config: Config, data: StageData, member: Member) -> MemberData:
    """The rows a member learns from, and its seed."""
    clips = data.clips
    rows = np.flatnonzero(clips.name.isin(data.folds.name[~data.folds.fold.isin(member.held_out)]))
    classes = {task: len(data.labels[task]) for task in TASKS}
    labels = {task: data.labels.encode(task, clips[task].iloc[rows]) for task in TASKS}
    labelled = hard_rows(rows, labels, classes, config.train.class_weights)
    pseudo = None if data.pseudo is None else _pseudo_rows(config, data, member)
    entropy = [config.seed, data.stage, member.heads, member.seed, *member.held_out]
    seed = int(np.random.SeedSequence(entropy).generate_state(1)[0])
    return MemberData(labelled, pseudo, seed)


def _pseudo_rows(config: Config, data: StageData, member: Member) -> Rows | None:
    """The pseudo-labels made for this member's fold, all classes weighted alike; weight 0 where not accepted."""
    (fold,) = member.held_out
    table = data.pseudo[data.pseudo.fold == fold]
    if len(table) == 0:
        return None
    number = pd.Series(np.arange(len(data.clips)), index=data.clips.name)
    accepted = {
        task: np.where(table[f"{task}_accepted"], data.labels.encode(task, table[task]), UNKNOWN) for task in TASKS
    }
    classes = {task: len(data.labels[task]) for task in TASKS}
    rows = hard_rows(number[table.name].to_numpy(), accepted, classes, power=0.0)
    if config.pseudo.gate == "soft":
        for task in TASKS:
            soft = table[[probability_column(task, label) for label in data.labels[task]]].to_numpy(np.float32)
            taken = table[f"{task}_accepted"].to_numpy()[:, None]
            rows.targets[task] = soft / soft.sum(axis=1, keepdims=True) * taken
    return replace(rows, weight={task: config.stage2.weight * weight for task, weight in rows.weight.items()})


def train_group(config: Config, data: StageData, group: Group, folder: Path, device: str) -> None:
    """Train one group and write its members; runs in a worker process."""
    if device == "cpu":
        torch.set_num_threads(1)
    members, learns_from = [member for member, _ in group], [member_data for _, member_data in group]
    names, frames = data.clips.name.to_numpy().astype(str), data.frames(device)
    heads, ratio = members[0].heads, config.stage2.ratio
    start = None if data.start is None else read_weights(data.start, members)[1]
    network = train_members(
        frames, learns_from, config.model, config.train, heads=heads, pseudo_ratio=ratio, start=start
    )
    rows = np.arange(len(names))
    if len(members[0].held_out) > 1:  # calibration models predict labelled clips alone
        rows = np.flatnonzero(data.clips.part == "training")
    log_probabilities = predict(network, frames, rows)
    for e, (member, member_data) in enumerate(group):
        trained_on = np.unique(np.concatenate([own.clips for own in member_data.rows]))
        unseen = ~np.isin(rows, trained_on)
        arrays = {task: log_probabilities[task][e, unseen] for task in TASKS}
        if len(member.held_out) == 1:
            weights = {key: value[e].cpu().contiguous() for key, value in network.state_dict().items()}
            # The writer of safetensors gives a poorer message on a full disk.
            files.write_bytes(folder / weights_name(member), save(weights, {"shape": network.spec.to_json()}))
        # Last: a member whose predictions lie there is whole.
        with files.atomic_path(folder / f"{member.stem}.npz") as path, path.open("wb") as file:
            np.savez_compressed(file, names=names[rows[unseen]], trained_on=names[trained_on], **arrays)
