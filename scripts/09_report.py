"""09 - Draw the figures and write the report.

Reads   work/_shared/features/, work/<run>/stage1/, work/<run>/pseudo/, work/<run>/stage2/
Writes  submissions/<run>/: report.html, errors.csv (every clip predicted wrongly)
Run     .venv/bin/python scripts/09_report.py sample
"""

from meiju.cli import main


def write_report(run):
    run.result("submission")  # a report belongs to the submission that it lies beside
    if run.needs_run("report"):
        from meiju.report import build  # takes seconds, and a report that was written before shall be named at once

        build.write(run)
    print(f"report: {run.folder('report') / 'report.html'}")


if __name__ == "__main__":
    main(write_report, __doc__)
