"""Try the estimate of pseudo-labels' precision on pools of known labels.

The clips of four pairs of emotion and intent are taken out of the training part, a first stage is trained without them,
and pools are drawn from what its teachers never saw, in other mixes of emotions and with up to 40 % of the clips taken
out. The estimate of pool_precision.csv is made for each pool, and compared with its labels.

Reads   transcripts and features, folds/<run>.csv
Writes  work/<run>/ (the first stage without the pairs), submissions/<run>/pool_simulation.csv
Run     python scripts/simulate_pools.py custom --corpus.root DIR --model.heads 2
"""

from meiju import files, pool_simulation
from meiju.config import SimulationConfig
from meiju.steps import main


def simulate_pools(run):
    run.result("features")
    pairs = pool_simulation.pairs_to_take_out(run.corpus.part("training"))
    simulated = pool_simulation.without(run, pairs)
    n_out = len(simulated.corpus.part("unlabelled"))
    print(f"taken out: {', '.join(map(' + '.join, pairs))} ({n_out} of {len(simulated.corpus.clips)} clips)")
    pool_simulation.teach(simulated)
    found = pool_simulation.simulate(simulated, run.corpus, run.config.pools)
    path = run.config.submission_dir / "pool_simulation.csv"
    files.write_text(path, found.to_csv(index=False, float_format="%.4f"))
    print(found.round(3).to_string(index=False))
    print(f"off by, in {run.config.pools} pools:")
    print(pool_simulation.errors(found).round(4).T.to_string())
    print(f"written: {path}")


if __name__ == "__main__":
    main(simulate_pools, SimulationConfig)
