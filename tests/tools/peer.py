"""The peer of a run: a tuned logistic regression on the same frames and folds, out of fold.

A release is run beside it: members that are no better than it are not worth their size.

Reads   what steps 01 to 04 wrote
Run     .venv/bin/python tests/tools/peer.py PRESET [--flag value ...], with the flags of the run
"""

import numpy as np
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV, StratifiedKFold
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from threadpoolctl import threadpool_limits

from meiju import features
from meiju.labels import TASKS
from meiju.metrics import joint_score
from meiju.run import Run, main

STRENGTHS = np.logspace(-5, 0, 6)  # of the prior (C), tried on inner folds
INNER_FOLDS = 3


def pooled(store: features.Store, names: list[str]) -> np.ndarray:
    """Mean and standard deviation of each clip's frames, [N, 2 dim]; a clip without frames has the means of all."""
    rows = np.full((len(names), 2 * store.dim), np.nan)
    for k, (start, stop) in enumerate(store.spans(names)):
        if stop > start:
            frames = store.frames[start:stop].astype(np.float32)
            rows[k] = np.concatenate([frames.mean(axis=0), frames.std(axis=0)])
    return np.where(np.isnan(rows), np.nan_to_num(np.nanmean(rows, axis=0)), rows)


def out_of_fold(x: np.ndarray, labels: np.ndarray, fold: np.ndarray, *, n_jobs: int) -> np.ndarray:
    """Predicted labels [N] of each clip by a regression that did not see its fold; its strength is tuned inside."""
    predicted = np.empty_like(labels)
    for k in np.unique(fold):
        seen = fold != k
        inner = StratifiedKFold(INNER_FOLDS, shuffle=True, random_state=0)
        model = make_pipeline(StandardScaler(), LogisticRegression(class_weight="balanced", max_iter=300))
        grid = {"logisticregression__C": STRENGTHS}
        search = GridSearchCV(model, grid, scoring="f1_weighted", cv=inner, n_jobs=n_jobs).fit(x[seen], labels[seen])
        predicted[~seen] = search.predict(x[~seen])
    return predicted


def score_peer(run: Run) -> None:
    training = run.corpus.part("training").merge(run.folds, on="name", validate="one_to_one")
    stores = [features.load(folder) for folder in run.stores.values()]
    with threadpool_limits(1):
        x = np.concatenate([pooled(store, list(training.name)) for store in stores], axis=1)
        truth = {task: run.corpus.labels.encode(task, training[task]) for task in TASKS}
        fold = training.fold.to_numpy()
        predicted = {task: out_of_fold(x, truth[task], fold, n_jobs=run.config.n_jobs) for task in TASKS}
    score = joint_score(truth, predicted, run.config.corpus.average)
    print(f"logistic regression on {x.shape[1]} pooled values, out of fold: {score}")


if __name__ == "__main__":
    main(score_peer)
