"""The floors of the package: a module imports what lies below it, and nothing that lies above.

Scripts, tests and tools stand outside and may import everything.
"""

import ast
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

import meiju

PACKAGE = Path(meiju.__file__).parent
# From the bottom to the top: modules, and folders with all that is in them. Where a new one belongs, it is added here.
FLOORS = (
    *("config", "utils", "presets", "features", "data", "text", "sample", "models", "training", "evaluation"),
    *("pseudo", "serving", "stores", "steps", "run", "pipeline", "cli", "analysis", "report"),
)
# What is narrower than its floor.
IMPORTS_AT_MOST = {
    "utils": {"config"},
    "presets": {"config"},
    "features": {"config", "utils"},
    "models": {"config", "data"},
    "sample": {"config", "utils", "data", "features"},
    "stores": {"config", "utils"},
    "run": {"config", "steps", "utils", "data", "features", "text", "stores"},  # files, settings
    "cli": {"config", "presets", "data", "run", "utils"},
}
# Who knows of runs. All others are told what they need: they can be used and tested without one.
IMPORTED_BY_AT_MOST = {"run": {"cli", "pipeline", "analysis", "report"}, "cli": set()}


def module_name(path: Path) -> str:
    """Name below the package of a module, such as encoders.base, or of a folder's __init__."""
    parts = path.relative_to(PACKAGE).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def imported(tree: ast.AST, modules: set[str]) -> set[str]:
    """Modules of the package that a module imports anywhere, inside its functions as well; not for types alone."""
    for_types = [n for n in ast.walk(tree) if isinstance(n, ast.If) and ast.unparse(n.test) == "TYPE_CHECKING"]
    names, left_out = set(), {id(inner) for block in for_types for inner in ast.walk(block)}
    for node in ast.walk(tree):
        if id(node) in left_out:
            continue
        if isinstance(node, ast.ImportFrom):
            if node.level:
                raise AssertionError("a relative import: write the package's name")
            names |= {f"{node.module}.{name.name}" for name in node.names} | {node.module}
        elif isinstance(node, ast.Import):
            names |= {name.name for name in node.names}
    inside = {name.removeprefix("meiju.") for name in names if name.startswith("meiju.")} & modules
    # `from meiju.text import refine` names the folder on the way to the module.
    return {name for name in inside if not any(other.startswith(f"{name}.") for other in inside)}


def arrows() -> dict[str, set[str]]:
    """By module, the modules that it imports."""
    paths = {module_name(path): path for path in PACKAGE.rglob("*.py")}
    return {name: imported(ast.parse(path.read_bytes()), set(paths)) - {name} for name, path in paths.items() if name}


def floor_of(module: str) -> str:
    return module.partition(".")[0]


def wrong_arrows(arrows: dict[str, set[str]]) -> list[str]:
    """The imports that the floors do not allow, in words."""
    height = {floor: k for k, floor in enumerate(FLOORS)}
    wrong = []
    for module, targets in sorted(arrows.items()):
        floor = floor_of(module)
        for target in sorted(targets):
            other = floor_of(target)
            if other == floor:
                continue
            upwards = height[other] > height[floor]
            too_much = other not in IMPORTS_AT_MOST.get(floor, FLOORS)
            too_many = floor not in IMPORTED_BY_AT_MOST.get(other, FLOORS)
            if upwards or too_much or too_many:
                wrong.append(f"{module} imports {target}")
    return wrong


def test_every_module_stands_on_a_floor():
    assert {floor_of(module) for module in arrows()} == set(FLOORS)
    assert set(IMPORTS_AT_MOST) | set(IMPORTED_BY_AT_MOST) <= set(FLOORS)


def test_nothing_imports_what_lies_above():
    assert wrong_arrows(arrows()) == []


def test_no_imports_run_in_circles():
    try:
        TopologicalSorter(arrows()).prepare()
    except CycleError as error:
        pytest.fail(" imports ".join(reversed(error.args[1])))


@pytest.mark.parametrize(
    ("module", "target"),
    [
        ("run", "evaluation.scores"),
        ("training.members", "run"),
        ("utils.files", "data.labels"),
    ],
)
def test_an_arrow_that_points_upwards_is_noticed(module, target):
    assert wrong_arrows({module: {target}}) == [f"{module} imports {target}"]
