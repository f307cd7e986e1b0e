"""The report's sections on pseudo-labels, attention heads and calibration."""

import itertools

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from meiju.data.labels import TASKS
from meiju.evaluation import scores
from meiju.evaluation.calibration import calibrate, fit_temperature
from meiju.evaluation.metrics import expected_calibration_error
from meiju.evaluation.scores import ALL_HEADS, OUT_OF_FOLD, Stage
from meiju.pseudo import teachers
from meiju.report import figures, page
from meiju.report.page import Picture, Section, Table
from meiju.run import Run
from meiju.training import members

SHORT = "{:.3f}"


def picture(heading: str, caption: str, figure: Figure) -> Picture:
    """A figure as a picture of the report."""
    return Picture(heading, caption, figures.to_data_uri(figure))


def pseudo_labels(run: Run, pseudo: pd.DataFrame, gates: pd.DataFrame) -> Section:
    """What was accepted, by which gates. pseudo and gates: see `meiju.pseudo.teachers.read`."""
    if len(pseudo) == 0:
        return Section("Pseudo-labels", ["The corpus has no unlabelled clips, so there are no pseudo-labels."])
    text, items = _accepted(run, pseudo)
    table = Table(
        "Gates",
        "By fold: the temperature, the confidence asked for after it, and the share of right labels among the rows "
        "that pass, which neither the teachers nor the calibration models saw. In a pool with another mix of labels it "
        "can be lower.",
        gates,
        {"temperature": SHORT, "threshold": "{:.4f}", "precision": SHORT},
    )
    return Section("Pseudo-labels", text, [table, *items])


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


def heads(run: Run, table: pd.DataFrame) -> Section:
    """What the number of heads is worth. table: see `meiju.evaluation.scores.table`."""
    names = list(run.corpus.clips.name[run.corpus.clips.part.isin(("validation", "testing"))])
    items = _scores_by_heads(run.config.corpus.average, table)
    if not names:
        what = (
            "The corpus has neither Validation nor Testing, so there are no clips that all members can be asked about."
        )
        return Section("Attention heads", [what], items)
    return Section("Attention heads", [], [*items, _disagreement(run, names)])


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


def _disagreement(run: Run, names: list[str]) -> Table:
    """How often two members decide differently, for every pair of them, by what they have in common."""
    decided = {
        member: scores.decide(members.probabilities(run.result("stage2"), member, names))
        for member in members.plan(run.config, calibration=False)
    }
    rows = []
    for one, other in itertools.combinations(decided, 2):
        heads = "the same" if one.heads == other.heads else "different"
        fold = "same fold" if one.held_out == other.held_out else "different folds"
        seed = "" if one.seed == other.seed else ", different seeds"
        for task in TASKS:
            differ = 100 * (decided[one][task] != decided[other][task]).mean()
            rows.append({"task": task, "members with": f"{heads} heads, {fold}{seed}", "% of clips": differ})
    by_kind = pd.DataFrame(rows).groupby(["task", "members with"])["% of clips"]
    return Table(
        "What members share",
        "How often two stage-2 members decide differently, in % of Validation and testing clips, mean over pairs of "
        "members, by what the two have in common.",
        by_kind.agg(**{"pairs": "size", "% of clips": "mean"}).reset_index(),
        {"% of clips": "{:.1f}"},
        file="disagreement.csv",
    )


def calibration(run: Run, stage: Stage) -> Section:
    """How far out-of-fold confidence can be believed, before and after the temperature."""
    truth = scores.truth_of(run.corpus, "training", run.folds.name)
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
