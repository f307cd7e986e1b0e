"""What README and docs say of the repository is so: its tree, its links, its scripts."""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
DOCUMENTS = [ROOT / "README.md", *sorted(ROOT.glob("docs/*.md")), *sorted(ROOT.glob("*/README.md"))]
README = (ROOT / "README.md").read_text(encoding="utf-8")
IGNORED = {"__pycache__", "__init__.py", "meiju.egg-info"}


def named_in_tree() -> set[str]:
    """Paths in the tree of the README, relative to the repository."""
    block = re.search(r"## The tree\n+```\n(.*?)```", README, re.DOTALL)[1]
    paths = set()
    for line in block.splitlines():
        names = re.split(r" {2,}", line.strip())[0].split(" ")
        paths |= {("src/meiju/" if line.startswith(" ") else "") + name.rstrip("/") for name in names}
    return paths


def test_every_path_in_the_tree_is_on_disk():
    assert [path for path in sorted(named_in_tree()) if not (ROOT / path).exists()] == []


def test_everything_in_the_package_and_at_the_top_is_in_the_tree():
    top = {path.name for path in ROOT.iterdir() if not path.name.startswith(".")} - {"work", "src"}
    package = {f"src/meiju/{path.name}" for path in (ROOT / "src" / "meiju").iterdir() if path.name not in IGNORED}
    assert sorted((top | package) - named_in_tree()) == []


def test_readme_is_one_sitting():
    assert len(README.splitlines()) <= 200


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_every_relative_link_leads_somewhere(document):
    text = document.read_text(encoding="utf-8")
    dead = []
    for target in re.findall(r"\]\(([^)\s]+)\)", text):
        place, _, anchor = target.partition("#")
        if re.match(r"[a-z]+:", place):
            continue
        path = (document.parent / place) if place else document
        if not path.exists() or (anchor and anchor not in anchors(path)):
            dead.append(target)
    assert dead == []


def anchors(document: Path) -> set[str]:
    """The anchors that GitHub gives the headings of a document."""
    headings = re.findall(r"^#+ (.*)$", document.read_text(encoding="utf-8"), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_every_script_that_is_named_is_there_and_no_figure_is_missing(document):
    text = document.read_text(encoding="utf-8")
    scripts = set(re.findall(r"\b(?:scripts|tests/tools)/\w+\.(?:py|sh)", text))
    assert [script for script in sorted(scripts) if not (ROOT / script).exists()] == []
    assert re.findall(r"@@\w+@@", text) == []


def test_every_script_is_in_the_readme():
    names = {path.name for path in (ROOT / "scripts").iterdir() if path.suffix in (".py", ".sh")} - {"setup.sh"}
    assert [name for name in sorted(names) if f"`{name}`" not in README] == []
