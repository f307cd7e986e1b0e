"""07 - Stage 2: train again, on the labelled and the pseudo-labelled clips.

Reads   work/_shared/features/, folds/<run>.csv, work/<run>/pseudo/
Writes  work/<run>/stage2/: as stage 1
Run     .venv/bin/python scripts/07_train_stage2.py sample --stage2.weight 0.5
"""

from meiju import pipeline
from meiju.cli import main
from meiju.evaluation import scores
from meiju.report.page import score_table


def train_stage2(run):
    pipeline.train_stage2(run)
    print(score_table(scores.table(pipeline.read_stages(run, "stage2").values())))


if __name__ == "__main__":
    main(train_stage2, __doc__)
