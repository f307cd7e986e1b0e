"""09 - Draw the figures and write the report.

Reads   work/<run>/stage1/, work/<run>/pseudo/, work/<run>/stage2/
Writes  submissions/<run>/report.html
Run     python scripts/09_report.py sample
"""

from meiju import files, findings, teaching
from meiju.steps import main


def write_report(run):
    path = run.config.submission_dir / "report.html"
    if run.begin("report"):
        labelled = teaching.read(run.result("pseudo"))
        files.write_text(path, findings.page(run.config, run.corpus, run.folds, run.stages(), *labelled))
        run.finish("report")
    print(f"report: {path}")


if __name__ == "__main__":
    main(write_report)
