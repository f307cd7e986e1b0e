"""06 - Label the unlabelled pool by stage-1 members, separately for every fold.

Reads   work/<run>/stage1/
Writes  work/<run>/pseudo/: pseudo_labels.csv (name, fold, and by task label, confidence, accepted,
        probabilities), gates.csv
Run     .venv/bin/python scripts/06_pseudo_label.py sample --pseudo.gate paper
"""

from meiju import pipeline
from meiju.cli import main
from meiju.pseudo import teachers


def pseudo_label(run):
    pipeline.label_pool(run)
    table, gates = teachers.read(run.result("pseudo"))
    print(teachers.describe(table, gates, run.corpus))
    few = teachers.too_few(table, len(run.folds), run.config.folds)
    if few:
        print(f"\n*** {few} ***")


if __name__ == "__main__":
    main(pseudo_label, __doc__)
