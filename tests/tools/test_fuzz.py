import random
import re

import pytest

from fuzzing import bench, kinds, mutations, runner
from meiju.config import ConfigError
from toy_run import run_script

N = 216


@pytest.fixture(scope="module")
def made(tmp_path_factory) -> bench.Bench:
    return bench.make(tmp_path_factory.mktemp("bench") / "bench")


@pytest.fixture
def arena(tmp_path):
    (tmp_path / "arena").mkdir()
    return tmp_path / "arena"


@pytest.mark.parametrize("kind", list(kinds.KINDS))
def test_bad_input_ends_in_a_clear_error_or_a_correct_result(made, arena, kind):
    numbers = [n for n in range(N) if runner.kind_of(n) == kind]
    ends = [runner.run_one(made, arena, 2, number) for number in numbers]
    assert not [end.wrong for end in ends if end.wrong]
    if kind != "sentence":  # any text is one
        assert len({end.how for end in ends}) > 1  # neither all refused nor all taken


@pytest.mark.parametrize(
    ("outcome", "wrong"),
    [
        (ConfigError("--folds is at least 3"), ""),
        (KeyError("x"), "KeyError"),
        (AssertionError("not right"), "not right"),
        (ConfigError(""), "an error that says nothing"),
        (SystemExit(1), "the program ended with 1"),
        ("inside", ""),
        ("../../outside", "arena/outside"),
    ],
)
def test_other_errors_than_the_packages_own_and_files_outside_the_folder_are_wrong(
    monkeypatch, made, arena, outcome, wrong
):
    def kind(case):
        if isinstance(outcome, BaseException):
            raise outcome
        (case.folder / outcome).write_text("x")
        return bench.RIGHT

    monkeypatch.setitem(kinds.KINDS, runner.kind_of(0), kind)
    end = runner.run_one(made, arena, 0, 0)
    assert wrong in end.wrong
    assert bool(end.wrong) == bool(wrong)


def test_an_input_is_repeated_by_its_seed_and_number():
    def drawn(seed):
        rng = random.Random(seed)
        return [mutations.damage(bytes(range(200)), rng) for _ in range(20)], [mutations.text(rng) for _ in range(20)]

    assert drawn("0-7") == drawn("0-7") != drawn("0-8")


def test_the_script_counts_how_inputs_end_and_prints_how_to_repeat_what_ended_badly(made, capsys, monkeypatch):
    monkeypatch.setattr(bench, "make", lambda _: made)
    run_script("fuzz.py", "--n", "3", "--seed", "3")
    out = capsys.readouterr().out
    assert all(f"{kind}: 1 inputs; 1 " in out for kind in [*kinds.KINDS][:3])
    assert "3 bad inputs, 0 ended badly" in out
    wrong = runner.End(4, "npz", "KeyError", "a traceback")
    monkeypatch.setattr(runner, "run_all", lambda *_: iter([wrong]))
    with pytest.raises(SystemExit) as caught:
        run_script("fuzz.py", "--n", "1", "--seed", "3")
    assert caught.value.code == 1
    assert re.search(
        r"a traceback\nagain: .venv/bin/python tests/tools/fuzz.py --n 1 --seed 3 --first 4", capsys.readouterr().out
    )
