"""08 - Average the members of stage 2 (or --submit stage1) into the submission.

Reads   work/<run>/stage1/, work/<run>/stage2/
Writes  submissions/<run>/: submission.zip (with submission.csv), scores.csv, probabilities.csv (of the test clips),
        model.json (what scripts/predict.py needs to know)
Run     .venv/bin/python scripts/08_ensemble.py sample --submit stage1
"""

from meiju import pipeline
from meiju.cli import main
from meiju.data import folds, submission
from meiju.evaluation import scores
from meiju.pseudo import teachers
from meiju.report.page import score_table


def make_submission(run):
    pipeline.make_submission(run)
    config, corpus = run.config, run.corpus
    path = run.result("submission") / submission.ZIP_NAME
    names = list(corpus.part("testing").name)
    problems = submission.check(path, names=names, emotions=corpus.labels.emotion, intents=corpus.labels.intent)
    if problems:
        raise SystemExit("\n".join(problems))
    of_stages = pipeline.read_stages(run)
    print(score_table(scores.summary(of_stages.values(), corpus.labels)))
    print("What the score out of fold says of test clips:")
    print(*folds.forecast(run.folds, corpus.part("training"), config.folds_by), sep="\n")
    warning = teachers.too_few(teachers.read(run.result("pseudo"))[0], len(run.folds), config.folds)
    if not warning:
        gains = scores.gains(*of_stages.values())
        print("what stage 2 gains, with 95 % intervals (of JRBM more is better, of log-loss less):")
        print(gains.round(4).to_string(index=False))
        warning = scores.warn_of_loss(gains)
    if warning:
        print(f"\n*** {warning} ***\n")
    if names:
        print(f"submission: {path} ({of_stages[config.submit].name}, {len(names)} clips, checked)")
    else:
        print(f"there is no Testing part, so {path} holds no clip")


if __name__ == "__main__":
    main(make_submission, __doc__)
