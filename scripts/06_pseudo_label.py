"""06 - Label the unlabelled pool where the stage-1 members are sure, separately for every fold.

Reads   work/<run>/stage1/
Writes  work/<run>/pseudo/: pseudo_labels.csv (name, fold, and by task label, confidence, accepted), gates.csv
Run     python scripts/06_pseudo_label.py sample --pseudo.gate fixed --pseudo.threshold 0.9
"""

from meiju import teaching
from meiju.steps import main


def pseudo_label(run):
    folder = run.folder("pseudo")
    if run.begin("pseudo"):
        table, gates = teaching.label_all_folds(run.config, run.corpus, run.folds, run.result("stage1"))
        teaching.write(folder, table, gates)
        run.finish("pseudo")
    print(teaching.describe(*teaching.read(folder), run.corpus))


if __name__ == "__main__":
    main(pseudo_label)
