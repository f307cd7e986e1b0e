"""A baseline beside a run: a tuned logistic regression on the same frames and folds.

Members that are no better than it are not worth their size.
"""

import numpy as np
import pandas as pd
from sklearn.impute import SimpleImputer
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV, PredefinedSplit
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from tqdm import tqdm

from meiju.data.labels import TASKS
from meiju.evaluation import scores
from meiju.evaluation.ensemble import Probabilities
from meiju.evaluation.scores import OUT_OF_FOLD, VALIDATION, System
from meiju.features import frame_store
from meiju.run import Run

STRENGTHS = np.logspace(-5, -1, 5)  # of the prior (C), tried on the folds that are learnt from
NAME = "baseline"  # of its files below submissions/<run>


def carry_out(run: Run) -> tuple[pd.DataFrame, Probabilities]:
    """Fit the baseline of a run: its scores (see `meiju.evaluation.scores.table`), and what it says of the test clips.

    Raises NotYet where features or folds are not there.
    """
    stores = [frame_store.load(folder) for folder in run.stores.values()]
    parts = scores.parts(run.config, run.corpus, run.folds)
    truth, fold = parts[0].truth, parts[0].fold
    validation, testing = (list(run.corpus.part(part).name) for part in ("validation", "testing"))
    x, x_others = pooled(stores, list(parts[0].names)), pooled(stores, validation + testing)
    predicted: dict[str, Probabilities] = {OUT_OF_FOLD: {}, VALIDATION: {}, "testing": {}}
    for task in TASKS:
        options = {"average": run.config.corpus.average, "n_jobs": run.config.n_jobs}
        options["n_classes"] = len(run.corpus.labels[task])
        predicted[OUT_OF_FOLD][task] = out_of_fold(x, truth[task], fold, **options)
        others = predict(x, truth[task], fold, x_others, **options)
        predicted[VALIDATION][task], predicted["testing"][task] = np.split(others, [len(validation)])
    temperature = scores.temperatures(truth, predicted[OUT_OF_FOLD])
    named = {"stage": NAME, "system": "logistic regression", "heads": ""}
    systems = {part.name: System(part, predicted[part.name], temperature) for part in parts}
    return scores.score_systems([(named, systems)]), predicted["testing"]


def pooled(stores: list[frame_store.Store], names: list[str]) -> np.ndarray:
    """Mean and standard deviation of each clip's frames of all streams, [N, 2 dims]; NaN where there are none."""
    rows = [np.full((len(names), 2 * store.dim), np.nan) for store in stores]
    for store, of_clips in zip(stores, rows, strict=True):
        for of_clip, (start, stop) in zip(of_clips, store.spans(names), strict=True):
            if stop > start:
                frames = store.frames[start:stop].astype(np.float32)
                of_clip[:] = np.concatenate([frames.mean(axis=0), frames.std(axis=0)])
    return np.concatenate(rows, axis=1)


def out_of_fold(x: np.ndarray, y: np.ndarray, fold: np.ndarray, **options) -> np.ndarray:
    """Probabilities [N, K] of each clip by a regression that did not see its fold; options: see `predict`."""
    predicted = np.full((len(y), options["n_classes"]), np.nan)
    for k in tqdm(np.unique(fold), desc="baseline", unit="fold", disable=None):
        seen = fold != k
        predicted[~seen] = predict(x[seen], y[seen], fold[seen], x[~seen], **options)
    return predicted


def predict(
    x: np.ndarray, y: np.ndarray, fold: np.ndarray, others: np.ndarray, *, n_classes: int, average: str, n_jobs: int
) -> np.ndarray:
    """Probabilities [M, K] of other clips [M, P] by a regression on clips [N, P] with class numbers [N] and folds [N].

    Its strength is the one with the best F1 over these folds, each predicted by a regression on the others. What a clip
    lacks is the mean of the clips that are learnt from.
    """
    model = make_pipeline(
        SimpleImputer(keep_empty_features=True),
        StandardScaler(),
        LogisticRegression(class_weight="balanced", max_iter=1000),
    )
    grid, split = {"logisticregression__C": STRENGTHS}, PredefinedSplit(np.unique(fold, return_inverse=True)[1])
    search = GridSearchCV(model, grid, scoring=f"f1_{average}", cv=split, n_jobs=n_jobs).fit(x, y)
    predicted = np.zeros((len(others), n_classes))
    if len(others):
        predicted[:, search.classes_] = search.predict_proba(others)
    return predicted
