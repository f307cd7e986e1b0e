"""06 - Label the clips of the unlabelled pool that stage-1 members are sure of, separately for every fold.

With --pseudo.rounds 2, stage 2 of round 1 is trained first, and its members label the pool again.

Reads   work/<run>/stage1/
Writes  work/<run>/pseudo/: pseudo_labels.csv (name, fold, and by task label, confidence, accepted), gates.csv
Run     .venv/bin/python scripts/06_pseudo_label.py sample --pseudo.gate fixed --pseudo.threshold 0.9
"""

from meiju import pipeline, teachers
from meiju.run import main


def pseudo_label(run):
    pipeline.label_pool(run)
    table, gates = teachers.read(run.result("pseudo"))
    print(teachers.describe(run.config.pseudo, table, gates, run.corpus))
    few = pipeline.few_pseudo_labels(run, table)
    if few:
        print(f"\n*** {few} ***")


if __name__ == "__main__":
    main(pseudo_label)
