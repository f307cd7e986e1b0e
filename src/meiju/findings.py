"""What the report shows of a run: its score table, its figures, and what there is to know before reading them."""

from importlib.metadata import version
from pathlib import Path

import numpy as np
import pandas as pd

from meiju import figures, report, scores, teaching
from meiju.config import Config, as_settings
from meiju.corpus import Corpus
from meiju.evidence import Evidence
from meiju.labels import TASKS
from meiju.log import PACKAGES
from meiju.pseudo import calibrate, fit_temperature
from meiju.scores import MEAN, OUT_OF_FOLD, Stage


def page(
    config: Config,
    corpus: Corpus,
    folds: pd.DataFrame,
    stages: list[Stage],
    pseudo: pd.DataFrame,
    gates: pd.DataFrame,
    evidence: Evidence,
) -> str:
    """The report of a finished run as one HTML page. pseudo and gates: see `meiju.teaching`."""
    table = scores.table(stages, config, corpus, folds)
    return report.render(
        title=f"Emotion and intent: run {config.run}",
        notes=_notes(config, corpus),
        settings=as_settings(config),
        scores=table,
        tables={
            "What stage 2 gains in JRBM, with its 95 % interval (paired bootstrap over clips).": scores.gains(
                *stages, config, corpus, folds
            ).round(4),
            "The gates that pseudo-labels passed, by fold: the threshold on the calibrated confidence, and the "
            "precision above it on rows that neither the teachers nor their stand-ins saw.": gates.round(3),
            **evidence.tables,
        },
        figures=_figures(config.corpus.average, corpus, folds, stages, table, pseudo)
        | {heading: (figures.to_data_uri(figure), caption) for heading, (figure, caption) in evidence.figures.items()},
        made_with={package: version(package) for package in PACKAGES},
    )


def _notes(config: Config, corpus: Corpus) -> list[str]:
    sizes = corpus.clips.part.value_counts()
    counts = ", ".join(f"{sizes.get(part, 0)} {part}" for part in ("training", "validation", "testing", "unlabelled"))
    notes = [
        f"Clips: {counts}. Streams: {', '.join(config.streams)}. F1 is averaged over classes: {config.corpus.average}.",
        "Out-of-fold scores are of training clips, each judged by members that never saw it. Nothing was trained, "
        "calibrated or chosen on Validation.",
    ]
    if (Path(config.corpus.root) / "README.txt").exists() and corpus.clips.name.str.startswith("Sample_").all():
        notes.insert(0, "This is the made-up sample corpus: its scores say nothing about the challenge.")
    return notes


def _figures(
    average: str,
    corpus: Corpus,
    folds: pd.DataFrame,
    stages: list[Stage],
    table: pd.DataFrame,
    pseudo: pd.DataFrame,
) -> dict[str, tuple[str, str]]:
    truth = corpus.part("training").set_index("name").loc[folds.name]
    by_heads = table[table.part == OUT_OF_FOLD]
    found = {
        "Number of attention heads": (
            figures.score_by_heads(by_heads, title="Out-of-fold F1 by number of attention heads"),
            f"F1 (0 to 1), {average} average over classes, of members with one number of heads, and of all (horizontal "
            "lines). The vertical axis does not start at zero.",
        )
    }
    for task in TASKS:
        said = stages[-1].out_of_fold[MEAN][task]
        predicted = pd.Series(corpus.labels.decode(task, said.argmax(axis=1)), index=truth.index)
        found[f"Confusion of {task}"] = (
            figures.confusion(
                truth[task], predicted, corpus.labels[task], title=f"Out-of-fold {task}, stage 2", task=task
            ),
            f"Colour: share of the true {task}'s clips in %. Numbers: clips.",
        )
    for task in TASKS:
        found[f"Confidence of {task}"] = (
            _reliability(corpus, truth, stages[0].out_of_fold[MEAN][task], folds.fold.to_numpy(), task),
            "Share of right predictions against confidence, out of fold, before and after the temperature; each "
            "fold's temperature is fitted on the other folds. Below: the number of clips.",
        )
    for task in TASKS:
        found[f"Accepted pseudo-labels of {task}"] = (
            figures.accepted(
                _per_fold(pseudo[pseudo[f"{task}_accepted"]][task].value_counts(), folds, corpus.labels[task]),
                corpus.part("training")[task].value_counts().reindex(corpus.labels[task], fill_value=0),
                title=f"Pseudo-labels of {task} and training labels",
            ),
            "Share of each class in %, with the number of clips on the bars (pseudo-labels: mean over folds).",
        )
    both = pseudo[pseudo.emotion_accepted & pseudo.intent_accepted]
    found["Accepted pairs"] = (
        figures.accepted_pairs(
            teaching.pair_counts(both, folds.fold.nunique(), corpus).round().astype(int),
            teaching.pair_counts(corpus.part("training"), 1, corpus).astype(int),
            title="Pairs of emotion and intent",
        ),
        "Clips of which both tasks were accepted (mean over folds), beside the training clips. Marked: pairs that "
        "never occur in training.",
    )
    return {heading: (figures.to_data_uri(figure), caption) for heading, (figure, caption) in found.items()}


def _reliability(corpus: Corpus, truth: pd.DataFrame, said: np.ndarray, fold: np.ndarray, task: str):
    labels = corpus.labels.encode(task, truth[task])
    after = np.empty_like(said)
    for k in np.unique(fold):
        own = fold == k
        after[own] = calibrate(said[own], fit_temperature(said[~own], labels[~own]))
    correct = said.argmax(axis=1) == labels
    title = f"Confidence and accuracy of {task}, stage 1"
    return figures.reliability(said.max(axis=1), after.max(axis=1), correct, title=title)


def _per_fold(counts: pd.Series, folds: pd.DataFrame, classes: tuple[str, ...]) -> pd.Series:
    return (counts / folds.fold.nunique()).round().astype(int).reindex(classes, fill_value=0)
