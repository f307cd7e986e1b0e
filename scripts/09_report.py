"""09 - Draw the figures and write the report.

Reads   work/<run>/features/, work/<run>/stage1/, work/<run>/pseudo/, work/<run>/stage2/
Writes  submissions/<run>/: report.html, pseudo_quality.csv, disagreement.csv, heads.csv, task_gates.csv,
        pseudo_precision.png, heads.png (the latter where there are heads)
Run     python scripts/09_report.py sample
"""

from meiju import stages
from meiju.steps import main


def write_report(run):
    stages.write_report(run)
    print(f"report: {run.folder('report') / 'report.html'}")


if __name__ == "__main__":
    main(write_report)
