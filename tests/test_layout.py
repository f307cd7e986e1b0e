"""The floors of the package: a module imports what lies below it, and nothing that lies above.

Scripts, tests and tools stand outside and may import everything.
"""

import ast
from graphlib import TopologicalSorter
from pathlib import Path

import meiju
from meiju.utils.provenance import imports_of

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
    "sample": {"config", "utils", "data", "features", "text"},
    "stores": {"config", "utils"},
    "run": {"config", "steps", "utils", "data", "features", "text", "stores"},  # files, settings
    "cli": {"config", "presets", "data", "run", "utils"},
}
# Who knows of runs. All others are given what they need: they can be used and tested without one.
IMPORTED_BY_AT_MOST = {"run": {"cli", "pipeline", "analysis", "report"}, "cli": set()}


def module_name(path: Path) -> str:
    """Name below the package of a module, such as encoders.base, or of a folder's __init__."""
    parts = path.relative_to(PACKAGE).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


class WithoutTypes(ast.NodeTransformer):
    """Leaves out what is imported for types alone."""

    def visit_If(self, node: ast.If) -> ast.If | None:
        return None if ast.unparse(node.test) == "TYPE_CHECKING" else self.generic_visit(node)


def arrows() -> dict[str, set[str]]:
    """By module, the modules of the package that it imports, inside its functions as well."""
    trees = {module_name(path): WithoutTypes().visit(ast.parse(path.read_bytes())) for path in PACKAGE.rglob("*.py")}
    names = {module: {name.removeprefix("meiju.") for name in imports_of(tree)} for module, tree in trees.items()}
    return {module: (imported & trees.keys()) - {module} for module, imported in names.items() if module}


def floor_of(module: str) -> str:
    return module.partition(".")[0]


def wrong_arrows(arrows: dict[str, set[str]]) -> list[str]:
    """The imports that the floors do not allow, in words."""
    wrong = []
    for module, target in sorted((module, target) for module, targets in arrows.items() for target in targets):
        floor, other = floor_of(module), floor_of(target)
        below = IMPORTS_AT_MOST.get(floor, FLOORS[: FLOORS.index(floor)])
        if floor != other and (other not in below or floor not in IMPORTED_BY_AT_MOST.get(other, FLOORS)):
            wrong.append(f"{module} imports {target}")
    return wrong


def test_every_module_stands_on_a_floor():
    assert {floor_of(module) for module in arrows()} == set(FLOORS)
    assert set(IMPORTS_AT_MOST) | set(IMPORTED_BY_AT_MOST) <= set(FLOORS)


def test_nothing_imports_what_lies_above():
    assert wrong_arrows(arrows()) == []


def test_no_imports_run_in_circles():
    TopologicalSorter(arrows()).prepare()


def test_an_arrow_that_points_upwards_is_noticed():
    for module, target in (("run", "evaluation.scores"), ("training.members", "run"), ("utils.files", "data.labels")):
        assert wrong_arrows({module: {target}}) == [f"{module} imports {target}"]
