"""What it changes to fit a run's encoders inside the folds, without the clips that are held out.

Encoders that learn (n-grams, principal components) learn once, from all training and unlabelled clips, without labels.
Here they learn for each fold anew from the others and the pool, and a logistic regression on the mean of the frames is
scored out of fold with both, over several draws of the folds.

Reads   what step 02 wrote
Run     .venv/bin/python tests/tools/inside_folds.py PRESET --streams text=tfidf-svd [--flag value ...]
"""

import numpy as np
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import f1_score, log_loss
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from threadpoolctl import threadpool_limits

from meiju.cli import main
from meiju.data import folds
from meiju.data.corpus import UNSCORED_PARTS
from meiju.data.labels import TASKS
from meiju.features.base import Clip, Encoder, Noted
from meiju.features.registry import make_encoder
from meiju.run import Run
from meiju.text import refine

DRAWS = 3  # of the folds
STRENGTH = 0.01  # of the regression's prior (C), on standardised values


def pooled(encoder: Encoder, clips: list[Clip]) -> np.ndarray:
    """The mean of each clip's frames [N, dim]; zeros for a clip without frames."""
    encoded = [frames.frames if isinstance(frames, Noted) else frames for frames in encoder.encode(clips)]
    return np.stack([x.mean(axis=0) if isinstance(x, np.ndarray) else np.zeros(encoder.dim) for x in encoded])


def compare(run: Run) -> None:
    clips = refine.as_clips(run.corpus.clips, run.result("transcripts"))
    learnt_from = set(run.corpus.clips.name[run.corpus.clips.part.isin(UNSCORED_PARTS)])
    to_fit = [clip for clip in clips if clip.name in learnt_from]
    training = run.corpus.part("training")
    labelled = [clip for clip in clips if clip.name in set(training.name)]  # both sorted by name

    def encoded(held_out: set[str]) -> np.ndarray:
        parts = []
        for name in run.config.encoders.values():
            encoder = make_encoder(name, run.config)
            encoder.fit([clip for clip in to_fit if clip.name not in held_out], seed=run.config.seed)
            parts.append(pooled(encoder, labelled))
        return np.concatenate(parts, axis=1)

    once = encoded(set())
    for seed in range(DRAWS):
        drawn = folds.draw(run.corpus, n_folds=run.config.folds, by=run.config.folds_by, seed=seed).fold.to_numpy()
        inside = {k: encoded(set(training.name[drawn == k])) for k in np.unique(drawn)}
        for task in TASKS:
            y = run.corpus.labels.encode(task, training[task])
            for what, values in (("once", dict.fromkeys(inside, once)), ("inside the folds", inside)):
                probabilities = np.zeros((len(y), y.max() + 1))
                for k, x in values.items():
                    model = make_pipeline(StandardScaler(), LogisticRegression(C=STRENGTH, max_iter=300))
                    model.fit(x[drawn != k], y[drawn != k])
                    probabilities[np.ix_(drawn == k, model.classes_)] = model.predict_proba(x[drawn == k])
                f1, loss = f1_score(y, probabilities.argmax(axis=1), average="weighted"), log_loss(y, probabilities)
                print(f"folds of seed {seed}, {task}, encoders fitted {what}: F1 {f1:.4f}, log-loss {loss:.4f}")


if __name__ == "__main__":
    with threadpool_limits(1):
        main(compare, __doc__)
