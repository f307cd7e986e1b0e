"""Builds the report of a finished run: which sections there are, what their tables hold and what their text says."""

from importlib.metadata import version

import numpy as np
import pandas as pd

from meiju import pipeline
from meiju.config import as_settings
from meiju.data import folds
from meiju.data.corpus import PARTS
from meiju.data.labels import TASKS
from meiju.evaluation import scores
from meiju.evaluation.metrics import calibrate, fit_temperature, per_class
from meiju.evaluation.scores import ALL_HEADS, AND_SEEDS, OUT_OF_FOLD, VALIDATION, Stage
from meiju.pseudo import teachers
from meiju.report import figures, page
from meiju.report.page import Picture, Section, Table
from meiju.run import Run
from meiju.sample import corpus as sample_corpus
from meiju.utils import files, log, spreadsheets

SHOWN_ERRORS = 15  # of each task
SHORT = "{:.3f}"


def write(run: Run) -> None:
    """Step 09, once it has begun (`Run.needs_run`)."""
    out, stages = run.folder("report"), pipeline.read_stages(run)
    errors = wrong_clips(run, stages[run.config.submit])
    files.write_text(out / "errors.csv", spreadsheets.as_csv(errors, float_format="%.5f"))
    sections = build(run, stages, errors, *teachers.read(run.result("pseudo")))
    config, sizes = run.config, run.corpus.clips.part.value_counts()
    counts = ", ".join(f"{sizes.get(part, 0)} {part}" for part in PARTS)
    members = f"{config.folds} folds, heads {', '.join(map(str, config.model.heads))}, seeds: {config.train.seeds}"
    intro = [f"Clips: {counts}. Streams: {', '.join(config.streams)}. Members: {members}."]
    if sample_corpus.is_sample(config.corpus.root):
        intro.insert(0, "This is the made-up sample corpus: its scores say nothing about the challenge.")
    title, made_with = f"Emotion and intent: run {config.run}", {package: version(package) for package in log.PACKAGES}
    html = page.render(title=title, intro=intro, sections=sections, made_with=made_with)
    files.write_text(out / "report.html", html)
    run.finish("report", [out / "errors.csv", out / "report.html"])


def build(
    run: Run, stages: dict[str, Stage], errors: pd.DataFrame, pseudo: pd.DataFrame, gates: pd.DataFrame
) -> list[Section]:
    """The sections of the report of a run of which both stages are trained.

    errors: see `wrong_clips`. pseudo and gates: see `meiju.pseudo.teachers.read`.
    """
    submitted = stages[run.config.submit]
    settings = pd.json_normalize(as_settings(run.config)).iloc[0].map(str)
    settings = settings.rename_axis("setting").reset_index(name="value")
    held_out = f"Scores of {submitted.name} on the training clips that each fold holds out, all head counts together."
    by_fold = pd.DataFrame(scores.scores_by_fold(submitted.together[OUT_OF_FOLD]))
    by_logs = "The last run of each step, and the most memory of its main process, by the logs in work/."
    costs = log.costs(run.config.work / "log")
    return [
        _scores(run, stages, submitted.name),
        _gain(run, stages, teachers.too_few(pseudo, len(run.folds), run.config.folds)),
        _classes(run, submitted),
        Section("Folds", [], [Table("Scores by fold", held_out, by_fold)]),
        _errors(errors, submitted.name),
        _pseudo_labels(run, pseudo, gates),
        _confidence(stages["stage1"]),
        Section("Run time", [], [Table("Time by step", by_logs, costs, {"seconds": "{:.1f}"})]),
        Section("Settings", [], [Table("All settings", "As the command line names them.", settings)]),
    ]


def wrong_clips(run: Run, stage: Stage) -> pd.DataFrame:
    """Every clip and task that all members together judge wrongly, the surest first.

    Columns task, name, part, fold (missing on Validation), true, predicted, confidence (mean probability of the
    predicted class over the members, 0 to 1), sentence.
    """
    sentences = run.transcribed().set_index("name").sentence
    tables = []
    for name, system in stage.together.items():
        part = system.part
        for task in TASKS:
            probabilities = system.probabilities[task]
            table = pd.DataFrame({"task": task, "name": part.names, "part": name})
            table["fold"] = pd.array([pd.NA] * len(table) if part.fold is None else part.fold, dtype="Int64")
            table["true"] = run.corpus.labels.decode(task, part.truth[task])
            table["predicted"] = run.corpus.labels.decode(task, probabilities.argmax(axis=1))
            table["confidence"] = probabilities.max(axis=1)
            table["sentence"] = sentences.reindex(table.name).to_numpy()
            tables.append(table[table.true != table.predicted])
    return pd.concat(tables).sort_values("confidence", ascending=False, kind="stable", ignore_index=True)


def _scores(run: Run, stages: dict[str, Stage], submitted: str) -> Section:
    table = scores.table(stages.values())
    shown = scores.summary(stages.values(), run.corpus.labels)
    shown = shown.sort_values("part", kind="stable", ignore_index=True)
    has_validation = VALIDATION in set(table.part)
    untouched = "Nothing was trained, calibrated or chosen on Validation."
    forecast = " ".join(folds.forecast(run.folds, run.corpus.part("training"), run.config.folds_by))
    text = [
        f"E and I are the F1 of emotion and of intent, class average ({run.config.corpus.average}). JRBM is their "
        "harmonic mean, 2EI / (E + I). All lie between 0 and 1.",
        "Out-of-fold scores are of training clips, each judged by members that never saw it. "
        + (untouched if has_validation else "The corpus has no Validation part."),
        f"What the score out of fold says of test clips: {forecast}",
    ]
    caption = (
        f"Bold: {submitted}, whose members predict the submission, all head counts together. Majority: the score of "
        f"always taking the commonest class of the training part. {page.explain(shown)}"
    )
    strong = frozenset(shown.index[shown.stage == submitted])
    every = page.score_frame(table[table.heads != ALL_HEADS])
    tables = [
        Table("All systems", caption, page.score_frame(shown), strong=strong),
        Table("Every head count", "Scores of the members of one head count.", every),
    ]
    ablation = run.ablation_folder / "ablation.md"
    link = ("What each part of the system is worth (ablation)", ablation.relative_to(run.folder("report")).as_posix())
    return Section("Scores", text, tables, link=link if ablation.exists() else None)


def _gain(run: Run, stages: dict[str, Stage], too_few: str) -> Section:
    if too_few:  # the difference of two first stages is no gain
        return Section("What stage 2 gains", [too_few])
    found = scores.gains(*stages.values())
    beyond = [scores.is_beyond_chance(row.low, row.high, row.interval) for row in found.itertuples()]
    covers = (
        "With one seed nothing tells how far another random start would have led: a gain of this size may be chance "
        "even where the 95 % interval leaves out 0. With --train.seeds 2 or more, the interval covers seeds as well."
    )
    if found.interval.str.endswith(AND_SEEDS).all():
        covers = (
            "The 95 % interval allows for other clips, speakers or dialogues, as it says, and for other random starts "
            "of the members. Bold where it leaves out 0."
        )
    table = Table(
        "Gain",
        "Scores of stage 2 less those of stage 1, all head counts together. Of JRBM more is better, of log-loss less.",
        found,
        dict.fromkeys(("difference", "low", "high"), "{:+.4f}"),
        strong=frozenset(np.flatnonzero(beyond).tolist()),
    )
    return Section("What stage 2 gains", [text for text in (scores.warn_of_loss(found), covers) if text], [table])


def _classes(run: Run, stage: Stage) -> Section:
    labels, items = run.corpus.labels, []
    for task in TASKS:
        found = []
        for part, system in stage.together.items():
            truth, predicted = system.part.truth[task], system.predicted[task]
            table = per_class(truth, predicted, len(labels[task]))
            found.append(table.assign(part=part, **{task: labels[task]}))
            if part == OUT_OF_FOLD:
                title = f"Out-of-fold {task}, {stage.name}"
                figure = figures.confusion(truth, predicted, labels[task], title=title, task=task)
        frame = pd.concat(found)[[task, "part", "support", "precision", "recall", "F1"]]
        formats = dict.fromkeys(("precision", "recall", "F1"), SHORT)
        items.append(Table(f"F1 of each {task}", f"{stage.name.capitalize()} by true {task}.", frame, formats))
        caption = "Colour: share of the true class's clips in %. Numbers: clips."
        items.append(Picture(f"Confusion of {task}", caption, figures.to_data_uri(figure)))
    return Section("Classes", [], items)


def _errors(errors: pd.DataFrame, stage: str) -> Section:
    items = []
    for task in TASKS:
        own = errors[(errors.part == OUT_OF_FOLD) & (errors.task == task)]
        shown = own.head(SHOWN_ERRORS)[["name", "true", "predicted", "confidence", "sentence"]]
        caption = f"The {len(shown)} surest of {len(own)} out-of-fold clips whose {task} {stage} gets wrong."
        items.append(Table(f"Wrong {task}s", caption, shown, {"confidence": "{:.2f}"}))
    text = "Confidence is the mean probability of the predicted class over the members, before any calibration."
    return Section("Clips judged wrongly", [text], items, link=("All errors", "errors.csv"))


def _pseudo_labels(run: Run, pseudo: pd.DataFrame, gates: pd.DataFrame) -> Section:
    """What was accepted, by which gates."""
    if len(pseudo) == 0:
        return Section("Pseudo-labels", ["The corpus has no unlabelled clips, so there are no pseudo-labels."])
    n_folds, n_clips = run.config.folds, len(pseudo) // run.config.folds
    text = [
        f"{task.capitalize()}: {pseudo[f'{task}_accepted'].sum() / n_folds:.0f} of {n_clips} unlabelled clips were "
        "accepted (mean over folds)."
        for task in TASKS
    ]
    caption = (
        "By fold: the temperature, the confidence asked for after it, and the share of right labels among the rows "
        "that pass, which neither teachers nor calibration models saw. In a pool with another mix of labels it can be "
        "lower."
    )
    table = Table("Gates", caption, gates, {"temperature": SHORT, "threshold": "{:.4f}", "precision": SHORT})
    both = pseudo[pseudo.emotion_accepted & pseudo.intent_accepted]
    known, counted = run.corpus.part("training"), teachers.pair_counts
    pairs = counted(both, n_folds, run.corpus), counted(known, 1, run.corpus)
    drawn = figures.accepted_pairs(*pairs, title="Pairs of emotion and intent")
    caption = "Clips of which both tasks were accepted (mean over folds), beside the training clips."
    return Section("Pseudo-labels", text, [table, Picture("Accepted pairs", caption, figures.to_data_uri(drawn))])


def _confidence(stage: Stage) -> Section:
    """Whether out-of-fold confidence can be believed, before and after a temperature that the other folds suit."""
    system, items = stage.together[OUT_OF_FOLD], []
    truth, fold = system.part.truth, system.part.fold
    for task in TASKS:
        before = system.probabilities[task]
        after = np.full_like(before, np.nan)
        for k in np.unique(fold):
            own = fold == k
            after[own] = calibrate(before[own], fit_temperature(before[~own], truth[task][~own]))
        right = before.argmax(axis=1) == truth[task]
        confidence = {"before": before.max(axis=1), "after": after.max(axis=1)}
        drawn = figures.reliability(confidence, right, title=f"Confidence and accuracy of {task}, {stage.name}")
        caption = "Share of right predictions out of fold, of ten groups of equally many clips by confidence, before "
        caption += "and after the temperature. On the line, confidence is what it says."
        items.append(Picture(f"Confidence of {task}", caption, figures.to_data_uri(drawn)))
    return Section("Confidence", [], items)
