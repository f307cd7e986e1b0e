import inspect

import pytest

from meiju import pipeline
from meiju.steps import STEPS
from meiju.utils import provenance
from meiju.utils.provenance import NO_RESULTS, code_of

MODULES = {
    "main": "from pack import other\ndef step():\n    from pack import late\n    return late.y\ndef spare(): ...\n",
    "other": "import numpy as np\nfrom pack.third import used\nfrom pack.corpus import read\n",
    "third": "used = 1\n",
    "corpus": "from pack import hidden\n",
    "hidden": "",
    "late": "y = 1\n",
}


@pytest.fixture
def package(tmp_path, monkeypatch):
    """Writes modules of a made-up package `pack`; with the code of a root there."""
    folder = tmp_path / "pack"
    folder.mkdir()
    monkeypatch.setattr(provenance, "PACKAGE", folder)
    monkeypatch.setattr(provenance, "NO_RESULTS", {"pack.corpus"})
    monkeypatch.setattr(provenance, "_read", provenance._read.__wrapped__)

    def code_with(root: str, **changed: str) -> dict[str, str]:
        for name, source in (MODULES | changed).items():
            (folder / f"{name}.py").write_text(source)
        return code_of.__wrapped__(root)

    return code_with


def test_a_root_counts_and_what_it_imports_in_turn_and_inside_functions(package):
    assert list(package("pack.main")) == ["numpy", "pack.late", "pack.main", "pack.other", "pack.third"]
    assert list(package("pack.main:step")) == ["pack.late", "pack.main:step"]
    with pytest.raises(ValueError, match="unpack"):
        package("pack.main:missing")


@pytest.mark.parametrize(
    ("root", "module", "old", "new", "changed"),
    [
        ("pack.main", "third", "used = 1", "used = 7", ["pack.third"]),
        ("pack.main", "main", "step():\n", 'step():  # why\n    """Words."""\n', []),
        ("pack.main:step", "main", "late.y", "-late.y", ["pack.main:step"]),
        ("pack.main:step", "main", "def spare(): ...", "def spare(): return 1", []),
    ],
)
def test_an_edit_counts_where_it_is_used(package, root, module, old, new, changed):
    before = package(root)
    after = package(root, **{module: MODULES[module].replace(old, new)})
    assert [name for name in before if after[name] != before[name]] == changed


def test_every_step_counts_all_code_that_its_function_uses():
    """A module that is forgotten in the list of a step would be edited without notice."""
    for step in STEPS.values():
        code = code_of(*(f"meiju.{root}" for root in step.code))
        for root in step.code:
            module, _, function = root.partition(":")
            if module == "pipeline":
                used = inspect.getclosurevars(getattr(pipeline, function)).globals.values()
                modules = {value.__name__ for value in used if inspect.ismodule(value)}
                modules |= {value.__module__ for value in used if hasattr(value, "__qualname__")} - {pipeline.__name__}
                assert {name for name in modules if name.startswith("meiju.")} <= {*code, *NO_RESULTS}, root


def test_an_edit_of_the_scores_or_the_report_trains_nothing():
    stages = [name for step in ("stage1", "stage2") for name in code_of(*(f"meiju.{r}" for r in STEPS[step].code))]
    assert {"meiju.models.fusion", "meiju.training.loop", "meiju.models.logistic_regression"} <= set(stages)
    assert [name for name in stages if name.startswith(("meiju.report", "meiju.evaluation.s", "meiju.serving"))] == []
