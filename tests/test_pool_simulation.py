import numpy as np
import pandas as pd
import pytest

from meiju import pool_simulation, stages
from meiju.config import ConfigError, SimulationConfig, parse_config
from meiju.labels import TASKS
from meiju.steps import Run
from toy_run import TINY, run_script


@pytest.fixture(scope="module")
def arguments(home, root):
    return ["sample", "--home", str(home), "--corpus.root", str(root), *TINY, "--pools", "3"]


@pytest.fixture(scope="module")
def run(arguments):
    return Run(parse_config(None, arguments, kind=SimulationConfig), quiet=True)


def test_the_commonest_pairs_are_taken_out_as_far_as_something_is_left():
    counts = {("joy", "ask"): 5, ("joy", "state"): 4, ("rage", "ask"): 3, ("rage", "state"): 3, ("rage", "wish"): 1}
    counts |= {("calm", "wish"): 2, ("calm", "ask"): 1, ("joy", "wish"): 1}
    training = pd.DataFrame([pair for pair, n in counts.items() for _ in range(n)], columns=list(TASKS))
    # With the last two stating clips gone nobody would state, and nothing could be learnt of it.
    assert pool_simulation.pairs_to_take_out(training) == [("joy", "ask"), ("rage", "ask")]
    more = pd.concat([training, pd.DataFrame([("calm", "state")], columns=list(TASKS))])
    assert set(pool_simulation.pairs_to_take_out(more)) == {(e, i) for e in ("joy", "rage") for i in ("ask", "state")}
    with pytest.raises(ConfigError, match="can be spared"):
        pool_simulation.pairs_to_take_out(training[training.intent == "ask"])


def test_the_run_without_pairs_knows_no_label_of_theirs(run):
    training = run.corpus.part("training")
    pairs = pool_simulation.pairs_to_take_out(training)
    simulated = pool_simulation.without(run, pairs)
    left, out = simulated.corpus.part("training"), simulated.corpus.part("unlabelled")
    assert sorted([*left.name, *out.name]) == sorted(training.name)
    assert set(zip(left.emotion, left.intent, strict=True)).isdisjoint(pairs)
    assert len(out) > 0
    assert out[list(TASKS)].eq("").all(axis=None)
    assert sorted(simulated.folds.name) == sorted(left.name)
    assert simulated.folder("stage1") != run.folder("stage1")


def test_the_script_compares_the_estimate_with_known_labels(home, arguments, capsys):
    run_script("simulate_pools.py", *arguments)
    found = pd.read_csv(home / "submissions" / "sample" / "pool_simulation.csv")
    assert len(found) == 3 * len(TASKS)
    assert found[["right", "on_hidden_rows", "estimate"]].stack().between(0, 1).all()
    assert found.taken_out.between(*pool_simulation.TAKEN_OUT).all()
    assert "estimate, root mean square" in capsys.readouterr().out


def test_teachers_who_are_always_right_are_found_to_be(run, arguments, home, monkeypatch):
    run_script("simulate_pools.py", *arguments)
    simulated = pool_simulation.without(run, pool_simulation.pairs_to_take_out(run.corpus.part("training")))
    truth = run.corpus.clips.set_index("name")

    def knows(_, fold, names):
        known = {t: np.eye(len(run.corpus.labels[t]))[run.corpus.labels.encode(t, truth.loc[names, t])] for t in TASKS}
        return {t: (known[t] + 0.01) / (known[t] + 0.01).sum(axis=1, keepdims=True) for t in TASKS}

    monkeypatch.setattr(stages, "ask_teachers", knows)
    found = pool_simulation.simulate(simulated, run.corpus, 2)
    assert found.right.eq(1).all()
    assert found.estimate.gt(0.95).all()
    assert pool_simulation.errors(found).lt(0.05).all(axis=None)
