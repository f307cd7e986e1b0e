"""05 - Stage 1: train on the labelled clips, for every fold, head count and seed.

Members that hold out two folds are trained beside them: they tell how far the teachers of step 06 can be trusted.

Reads   work/<run>/features/, folds/<run>.csv
Writes  work/<run>/stage1/: a .safetensors (weights) and a .npz (predictions on unseen clips) a member
Run     python scripts/05_train_stage1.py sample --train.lr 1e-3
"""

from meiju import ensemble, members
from meiju.steps import main


def train_stage1(run):
    folder = run.stage1_folder()
    members.train(run.config, run.data(), members.plan(run.config, checks=True), folder, stage=1, label="stage 1")
    print(ensemble.describe("stage 1", ensemble.stage_scores(run.config, run.corpus, run.folds, folder)))
    run.finish("stage1")


if __name__ == "__main__":
    main(train_stage1)
