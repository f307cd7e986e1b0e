"""Score the baseline of a run: a tuned logistic regression on the same frames and folds.

Set its submission beside the run's with scripts/score.py --beside, where the test labels are known.

Reads   what steps 01 to 04 wrote
Writes  submissions/<run>/baseline.csv (scores out of fold and on Validation), submissions/<run>/baseline/submission.csv
        and submission.zip (of the test clips)
Run     .venv/bin/python scripts/baseline.py sample, with the flags of the run
"""

from threadpoolctl import threadpool_limits

from meiju.analysis import baseline
from meiju.cli import main
from meiju.data import submission
from meiju.evaluation import ensemble
from meiju.report.page import score_table
from meiju.utils import files, spreadsheets


def score_baseline(run):
    with threadpool_limits(1):
        table, testing = baseline.carry_out(run)
    out = run.config.submission_dir
    names = list(run.corpus.part("testing").name)
    submission.write(ensemble.as_labels(testing, names, run.corpus.labels), out / baseline.NAME)
    files.write_text(out / f"{baseline.NAME}.csv", spreadsheets.as_csv(table, float_format="%.4f"))
    print(score_table(table))
    print(f"written: {out / baseline.NAME}.csv, {out / baseline.NAME / submission.ZIP_NAME}")


if __name__ == "__main__":
    main(score_baseline, __doc__)
