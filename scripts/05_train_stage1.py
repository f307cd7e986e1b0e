"""05 - Stage 1: train on the labelled clips, for every fold, head count and seed.

Members that hold out two folds are trained beside them: they tell how far the teachers of step 06 can be trusted.

Reads   work/_shared/features/, work/<run>/transcripts/, folds/<run>.csv
Writes  work/<run>/stage1/: a .safetensors (weights) and a .npz (predictions on unseen clips) per member
Run     .venv/bin/python scripts/05_train_stage1.py sample --train.lr 1e-3
"""

from meiju import pipeline
from meiju.cli import main
from meiju.evaluation import scores
from meiju.report.page import score_table


def train_stage1(run):
    pipeline.train_stage1(run)
    print(score_table(scores.table(pipeline.read_stages(run, "stage1").values())))


if __name__ == "__main__":
    main(train_stage1, __doc__)
