"""09 - Draw the figures and write the report.

Reads   work/<run>/features/, work/<run>/stage1/, work/<run>/pseudo/, work/<run>/stage2/
Writes  submissions/<run>/: report.html, pseudo_quality.csv, disagreement.csv, heads.csv, task_gates.csv,
        pseudo_precision.png, heads.png (the latter where there are heads)
Run     python scripts/09_report.py sample
"""

from meiju import evidence, files, findings, spreadsheets, teaching
from meiju.look import to_png
from meiju.steps import main


def write_report(run):
    path = run.config.submission_dir / "report.html"
    if run.begin("report"):
        labelled = teaching.read(run.result("pseudo"))
        found = evidence.gather(run, labelled[1])
        for name, table in found.files.items():
            files.write_text(path.with_name(name), spreadsheets.as_csv(table, float_format="%.5f"))
        for name, figure in found.pictures.items():
            files.write_bytes(path.with_name(name), to_png(figure))
        files.write_text(path, findings.page(run.config, run.corpus, run.folds, run.stages(), *labelled, found))
        run.finish("report")
    print(f"report: {path}")


if __name__ == "__main__":
    main(write_report)
