"""08 - Average the stage-2 members into the submission.

Reads   work/<run>/stage1/, work/<run>/stage2/
Writes  submissions/<run>/: submission.zip (with submission.csv), scores.csv, probabilities.csv (of the test clips),
        model.json (what scripts/predict.py needs to know)
Run     python scripts/08_ensemble.py sample --ensemble out-of-fold
"""

from meiju import ensemble, files, prediction, scores, spreadsheets, submission
from meiju.report import score_table
from meiju.steps import main


def make_submission(run):
    config, corpus, out = run.config, run.corpus, run.config.submission_dir
    names = list(corpus.part("testing").name)
    stages = run.stages()
    table = scores.table(stages, config, corpus, run.folds)
    prediction.write_model(
        out,
        config,
        corpus.labels,
        encoders={stream: run.encoder_folder(stream) for stream in config.encoders},
        transcripts=run.result("transcripts"),
        stage2=run.result("stage2"),
        weights=stages[-1].weights,
    )
    if run.begin("submission"):
        said = ensemble.vote(run.result("stage2"), config, names, stages[-1].weights)
        submission.write(ensemble.as_labels(said, names, corpus.labels), out)
        files.write_text(out / "scores.csv", spreadsheets.as_csv(table, float_format="%.4f"))
        probabilities = ensemble.as_table(said, names, corpus.labels)
        files.write_text(out / "probabilities.csv", spreadsheets.as_csv(probabilities, index=True, float_format="%.4f"))
        run.finish("submission")
    path = out / "submission.zip"
    problems = submission.check(path, names=names, emotions=corpus.labels.emotion, intents=corpus.labels.intent)
    if problems:
        raise SystemExit("\n".join(problems))
    print(score_table(table[table.heads == scores.MEAN]))
    print("what stage 2 gains, with its 95 % interval:")
    print(scores.gains(*stages, config, corpus, run.folds).round(4).to_string(index=False))
    for task, heads in scores.best_heads(table).items():
        print(f"best number of heads for {task}, out of fold: {heads}")
    if stages[-1].weights:
        print("weights by number of heads:", ensemble.describe_weights(stages[-1].weights, config.model.heads))
    print(f"submission: {path} ({len(names)} clips, checked)")


if __name__ == "__main__":
    main(make_submission)
