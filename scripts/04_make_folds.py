"""04 - Draw the folds of the training part.

Reads   the corpus' tables
Writes  folds/<run>.csv: name, fold
Run     python scripts/04_make_folds.py sample --folds 5
"""

from meiju import folds
from meiju.steps import main


def make_folds(run):
    path = run.config.folds_path
    drawn = folds.draw(run.corpus, n_folds=run.config.folds, seed=run.config.seed)
    # Drawing takes a second, so that it is simply done again to see whether the file is up to date.
    if path.exists() and folds.same(path, drawn):
        print(f"folds: done before with these settings, see {path}")
    else:
        folds.write(drawn, path)
    print(folds.describe(drawn, run.corpus.part("training")))


if __name__ == "__main__":
    main(make_folds)
