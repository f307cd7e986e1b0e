"""A corpus of a few clips without files, folds of it, and predictions of members that are drawn instead of learnt."""

from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np
import pandas as pd
from scipy.special import log_softmax

from meiju.data.corpus import Corpus
from meiju.data.labels import TASKS, LabelSet
from meiju.features.frame_store import Store
from meiju.training.members import Member

LABELS = LabelSet(("joy", "rage", "calm"), ("ask", "wish"))
PARTS = {"training": 24, "validation": 6, "testing": 4, "unlabelled": 8}
N_FOLDS = 3


def make_corpus() -> Corpus:
    rows = [
        (f"{part}_{k:02}", part, f"clip {k} of {part}.", LABELS.emotion[k % 3], LABELS.intent[k // 3 % 2])
        for part, n in PARTS.items()
        for k in range(n)
    ]
    clips = pd.DataFrame(rows, columns=["name", "part", "sentence", "emotion", "intent"])
    clips.loc[clips.part.isin(["testing", "unlabelled"]), ["emotion", "intent"]] = ""
    clips = clips.assign(dialogue="", speaker="", path="")
    return Corpus(clips.sort_values("name", ignore_index=True), LABELS, [])


def make_folds(corpus: Corpus) -> pd.DataFrame:
    names = corpus.part("training").name
    return pd.DataFrame({"name": names, "fold": np.arange(len(names)) // 2 % N_FOLDS})


def write_member(
    folder: Path, member: Member, names: Sequence[str], trained_on: Iterable[str], logits: dict[str, np.ndarray]
) -> None:
    """A member's predictions as training writes them: log-probabilities."""
    np.savez(
        folder / f"{member.stem}.npz",
        names=np.array(names, dtype=str),
        trained_on=np.array(sorted(trained_on), dtype=str),
        **{task: log_softmax(logits[task], axis=-1).astype(np.float32) for task in TASKS},
    )


def draw_members(folder: Path, chosen: Iterable[Member], corpus: Corpus, folds: pd.DataFrame, *, knows: float) -> None:
    """Write members that hold out their folds: their logits are noise, and `knows` higher at a clip's true class.

    A clip without a label leans to a class of its own.
    """
    clips = corpus.clips
    fold = folds.set_index("name").fold.reindex(clips.name).to_numpy()
    for member in chosen:
        rng = np.random.default_rng([member.heads, member.seed, *member.held_out])
        # Members of the calibration, which hold out several folds, predict labelled clips alone.
        predicted = np.isin(fold, member.held_out) | (np.isnan(fold) & (len(member.held_out) == 1))
        logits = {}
        for task in TASKS:
            number = corpus.labels.encode(task, clips[task])
            number = np.where(number < 0, np.arange(len(clips)) % len(corpus.labels[task]), number)
            lean = knows * np.eye(len(corpus.labels[task]))[number]
            logits[task] = (rng.normal(size=lean.shape) + lean)[predicted]
        trained_on = ~np.isnan(fold) & ~np.isin(fold, member.held_out)
        write_member(folder, member, clips.name[predicted], clips.name[trained_on], logits)


def make_store(clips: dict[str, np.ndarray]) -> Store:
    """A store of the given frames by name, in that order."""
    n_frames = [len(frames) for frames in clips.values()]
    stop = np.cumsum(n_frames)
    index = pd.DataFrame({"name": list(clips), "start": stop - n_frames, "stop": stop}).set_index("name")
    return Store(np.concatenate(list(clips.values())).astype(np.float16), index, {})
