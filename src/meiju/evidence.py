"""What the report says beyond scores: how good pseudo-labels are, and what heads do."""

from dataclasses import dataclass, field
from functools import partial

import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from scipy.special import expit

from meiju import evidence_figures, figures, heads, members, pseudo_quality, stages, teaching
from meiju.fusion import CLOSED_GATE
from meiju.labels import TASKS
from meiju.steps import Run

LOOKED_AT = 600  # clips that heads are looked at on


@dataclass
class Evidence:
    """Tables by caption and figures (with captions) by heading, for the report; and what is kept as .csv and .png."""

    tables: dict[str, pd.DataFrame] = field(default_factory=dict)
    figures: dict[str, tuple[Figure, str]] = field(default_factory=dict)
    files: dict[str, pd.DataFrame] = field(default_factory=dict)
    pictures: dict[str, Figure] = field(default_factory=dict)


def gather(run: Run, gates: pd.DataFrame) -> Evidence:
    """The evidence of a run of which both stages are trained. gates: see `meiju.teaching.read`."""
    found = Evidence()
    _pseudo_labels(run, gates, found)
    _heads(run, found)
    return found


def _pseudo_labels(run: Run, gates: pd.DataFrame, found: Evidence) -> None:
    config, corpus = run.config, run.corpus
    ask = partial(stages.ask_teachers, run)
    table = pseudo_quality.label_held_out(config, corpus, run.folds, gates, ask)
    quality = pseudo_quality.summary(config, table, gates)
    found.files["pseudo_quality.csv"] = quality
    found.tables[
        "Held-out rows labelled as if unlabelled: the precision asked of the gate, the one it promised, and "
        "the one reached (with 95 % interval), with the calibration error (ECE) before and after the temperature. In a "
        "pool with another mix of labels than the training part, precision can be lower than here."
    ] = quality
    found.pictures["pseudo_precision.png"] = evidence_figures.precision_curves(
        {task: pseudo_quality.curve(table, task) for task in TASKS},
        quality,
        gates,
        title="Pseudo-labels of held-out rows, by confidence",
    )
    found.figures["Precision of pseudo-labels"] = (
        found.pictures["pseudo_precision.png"],
        "If every held-out row above a confidence got a label: the share that is right, and the share of rows that "
        "get one. Rings: what the folds' gates accept.",
    )
    for task in TASKS:
        own = table[table[f"{task}_accepted"]]
        title = f"Accepted {task} of held-out rows"
        found.figures[f"Confusion of accepted {task}"] = (
            figures.confusion(own[f"{task}_true"], own[task], corpus.labels[task], title=title, task=task),
            f"Held-out rows whose {task} passed the gate. Colour: share of the true {task}'s clips in %. Numbers: "
            "clips.",
        )
    both = table[table.emotion_accepted & table.intent_accepted]
    true = both.assign(emotion=both.emotion_true, intent=both.intent_true)
    found.figures["Accepted pairs and true pairs"] = (
        figures.accepted_pairs(
            teaching.pair_counts(both, 1, corpus).astype(int),
            teaching.pair_counts(true, 1, corpus).astype(int),
            title="Held-out rows with both tasks accepted",
            names=("true pairs", "accepted pairs"),
            unseen_as="no such pair among these clips",
        ),
        "Clips of each pair: as they are labelled by hand (left), and as their teachers label them (right).",
    )


def _heads(run: Run, found: Evidence) -> None:
    clips = run.corpus.clips
    names = list(clips.name[clips.part.isin(("validation", "testing"))])
    chosen = members.plan(run.config, checks=False)
    differing = heads.disagreement(run.result("stage2"), chosen, names)
    by_kind = heads.disagreement_by_kind(differing)
    found.tables[
        "How often two stage-2 members decide differently (share of Validation and testing clips, mean over "
        "pairs of members), by what they have in common."
    ] = by_kind
    found.files["disagreement.csv"] = by_kind
    found.figures["Disagreement between members"] = (
        evidence_figures.disagreement(heads.disagreement_by_heads(differing), title="Disagreement between members"),
        "Share of Validation and testing clips on which two stage-2 members of different folds decide differently, in "
        "%, by their numbers of heads. What is more beside the diagonal than on it is due to the number of heads.",
    )
    looks, gates = [], []
    looked_at = names[:: max(1, len(names) // LOOKED_AT)]
    for count, network, frames in stages.networks(run, "stage2", chosen, looked_at):
        look, gate = heads.attention(network, frames, np.arange(len(looked_at)))
        looks.append(look.assign(heads=count))
        gates.append(gate.assign(heads=count))
    look, gate = pd.concat(looks, ignore_index=True), pd.concat(gates, ignore_index=True)
    if "attention" not in look:  # a fusion without attention
        return
    found.files["heads.csv"] = look
    mean = look.groupby(["task", "where", "heads"], sort=False).agg(
        attention_sd=("attention", "std"), evenness=("evenness", "mean")
    )
    found.tables[
        "How much heads choose: the standard deviation of a stream's share over heads, members and streams, and the "
        "evenness of a head's attention in one clip (1: every token alike)."
    ] = mean.reset_index()
    if "openness" in gate:
        found.files["task_gates.csv"] = gate
        mean = gate.groupby(["task", "stream"], sort=False)[["openness", "added"]].mean().reset_index()
        found.tables[
            "What passes between the tasks: how far the gates are open (0 to 1), and the norm of what is "
            "added to a token relative to what was there; mean over clips and members."
        ] = mean
    found.pictures["heads.png"] = evidence_figures.heads(
        look,
        gate,
        closed=float(expit(CLOSED_GATE)),
        title="What heads look at, and what passes between the tasks",
    )
    found.figures["What heads look at"] = (
        found.pictures["heads.png"],
        "A dot is one head of one stage-2 member: the share of its attention that goes to each stream's token, mean "
        "over Validation and testing clips; bars mark the mean. Below, a dot a member: how far the gates between "
        "the tasks are open (dotted: before training), and how large what they let in is beside what was there.",
    )
