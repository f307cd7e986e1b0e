"""05 - Stage 1: train on the labelled clips, for every fold, head count and seed.

Members that hold out two folds are trained beside them: they tell how far the teachers of step 06 can be trusted.
Text encoders of tuned: streams are fine-tuned first, inside the folds.

Reads   work/<run>/features/, work/<run>/transcripts/, folds/<run>.csv
Writes  work/<run>/stage1/: a .safetensors (weights) and a .npz (predictions on unseen clips) a member
Run     python scripts/05_train_stage1.py sample --train.lr 1e-3
"""

from meiju import members, scores
from meiju.report import score_table
from meiju.steps import main


def train_stage1(run):
    folder = run.folder("stage1")
    if run.begin("stage1"):
        run.tune()
        plan = members.plan(run.config, checks=True)
        members.train(run.config, run.data(), plan, folder, stage=1, label="stage 1")
        run.finish("stage1")
    stage = scores.read_stage("stage 1", run.config, run.corpus, run.folds, folder)
    print(score_table(scores.table([stage], run.config, run.corpus, run.folds)))


if __name__ == "__main__":
    main(train_stage1)
