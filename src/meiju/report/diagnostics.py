"""The report's sections on pseudo-labels, attention heads and calibration, and the files kept beside it for them."""

from functools import partial

import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from scipy.special import expit

from meiju import evaluation, members, pipeline, teachers
from meiju.analysis import heads as attention_heads
from meiju.analysis import pseudo_quality
from meiju.corpus import Corpus
from meiju.evaluation import ALL_HEADS, OUT_OF_FOLD, Stage
from meiju.fusion import CLOSED_GATE
from meiju.labels import TASKS
from meiju.metrics import expected_calibration_error
from meiju.pseudo import calibrate, fit_temperature
from meiju.report import diagnostic_figures, figures, page
from meiju.report.page import Picture, Section, Table
from meiju.run import Run

LOOKED_AT = 600  # clips that heads are looked at on
SHORT = "{:.3f}"


def picture(heading: str, caption: str, figure: Figure, file: str | None = None) -> Picture:
    """A figure as a picture of the report; file: see `meiju.report.page.Picture`."""
    return Picture(heading, caption, figures.to_data_uri(figure), file)


def pseudo_labels(run: Run, pseudo: pd.DataFrame, gates: pd.DataFrame) -> Section:
    """What was accepted, and how good it is on held-out rows. pseudo and gates: see `meiju.teachers.read`."""
    config, corpus = run.config, run.corpus
    if len(pseudo) == 0:
        return Section("Pseudo-labels", ["The corpus has no unlabelled clips, so there are no pseudo-labels."])
    table = pseudo_quality.label_held_out(config, corpus, run.folds, gates, partial(pipeline.ask_teachers, run))
    quality = pseudo_quality.summary(config, table, gates)
    text, items = _accepted(run, pseudo)
    items += _gate_tables(gates, quality)
    curves = {task: pseudo_quality.curve(table, task) for task in TASKS}
    if all(len(curve) for curve in curves.values()):
        title = "Pseudo-labels of held-out rows, by confidence"
        caption = (
            "If every held-out row above a confidence got a label: the share that is right, and the share of rows that "
            "get one. Rings: what the gates of the folds accept."
        )
        drawn = diagnostic_figures.precision_curves(curves, quality, gates, title=title)
        items.append(picture("Precision by confidence", caption, drawn, "pseudo_precision.png"))
    else:
        text.append("There are too few held-out rows for a curve of precision by confidence.")
    more, pictures = _held_out(corpus, table)
    return Section("Pseudo-labels", text + more, items + pictures)


def _accepted(run: Run, pseudo: pd.DataFrame) -> tuple[list[str], list[Table | Picture]]:
    """What was accepted of the pool, by class and by pair; a sentence where nothing was."""
    corpus, n_folds = run.corpus, run.config.folds
    text, items = [], []
    training = corpus.part("training")
    for task in TASKS:
        own = pseudo[pseudo[f"{task}_accepted"]][task]
        text.append(
            f"{task.capitalize()}: {len(own) / n_folds:.0f} of {len(pseudo) // n_folds} unlabelled clips were accepted "
            "(mean over folds)."
        )
        if len(own):
            drawn = figures.accepted(
                (own.value_counts() / n_folds).round().astype(int).reindex(corpus.labels[task], fill_value=0),
                training[task].value_counts().reindex(corpus.labels[task], fill_value=0),
                title=f"Pseudo-labels of {task} and training labels",
            )
            caption = "Share of each class in %, with the number of clips on the bars (pseudo-labels: mean over folds)."
            items.append(picture(f"Accepted {task}s", caption, drawn))
    both = pseudo[pseudo.emotion_accepted & pseudo.intent_accepted]
    if len(both):
        drawn = figures.accepted_pairs(
            teachers.pair_counts(both, n_folds, corpus).round().astype(int),
            teachers.pair_counts(training, 1, corpus).astype(int),
            title="Pairs of emotion and intent",
        )
        caption = (
            "Clips of which both tasks were accepted (mean over folds), beside the training clips. Marked: pairs that "
            "never occur in training."
        )
        items.append(picture("Accepted pairs", caption, drawn))
    else:
        text.append("Of no clip both tasks were accepted, so there is no picture of pairs.")
    return text, items


def _gate_tables(gates: pd.DataFrame, quality: pd.DataFrame) -> list[Table]:
    shown = quality.rename(
        columns={
            "reached_low": "low",
            "reached_high": "high",
            "coverage": "% of rows",
            "ece_before": "ECE before",
            "ece_after": "ECE after",
        }
    )
    shown["% of rows"] *= 100
    shares = ("asked", "promised", "reached", "low", "high", "ECE before", "ECE after")
    open_gates = gates.replace({"threshold": {np.inf: np.nan}})
    return [
        Table(
            "Precision on held-out rows",
            "Held-out rows labelled as if they were unlabelled: the precision asked of the gate, the one it promised, "
            "and the one reached, with the bounds of its 95 % interval; how many rows were accepted; the expected "
            "calibration error (ECE) before and after the temperature. In a pool with another mix of labels than the "
            "training part, precision can be lower than here.",
            shown,
            dict.fromkeys(shares, SHORT) | {"% of rows": "{:.1f}"},
            file="pseudo_quality.csv",
            full=quality,
        ),
        Table(
            "Gates",
            "The threshold on the calibrated confidence in each fold, and the precision above it on rows that neither "
            "the teachers nor those that stand in for them saw. A dash: there is none, as nothing passes.",
            open_gates,
            {"temperature": SHORT, "threshold": "{:.4f}", "precision": SHORT},
        ),
    ]


def _held_out(corpus: Corpus, table: pd.DataFrame) -> tuple[list[str], list[Picture]]:
    """How held-out rows that pass the gates are labelled, beside their true labels."""
    text, items = [], []
    for task in TASKS:
        own = table[table[f"{task}_accepted"]]
        if len(own) == 0:
            text.append(f"No held-out row passes the gate of {task}, so there is no picture of its errors.")
            continue
        title = f"Accepted {task} of held-out rows"
        drawn = figures.confusion(own[f"{task}_true"], own[task], corpus.labels[task], title=title, task=task)
        caption = (
            f"Held-out rows whose {task} passed the gate. Colour: share of the true class's clips in %. Numbers: clips."
        )
        items.append(picture(f"Errors of accepted {task}s", caption, drawn))
    both = table[table.emotion_accepted & table.intent_accepted]
    if len(both):
        true = both.assign(emotion=both.emotion_true, intent=both.intent_true)
        drawn = figures.accepted_pairs(
            teachers.pair_counts(both, 1, corpus).astype(int),
            teachers.pair_counts(true, 1, corpus).astype(int),
            title="Held-out rows with both tasks accepted",
            names=("true pairs", "accepted pairs"),
            unseen_as="no such pair among these clips",
        )
        caption = "Clips of each pair: as they are labelled by hand (left), and as their teachers label them (right)."
        items.append(picture("True and accepted pairs", caption, drawn))
    return text, items


def heads(run: Run, table: pd.DataFrame) -> Section:
    """What the number of heads is worth, and what heads look at. table: see `meiju.evaluation.table`."""
    names = list(run.corpus.clips.name[run.corpus.clips.part.isin(("validation", "testing"))])
    chosen = members.plan(run.config, nested=False)
    items = _scores_by_heads(run.config.corpus.average, table)
    if not names:
        what = (
            "The corpus has neither Validation nor Testing, so there are no clips that all members can be asked about."
        )
        return Section("Attention heads", [what], items)
    items += _disagreement(run, chosen, names)
    looked_at = names[:: max(1, len(names) // LOOKED_AT)]
    looks, gates = [], []
    for count, network, frames in pipeline.networks(run, "stage2", chosen, looked_at):
        look, gate = attention_heads.attention(network, frames, np.arange(len(looked_at)))
        looks.append(look.assign(heads=count))
        gates.append(gate.assign(heads=count))
    look, gate = pd.concat(looks, ignore_index=True), pd.concat(gates, ignore_index=True)
    if "attention" not in look:
        return Section("Attention heads", ["The fusion has no attention to look at."], items)
    return Section("Attention heads", [], items + _attention(look, gate))


def _scores_by_heads(average: str, table: pd.DataFrame) -> list[Table | Picture]:
    by_heads = table[table.part == OUT_OF_FOLD]
    caption = (
        f"F1 (0 to 1), {average} average over classes, of members with one number of heads, and of all (horizontal "
        "lines). The vertical axis does not start at zero."
    )
    drawn = figures.score_by_heads(by_heads, title="Out-of-fold F1 by number of attention heads")
    frame = page.score_frame(table[table.heads != ALL_HEADS])
    what = f"Scores of the members of one head count. {page.explain(table)}"
    return [
        picture("Scores by heads", caption, drawn),
        Table("Every head count", what, frame),
    ]


def _disagreement(run: Run, chosen: list[members.Member], names: list[str]) -> list[Table | Picture]:
    differing = attention_heads.disagreement(run.result("stage2"), chosen, names)
    by_kind = attention_heads.disagreement_by_kind(differing)
    by_kind["disagreement"] *= 100
    shown = by_kind.rename(columns={"disagreement": "% of clips"})
    by_heads = attention_heads.disagreement_by_heads(differing)
    drawn = diagnostic_figures.disagreement(by_heads, title="Disagreement of members")
    return [
        Table(
            "What members share",
            "How often two stage-2 members decide differently, in % of Validation and testing clips, mean over pairs "
            "of members, by what the two have in common.",
            shown,
            {"% of clips": "{:.1f}"},
            file="disagreement.csv",
        ),
        picture(
            "Disagreement by heads",
            "Validation and testing clips on which two stage-2 members of different folds decide differently, in %, by "
            "their numbers of heads. What is more beside the diagonal than on it is due to the number of heads.",
            drawn,
        ),
    ]


def _attention(look: pd.DataFrame, gate: pd.DataFrame) -> list[Table | Picture]:
    mean = look.groupby(["task", "where", "heads"], sort=False).agg(
        attention_sd=("attention", "std"), evenness=("evenness", "mean")
    )
    items: list[Table | Picture] = [
        Table(
            "How much heads choose",
            "The standard deviation (sd) of a stream's share over heads, members and streams, and the evenness of a "
            "head's attention in one clip (1: every token alike).",
            mean.reset_index().rename(columns={"attention_sd": "sd of shares"}),
            dict.fromkeys(("sd of shares", "evenness"), SHORT),
            file="heads.csv",
            full=look,
        )
    ]
    if "openness" in gate:
        passed = gate.groupby(["task", "stream"], sort=False)[["openness", "added"]].mean().reset_index()
        items.append(
            Table(
                "What passes between tasks",
                "How far the gates are open (0 to 1), and the norm of what is added to a token relative to what was "
                "there; mean over clips and members.",
                passed,
                dict.fromkeys(("openness", "added"), SHORT),
                file="task_gates.csv",
                full=gate,
            )
        )
    title = "What heads look at, and what passes between the tasks"
    drawn = diagnostic_figures.heads(look, gate, closed=float(expit(CLOSED_GATE)), title=title)
    caption = (
        "Each dot is one head of one stage-2 member: the share of its attention that goes to each stream's token, mean "
        "over Validation and testing clips; bars mark the mean. Below, one dot per member: how far the gates between "
        "the tasks are open (dotted: before training), and how large what they let in is beside what was there."
    )
    return [*items, picture("What heads look at", caption, drawn, "heads.png")]


def calibration(run: Run, stage: Stage) -> Section:
    """How far out-of-fold confidence can be believed, before and after the temperature."""
    truth = evaluation.truth_of(run.corpus, "training", run.folds.name)
    fold = run.folds.fold.to_numpy()
    rows, pictures = [], []
    for task in TASKS:
        before = stage.together[OUT_OF_FOLD][task]
        after = np.empty_like(before)
        for k in np.unique(fold):
            own = fold == k
            after[own] = calibrate(before[own], fit_temperature(before[~own], truth[task][~own]))
        correct = before.argmax(axis=1) == truth[task]
        sure = [p.max(axis=1) for p in (before, after)]
        row = {"task": task, "accuracy": correct.mean(), "mean confidence": sure[0].mean()}
        errors = [expected_calibration_error(confidence.clip(0, 1), correct) for confidence in sure]
        rows.append(row | {"error before": errors[0], "after": errors[1]})
        title = f"Confidence and accuracy of {task}, stage 1"
        drawn = figures.reliability(*(confidence.clip(0, 1) for confidence in sure), correct, title=title)
        caption = (
            "Share of right predictions against confidence, out of fold, before and after the temperature; each fold's "
            "temperature is fitted on the other folds. Below: the number of clips."
        )
        pictures.append(picture(f"Confidence of {task}", caption, drawn))
    frame = pd.DataFrame(rows)
    caption = "Stage 1, out of fold. Error: expected calibration error with ten bins, before and after the temperature."
    table = Table("Calibration error", caption, frame, dict.fromkeys(frame.columns[1:], SHORT))
    return Section("Calibration", [], [table, *pictures])
