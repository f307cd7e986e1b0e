import importlib
import pkgutil
from pathlib import Path

import pytest

import meiju
from meiju.run import STEPS
from meiju.utils import provenance
from meiju.utils.provenance import code_of


@pytest.fixture
def package(tmp_path, monkeypatch):
    """Writes modules of a made-up package `pack`, whose code is then looked at."""
    folder = tmp_path / "pack"
    folder.mkdir()

    def write(**modules: str) -> None:
        for name, source in modules.items():
            (folder / f"{name}.py").write_text(source)
        for cached in (f for f in vars(provenance).values() if hasattr(f, "cache_clear")):
            cached.cache_clear()

    monkeypatch.setattr(provenance, "PACKAGE", folder)
    write(__init__="")
    yield write
    write()


MAIN = """
from pack import other
from pack.third import used as renamed
def step(run: other.Hint):
    return helper(run) + other.named(1) + renamed
def helper(x):
    return x
def unused():
    return other.unnamed(2)
"""
OTHER = """
import numpy as np
SIZE = 3
class Hint: ...
def named(x):
    from pack import late
    return np.sqrt(x) * SIZE * late.y
def unnamed(x):
    return x
"""
MODULES = {"main": MAIN, "other": OTHER, "third": "used = 1\nspare = 2\n", "late": "y = 1\n"}


def test_what_is_named_counts_and_what_it_names_in_turn(package):
    package(**MODULES)
    assert sorted(code_of("pack.main.step")) == ["numpy", "pack.late", "pack.main", "pack.other", "pack.third"]


@pytest.mark.parametrize(
    ("module", "old", "new", "changed"),
    [
        ("main", "return x", "return -x", ["pack.main"]),
        ("other", "SIZE = 3", "SIZE = 4", ["pack.other"]),
        ("late", "y = 1", "y = 2", ["pack.late"]),
        ("third", "used = 1", "used = 7", ["pack.third"]),
        ("third", "spare = 2", "spare = 7", []),
        ("other", "return x", "return -x", []),
        ("other", "class Hint: ...", "class Hint:\n    a = 1", []),
        ("main", "run: other.Hint", "run: other.Hint | None", []),
        ("main", "def helper(x):\n", 'def helper(x):  # why\n    """Words."""\n', []),
    ],
)
def test_an_edit_counts_where_it_is_used(package, module, old, new, changed):
    package(**MODULES)
    before = code_of("pack.main.step")
    package(**MODULES | {module: MODULES[module].replace(old, new)})
    after = code_of("pack.main.step")
    assert [name for name in before if after[name] != before[name]] == changed


@pytest.mark.parametrize(
    ("old", "new", "counts"),
    [
        ('PARTS = ("training",)', 'PARTS = ("training", "validation")', True),
        ("return path", "return path.absolute()", False),
        ("SPARE = 1", "SPARE = 2", False),
    ],
)
def test_of_modules_that_decide_no_result_constants_count(package, monkeypatch, old, new, counts):
    main = "from pack.corpus import PARTS, read\ndef step():\n    return read(PARTS)\n"
    corpus = 'PARTS = ("training",)\nSPARE = 1\ndef read(path):\n    return path\n'
    monkeypatch.setattr(provenance, "NO_RESULTS", {"pack.corpus"})
    package(main=main, corpus=corpus)
    before = code_of("pack.main.step")
    package(corpus=corpus.replace(old, new))
    assert (code_of("pack.main.step") != before) == counts


def test_the_parts_that_may_be_learnt_from_decide_results():
    for step in ("transcripts", "features"):
        assert "meiju.data.corpus" in code_of(f"meiju.{STEPS[step].function}")


def test_a_module_that_is_handed_on_counts_whole(package):
    package(main="from pack import other\ndef step():\n    return vars(other)\n", other="a = 1\nb = 2\n")
    before = code_of("pack.main.step")
    package(other="a = 1\nb = 3\n")
    assert code_of("pack.main.step") != before


def test_a_name_that_is_not_there_is_refused(package):
    package(**MODULES)
    with pytest.raises(LookupError, match="no missing"):
        code_of("pack.main.missing")


def test_every_step_has_code_of_its_own():
    """A function that was renamed would be followed nowhere, in silence."""
    for step in STEPS.values():
        function = f"meiju.{step.function}"
        assert function.rpartition(".")[0] in code_of(function)
    assert {"meiju.models.fusion", "meiju.training.loop", "meiju.models.logistic_regression"} <= set(
        code_of("meiju.pipeline.train_stage1")
    )


def test_modules_that_decide_no_result_exist():
    names = {module.name for module in pkgutil.walk_packages(meiju.__path__, "meiju.")}
    assert names >= provenance.NO_RESULTS
    assert all(importlib.util.find_spec(name) for name in provenance.LIBRARIES)
    assert Path(meiju.__file__).parent == provenance.PACKAGE
