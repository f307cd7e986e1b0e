"""What each of the numbered steps 02 to 07 does, for the scripts and for whoever runs the same steps with variants.

Each leaves alone what was done before with the same settings; steps it needs must have been carried out.
"""

from collections.abc import Iterator, Sequence

import numpy as np
from scipy.special import softmax
from torch import nn

from meiju import ensemble, features, members, teaching, training, transcripts, tuning
from meiju.corpus import LEARNT_FROM
from meiju.devices import pick_device
from meiju.ensemble import Probabilities
from meiju.labels import TASKS
from meiju.members import Member
from meiju.steps import Run


def refine_transcripts(run: Run) -> None:
    """Step 02."""
    if run.begin("transcripts"):
        transcripts.refine(run.config, run.corpus.clips, run.folder("transcripts"), heard=run.heard())
        run.finish("transcripts")


def extract_features(run: Run) -> None:
    """Step 03."""
    if not run.begin("features"):
        return
    clips = transcripts.as_clips(run.corpus.clips, run.result("transcripts"))
    learnt_from = set(run.corpus.clips.name[run.corpus.clips.part.isin(LEARNT_FROM)])
    for stream, encoder in run.encoders.items():
        store = features.extract(
            encoder,
            clips,
            [clip for clip in clips if clip.name in learnt_from],
            run.stream_folder(stream),
            meta={"encoder": encoder.fingerprint()},
            seed=run.config.seed,
            n_jobs=run.config.n_jobs,
            label=f"features of {stream}",
            compute=run.config.compute,
        )
        print(features.describe(stream, store, run.stream_folder(stream)))
    run.finish("features")


def train_stage1(run: Run) -> None:
    """Step 05: the members that count, and those that check the teachers; tuned: streams come first."""
    if run.begin("stage1"):
        _tune(run)
        plan = members.plan(run.config, checks=True)
        members.train(run.config, run.data(), plan, run.folder("stage1"), stage=1, label="stage 1")
        run.finish("stage1")


def label_pool(run: Run) -> None:
    """Step 06. A later round is labelled by the second stage of the round before, which is carried out first."""
    before = run.round_before
    if before:
        label_pool(before)
        train_stage2(before)
    if not run.begin("pseudo"):
        return
    if before:
        folder = before.result("stage2")
        pool = list(run.corpus.part("unlabelled").name)
        said = {fold: ask_teachers(run, fold, pool) for fold in range(run.config.folds)}
        first = teaching.read(before.result("pseudo"))
        found = teaching.label_next_round(run.config, run.corpus, run.folds, said, folder, first)
    else:
        found = teaching.label_all_folds(run.config, run.corpus, run.folds, run.result("stage1"))
    teaching.write(run.folder("pseudo"), *found)
    run.finish("pseudo")


def train_stage2(run: Run) -> None:
    """Step 07."""
    pseudo, _ = teaching.read(run.result("pseudo"))
    if run.begin("stage2"):
        plan = members.plan(run.config, checks=False)
        data = run.data(teaching.accepted(pseudo))
        members.train(run.config, data, plan, run.folder("stage2"), stage=2, label="stage 2")
        run.finish("stage2")


def _tune(run: Run) -> None:
    """Fine-tune the text encoders of tuned: streams inside the folds, as far as that is not done."""
    clips = run.corpus.clips
    for stream, model in run.config.tuned.items():
        lines = tuning.Lines(
            transcripts.as_clips(clips, run.result("transcripts")),
            run.folds.set_index("name").fold.reindex(clips.name).fillna(-1).to_numpy(dtype=int),
            {task: run.corpus.labels.encode(task, clips[task]) for task in TASKS},
            {task: len(run.corpus.labels[task]) for task in TASKS},
        )
        device = pick_device(run.config.device)
        folder = run.tuned_folder(stream)
        tuning.extract(model, run.config.tune, lines, folder, seed=run.config.seed, device=device)


def ask_teachers(run: Run, fold: int, names: Sequence[str]) -> Probabilities:
    """What the teachers of a fold's pseudo-labels say of clips, by task [N, K] in the order of `names`.

    From the second round on these may be clips that they learnt from, so they are asked again.
    """
    chosen = [m for m in members.plan(run.config, checks=False) if m.held_out == (fold,)]
    before = run.round_before
    if len(names) == 0:
        return {task: np.empty((0, len(run.corpus.labels[task]))) for task in TASKS}
    if before is None:
        return ensemble.mean_over(run.result("stage1"), chosen, names)
    total = dict.fromkeys(TASKS, 0.0)
    for _, network, frames in networks(before, "stage2", chosen, names):
        logits = training.predict(network, frames, np.arange(len(names)))
        for task in TASKS:
            total[task] = total[task] + softmax(logits[task].astype(np.float64), axis=-1).sum(axis=0)
    return {task: total[task] / len(chosen) for task in TASKS}


def networks(
    run: Run, step: str, chosen: Sequence[Member], names: Sequence[str]
) -> Iterator[tuple[int, nn.Module, training.Frames]]:
    """By number of heads, the chosen members of a finished stage as one stacked network, in their order.

    With the frames of clips `names` as they see them.
    """
    for heads in sorted({member.heads for member in chosen}):
        own = [member for member in chosen if member.heads == heads]
        stores = run.data().load_stores([member.held_out for member in own])
        frames = training.Frames(stores, list(names), pick_device(run.config.device))
        yield heads, members.load_network(run.result(step), own, run.config.model, frames.device), frames
