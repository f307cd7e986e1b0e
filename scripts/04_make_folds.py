"""04 - Draw the folds of the training part, once: if the file of the folds exists, it is kept.

Reads   the corpus' tables
Writes  folds/<run>.csv: name, fold
Run     .venv/bin/python scripts/04_make_folds.py sample --folds 5
"""

from meiju.cli import main
from meiju.data import folds


def make_folds(run):
    path = run.config.folds_path
    if path.exists():
        print(f"folds: {path} is kept; delete it to draw the folds again")
    else:
        config = run.config
        drawn = folds.draw(run.corpus, n_folds=config.folds, by=config.folds_by, seed=config.seed)
        folds.write(drawn, path)
    training = run.corpus.part("training")
    print(folds.describe(run.folds, training, run.config.folds_by))
    print(*folds.forecast(run.folds, training, run.config.folds_by), sep="\n")


if __name__ == "__main__":
    main(make_folds, __doc__)
