import pytest

from meiju.run import STEPS
from meiju.utils import provenance
from meiju.utils.provenance import code_of

MODULES = {
    "main": "from pack import other, spares\nSIZE = 3\ndef step():\n    from pack import late\n"
    "    return helper() + late.y + SIZE\n"
    "def helper(): return other.z\ndef spare(): return spares\n",
    "other": "import numpy as np\nfrom pack.third import used\nfrom pack.corpus import read\n",
    "third": "used = 1\n",
    "corpus": "from pack import hidden\n",
    "hidden": "",
    "late": "y = 1\n",
    "spares": "",
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


def test_a_root_counts_and_what_it_uses_in_turn_and_imports_inside_functions(package):
    used = ["numpy", "pack.late", "pack.main", "pack.other", "pack.spares", "pack.third"]
    assert list(package("pack.main")) == used
    used = ["numpy", "pack.late", "pack.main:helper", "pack.main:step", "pack.other", "pack.third"]
    assert list(package("pack.main:step")) == used
    with pytest.raises(KeyError, match="missing"):
        package("pack.main:missing")


@pytest.mark.parametrize(
    ("root", "module", "old", "new", "changed"),
    [
        ("pack.main", "third", "used = 1", "used = 7", ["pack.third"]),
        ("pack.main", "main", "step():\n", 'step():  # why\n    """Words."""\n', []),
        ("pack.main:step", "main", "late.y", "-late.y", ["pack.main:step"]),
        ("pack.main:step", "main", "SIZE = 3", "SIZE = 4", ["pack.main:helper", "pack.main:step"]),
        ("pack.main:step", "main", "return spares", "return 1", []),
    ],
)
def test_an_edit_counts_where_it_is_used(package, root, module, old, new, changed):
    before = package(root)
    after = package(root, **{module: MODULES[module].replace(old, new)})
    assert [name for name in before if after[name] != before[name]] == changed


def test_an_edit_of_the_scores_or_the_report_trains_nothing():
    stages = [name for step in ("stage1", "stage2") for name in code_of(f"meiju.{STEPS[step].code}")]
    assert {"meiju.models.fusion", "meiju.training.loop", "meiju.models.logistic_regression"} <= set(stages)
    assert [name for name in stages if name.startswith(("meiju.report", "meiju.evaluation.s", "meiju.serving"))] == []


def test_how_pretrained_models_are_loaded_decides_what_they_give():
    encoder = code_of("meiju.features.frame_store", "meiju.features.pretrained_text")
    for code in (encoder, code_of("meiju.pipeline:transcribe"), code_of("meiju.pipeline:refine_transcripts")):
        assert "meiju.utils.hub" in code
