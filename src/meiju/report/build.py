"""Builds the report of a finished run: which sections there are, what their tables hold and what their text says."""

from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path

import numpy as np
import pandas as pd

from meiju import pipeline
from meiju.config import as_settings
from meiju.data import folds
from meiju.data.labels import TASKS
from meiju.evaluation import scores
from meiju.evaluation.metrics import per_class
from meiju.evaluation.scores import AND_SEEDS, OUT_OF_FOLD, VALIDATION, Stage
from meiju.pseudo import teachers
from meiju.report import diagnostics, figures, page
from meiju.report.diagnostics import SHORT, picture
from meiju.report.page import Section, Table
from meiju.run import Run
from meiju.utils import files, log

SHOWN_ERRORS = 15  # of each task


def render(run: Run, sections: Sequence[Section]) -> str:
    """The report as one HTML page."""
    made_with = {package: version(package) for package in log.PACKAGES}
    title = f"Emotion and intent: run {run.config.run}"
    return page.render(title=title, intro=_intro(run), sections=sections, made_with=made_with)


def write(run: Run) -> None:
    """Step 09, once it has begun (`Run.needs_run`)."""
    out, ablation = run.folder("report"), run.ablation_folder / "ablation.md"
    table, gates = teachers.read(run.result("pseudo"))
    link = ablation.relative_to(out).as_posix() if ablation.exists() else None
    sections = build(run, table, gates, ablation=link, notice=pipeline.few_pseudo_labels(run, table))
    kept = page.kept_tables(sections)
    for name, content in kept.items():
        files.write_text(out / name, content)
    files.write_text(out / "report.html", render(run, sections))
    run.finish("report", [out / name for name in ("report.html", *kept)])


def build(
    run: Run, pseudo: pd.DataFrame, gates: pd.DataFrame, *, ablation: str | None = None, notice: str = ""
) -> list[Section]:
    """The sections of the report of a run of which both stages are trained.

    pseudo and gates: see `meiju.pseudo.teachers.read`. ablation: where the run's ablation lies, relative to the report.
    notice: what is to be said of stage 2, where it learnt from too few pseudo-labels.
    """
    trained = pipeline.read_stages(run)
    table = scores.table(trained, run.config, run.corpus, run.folds)
    submitted = pipeline.submitted(run, trained)
    errors = wrong_clips(run, submitted)
    return [
        _scores(run, table, submitted.name, ablation),
        _gain(run, trained, notice),
        _classes(run, submitted),
        _folds(run, trained),
        _errors(errors, submitted.name),
        diagnostics.pseudo_labels(run, pseudo, gates),
        diagnostics.heads(run, table),
        diagnostics.calibration(run, trained[0]),
        _run_time(run),
        _settings(run),
    ]


def wrong_clips(run: Run, stage: Stage) -> pd.DataFrame:
    """Every clip and task that all members together judge wrongly, the surest first.

    Columns task, name, part, fold (missing on Validation), true, predicted, confidence (mean probability of the
    predicted class over the members, 0 to 1), sentence.
    """
    sentences = run.transcribed().set_index("name").sentence
    names = {OUT_OF_FOLD: list(run.folds.name), VALIDATION: list(run.corpus.part("validation").name)}
    tables = []
    for part, truth, fold in scores.parts(run.corpus, run.folds):
        for task in TASKS:
            probabilities = stage.together[part][task]
            table = pd.DataFrame({"task": task, "name": names[part], "part": part})
            table["fold"] = pd.array([pd.NA] * len(table) if fold is None else fold, dtype="Int64")
            table["true"] = run.corpus.labels.decode(task, truth[task])
            table["predicted"] = run.corpus.labels.decode(task, probabilities.argmax(axis=1))
            table["confidence"] = probabilities.max(axis=1)
            table["sentence"] = sentences.reindex(table.name).to_numpy()
            tables.append(table[table.true != table.predicted])
    return pd.concat(tables).sort_values("confidence", ascending=False, kind="stable", ignore_index=True)


def _intro(run: Run) -> list[str]:
    config, corpus = run.config, run.corpus
    sizes = corpus.clips.part.value_counts()
    counts = ", ".join(f"{sizes.get(part, 0)} {part}" for part in ("training", "validation", "testing", "unlabelled"))
    seeds = "1 seed" if config.train.seeds == 1 else f"{config.train.seeds} seeds"
    ensemble = f"{config.folds} folds, heads {', '.join(map(str, config.model.heads))}, {seeds}"
    intro = [f"Clips: {counts}. Streams: {', '.join(config.streams)}. Members: {ensemble}."]
    if (Path(config.corpus.root) / "README.txt").exists() and corpus.clips.name.str.startswith("Sample_").all():
        intro.insert(0, "This is the made-up sample corpus: its scores say nothing about the challenge.")
    return intro


def _scores(run: Run, table: pd.DataFrame, submitted: str, ablation: str | None) -> Section:
    shown = scores.summary(table, run.config, run.corpus, run.folds)
    shown = shown.sort_values("part", kind="stable").reset_index(drop=True)
    marked = shown.index[shown.stage == submitted]
    return Section(
        "Scores",
        [
            f"E and I are the F1 of emotion and of intent, class average ({run.config.corpus.average}). JRBM is "
            "their harmonic mean, 2EI / (E + I). All lie between 0 and 1.",
            "Out-of-fold scores are of training clips, each judged by members that never saw it. "
            + (
                "Nothing was trained, calibrated or chosen on Validation."
                if VALIDATION in set(table.part)
                else "The corpus has no Validation part."
            ),
            "What the score out of fold says of test clips: "
            + " ".join(folds.forecast(run.folds, run.corpus.part("training"), run.config.folds_by)),
            *([] if ablation else ["There is no ablation yet: scripts/10_ablate.py"]),
        ],
        [
            Table(
                "All systems",
                f"The submission is what {submitted} says of the test clips, all head counts together. Majority: the "
                f"score of always taking the commonest class of the training part. {page.explain(shown)}",
                page.score_frame(shown),
                tags=dict.fromkeys(marked, "submission"),
            )
        ],
        link=("What each part of the system is worth (ablation)", ablation) if ablation else None,
    )


def _gain(run: Run, trained: list[Stage], notice: str) -> Section:
    if notice:  # the difference of two first stages is no gain
        return Section("What stage 2 gains", [notice])
    found = scores.gains(*trained, run.config, run.corpus, run.folds)
    warning = scores.warn_of_loss(found)
    beyond = [scores.is_beyond_chance(row.low, row.high, row.interval) for row in found.itertuples()]
    seeds = run.config.train.seeds
    if found.interval.str.endswith(AND_SEEDS).all():
        covers = (
            f"The 95 % interval allows for other clips, speakers or dialogues, as it says, and for other random starts "
            f"of the members, {seeds} of which were trained for each head count and fold. Bold where it leaves out 0."
        )
    else:
        covers = (
            "With one seed nothing tells how far another random start would have led, and a gain of this size may be "
            "chance even where the 95 % interval leaves out 0. With --train.seeds 2 or more, the interval covers the "
            "seeds as well."
        )
    table = Table(
        "Gain",
        "Scores of stage 2 less those of stage 1, all head counts together. Of JRBM more is better, of log-loss less.",
        found,
        dict.fromkeys(("difference", "low", "high"), "{:+.4f}"),
        strong=frozenset(np.flatnonzero(beyond).tolist()),
    )
    return Section("What stage 2 gains", [*([warning] if warning else []), covers], [table])


def _classes(run: Run, stage: Stage) -> Section:
    labels = run.corpus.labels
    truth = {part: own for part, own, _ in scores.parts(run.corpus, run.folds)}
    items = []
    for task in TASKS:
        found = {
            part: per_class(truth[part][task], stage.together[part][task].argmax(axis=1), len(labels[task]))
            for part in truth
        }
        inside = found[OUT_OF_FOLD]
        columns = {"clips": inside.support, "precision": inside.precision, "recall": inside.recall, "F1": inside.F1}
        if VALIDATION in found:
            columns |= {"Validation clips": found[VALIDATION].support, "Validation F1": found[VALIDATION].F1}
        frame = pd.DataFrame({task: labels[task], **columns})
        formats = {column: SHORT for column in ("precision", "recall", "F1", "Validation F1") if column in columns}
        then = ", then on Validation" if VALIDATION in found else ""
        caption = f"{stage.name.capitalize()} by true {task}: out of fold first{then}. F1 from 0 to 1."
        items.append(Table(f"F1 of each {task}", caption, frame, formats, file=f"{task}_classes.csv"))
        named = [labels.decode(task, k) for k in (truth[OUT_OF_FOLD][task], stage.system(OUT_OF_FOLD).predicted[task])]
        drawn = figures.confusion(*named, labels[task], title=f"Out-of-fold {task}, {stage.name}", task=task)
        caption = "Colour: share of the true class's clips in %. Numbers: clips."
        items.append(picture(f"Confusion of {task}", caption, drawn))
    return Section("Classes", [], items)


def _folds(run: Run, trained: list[Stage]) -> Section:
    frame = scores.by_fold(trained, run.config, run.corpus, run.folds)
    columns = list(frame.columns[2:])
    summary = frame[columns].agg(["mean", "std"]).reset_index(drop=True)
    summary.insert(0, "fold", ["mean", "sd"])
    shown = pd.concat([frame.astype({"fold": str, "clips": "Int64"}), summary], ignore_index=True)
    caption = "Out-of-fold scores of the clips that each fold holds out, all head counts together."
    return Section("Folds", [], [Table("Scores by fold", caption, shown, dict.fromkeys(columns, SHORT))])


def _errors(errors: pd.DataFrame, stage: str) -> Section:
    out_of_fold = errors[errors.part == OUT_OF_FOLD]
    items = []
    for task in TASKS:
        own = out_of_fold[out_of_fold.task == task]
        shown = own.head(SHOWN_ERRORS)[["name", "true", "predicted", "confidence", "sentence"]]
        caption = f"The {len(shown)} surest of {len(own)} out-of-fold clips whose {task} {stage} gets wrong."
        formats = {"confidence": "{:.2f}"}
        whole = {} if items else {"file": "errors.csv", "full": errors}
        items.append(Table(f"Wrong {task}s", caption, shown, formats, **whole))
    text = [
        "Confidence is the mean probability of the predicted class over the members, before any calibration. "
        "errors.csv holds every error of both tasks and all parts that are scored."
    ]
    return Section("Clips judged wrongly", text, items)


def _run_time(run: Run) -> Section:
    costs = log.read_costs(run.config.work / "log", as_settings(run.config))
    if len(costs) == 0:
        return Section("Run time", ["Unknown: there are no logs of this run in its work folder."])
    text = [
        f"Together {duration(costs.seconds.sum())} on this machine, without this report. Attempts that were broken off "
        "count as well."
    ]
    if (costs.settings != log.SAME).any():
        text.append(f"Steps marked {log.OTHER}: done with other settings, and their results were used again.")
    frame = pd.DataFrame(
        {
            "step": costs.step,
            "time": costs.seconds.map(duration),
            "most memory (MB)": costs.megabytes,
            "settings": costs.settings,
        }
    )
    caption = "Time on the clock and the most memory of the main process, by step, from the logs in work/."
    return Section("Run time", text, [Table("Time by step", caption, frame, {"time": "{}"})])


def duration(seconds: float) -> str:
    """A time in words of two units at most: 42 s, 3 min 05 s, 2 h 07 min."""
    minutes, rest = divmod(round(seconds), 60)
    if minutes == 0:
        return f"{rest} s" if rest else "under 1 s"
    return f"{minutes // 60} h {minutes % 60:02} min" if minutes >= 60 else f"{minutes} min {rest:02} s"


def _settings(run: Run) -> Section:
    flat = page.flat_settings(as_settings(run.config))
    frame = pd.DataFrame({"setting": list(flat), "value": list(flat.values())})
    return Section("Settings", [], [Table("All settings", "As the command line names them.", frame)], folded=True)
