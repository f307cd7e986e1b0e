import shutil

import pytest

import fuzz
from fuzzing import bench, kinds
from meiju.config import ConfigError

N = 12  # inputs of each kind


@pytest.fixture(scope="module")
def made(root, home, tmp_path_factory) -> bench.Bench:
    """The session's run; other processes may add to its corpus, so a copy of that."""
    made = bench.Bench(shutil.copytree(root, tmp_path_factory.mktemp("bench") / "corpus"), home)
    _ = made.run.corpus
    return made


@pytest.mark.parametrize("kind", list(kinds.KINDS))
def test_bad_input_ends_in_a_clear_error_or_a_correct_result(made, tmp_path, kind):
    first = list(kinds.KINDS).index(kind)
    ends = [fuzz.run_one(made, tmp_path, 2, first + k * len(kinds.KINDS)) for k in range(N)]
    assert {end.kind for end in ends} == {kind}
    assert not [end.wrong for end in ends if end.wrong]
    if kind != "sentence":  # any text is one
        assert len({end.how for end in ends}) > 1  # neither all refused nor all taken


@pytest.mark.parametrize(
    ("outcome", "wrong"),
    [
        (ConfigError("--folds is at least 3"), ""),
        (KeyError("x"), "KeyError"),
        (ConfigError(""), "an error that says nothing"),
        (SystemExit(1), "the program ended with 1"),
        ("inside", ""),
        ("../../outside", "/outside"),
    ],
)
def test_other_errors_than_the_packages_own_and_files_outside_the_folder_are_wrong(
    monkeypatch, made, tmp_path, outcome, wrong
):
    def kind(case):
        if isinstance(outcome, BaseException):
            raise outcome
        (case.folder / outcome).write_text("x")
        return bench.RIGHT

    monkeypatch.setitem(kinds.KINDS, fuzz.kind_of(0), kind)
    end = fuzz.run_one(made, tmp_path, 0, 0)
    assert wrong in end.wrong
    assert bool(end.wrong) == bool(wrong)


def test_the_script_prints_how_to_repeat_what_ended_badly(capsys, monkeypatch):
    ends = [fuzz.End(3, "clip", bench.RIGHT), fuzz.End(4, "clip", "KeyError", "a traceback")]
    monkeypatch.setattr(fuzz, "make", lambda _: None)
    monkeypatch.setattr(fuzz, "run_all", lambda *_: iter(ends))
    with pytest.raises(SystemExit) as caught:
        fuzz.fuzz(n=2, seed=3)
    assert caught.value.code == 1
    out = capsys.readouterr().out
    assert "a traceback\nagain: .venv/bin/python tests/tools/fuzz.py --n 1 --seed 3 --first 4" in out
    assert "2 bad inputs, 1 ended badly" in out
