"""08 - Average the stage-2 members into the submission.

Reads   work/<run>/stage1/, work/<run>/stage2/
Writes  submissions/<run>/: submission.zip (with submission.csv), scores.csv, probabilities.csv (of the test clips)
Run     python scripts/08_ensemble.py sample --ensemble out-of-fold
"""

from meiju import ensemble, files, scores, submission
from meiju.report import score_table
from meiju.steps import main


def make_submission(run):
    config, corpus, out = run.config, run.corpus, run.config.submission_dir
    stages = run.stages()
    table = scores.table(stages, config, corpus, run.folds)
    names = list(corpus.part("testing").name)
    said = ensemble.vote(run.result("stage2"), config, names, stages[-1].weights)
    decided = ensemble.as_labels(said, names, corpus.labels)
    path = submission.write(decided, out)
    problems = submission.check(path, names=names, emotions=corpus.labels.emotion, intents=corpus.labels.intent)
    if problems:
        raise SystemExit("\n".join(problems))
    files.write_text(out / "scores.csv", table.to_csv(index=False, float_format="%.4f"))
    probabilities = ensemble.as_table(said, names, corpus.labels)
    files.write_text(out / "probabilities.csv", probabilities.to_csv(float_format="%.4f"))
    run.publish("ensemble")
    print(score_table(table[table.heads == scores.MEAN]))
    print(scores.gains(*stages, config, corpus, run.folds).round(4).to_string(index=False))
    print("; ".join(f"best for {t} out of fold: {heads} head(s)" for t, heads in scores.best_heads(table).items()))
    if stages[-1].weights:
        print("weights by number of heads:", ensemble.describe_weights(stages[-1].weights, config.model.heads))
    print(f"submission: {path}, {len(names)} clips, checked")


if __name__ == "__main__":
    main(make_submission)
