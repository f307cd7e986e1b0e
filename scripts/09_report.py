"""09 - Draw the figures and write the report.

Reads   work/<run>/stage1/, work/<run>/pseudo/, work/<run>/stage2/
Writes  submissions/<run>/report.html
Run     python scripts/09_report.py sample
"""

from meiju import findings, report
from meiju.steps import main


def write_report(run):
    pseudo_labels, gates = run.pseudo_labels()
    page = findings.page(run.config, run.corpus, run.folds, run.stages(), pseudo_labels, gates, run.result("stage1"))
    path = run.config.submission_dir / "report.html"
    report.write(page, path)
    print(f"report: {path}")


if __name__ == "__main__":
    main(write_report)
