"""10 - Train variants of a run, and compare each with it.

A variant is the run with one thing changed; --variants takes names, groups (pseudo, fusion, punctuation, streams) or
all. Finished members are used again, so it can be stopped at any time. --model.heads 2 8 halves the time of a run with
four head counts, for the full run of the comparison as well.

Reads   work/_shared/features/, folds/<run>.csv
Writes  work/<run>/ (more members), submissions/<run>/ablation-<fingerprint of the run's settings>/: ablation.csv,
        ablation.md, ablation.png
Run     .venv/bin/python scripts/10_ablate.py sample --variants gate-paper streams
"""

from meiju.analysis import ablation
from meiju.cli import main
from meiju.report import figures
from meiju.utils import files


def ablate(run):
    chosen = ablation.choose(run.config, run.config.variants)
    run.result("features")
    found = []
    for k, variant in enumerate(chosen, start=1):
        print(f"== {k} of {len(chosen)}: {variant.name}, {variant.what}", flush=True)
        found.append((variant, ablation.carry_out(run, variant)))
    table, out = ablation.table(found), run.ablation_folder
    files.write_text(out / "ablation.csv", table.to_csv(index=False, float_format="%.5f"))
    files.write_text(out / "ablation.md", ablation.as_markdown(table))
    drawn = figures.differences(table, title="What each part is worth")
    files.write_bytes(out / "ablation.png", figures.to_png(drawn))
    print(ablation.for_terminal(table))
    print(f"written: {', '.join(str(out / name) for name in ('ablation.csv', 'ablation.md', 'ablation.png'))}")


if __name__ == "__main__":
    main(ablate, __doc__)
