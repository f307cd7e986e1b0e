"""Which code a result was made by, so that results of an older version of the code are not used.

Only statements count: comments, docstrings, type hints and layout may change. And only code that is used counts,
followed from name to name: an edit of one encoder does not affect the frames of the others.
"""

import ast
from collections import defaultdict
from collections.abc import Iterator
from functools import cache
from importlib.metadata import version
from pathlib import Path

from meiju.utils import files

PACKAGE = Path(__file__).resolve().parents[1]

# Modules whose functions and classes decide no result: what they pass on (settings, clips) is recorded by its values.
# Their constants do decide, such as which parts of a corpus may be learnt from, so they count as any other's.
NO_RESULTS = {"meiju.config", "meiju.data.corpus", "meiju.run", "meiju.steps", "meiju.stores"} | {
    f"meiju.utils.{name}" for name in ("compute", "files", "log", "packaged", "provenance", "system")
}

# Libraries whose version may change results, by the name they are imported as.
LIBRARIES = {
    "av": "av",
    "cv2": "opencv-python-headless",
    "iterstrat": "iterative-stratification",
    "matplotlib": "matplotlib",
    "numpy": "numpy",
    "pycrfsuite": "python-crfsuite",
    "scipy": "scipy",
    "sklearn": "scikit-learn",
    "torch": "torch",
    "transformers": "transformers",
}

Symbol = tuple[str, str]  # a module, and a name that it defines
CONSTANT = ast.Assign | ast.AnnAssign | ast.AugAssign


@cache
def code_of(*roots: str) -> dict[str, str]:
    """The code that functions and classes such as 'meiju.pipeline.train_stage1' run; nothing is imported for it.

    By module, a hash of its definitions that are used; and the versions of the libraries that are used.
    """
    sources: dict[str, set[str]] = defaultdict(set)
    libraries: dict[str, str] = {}
    seen: set[Symbol] = set()
    waiting: list[Symbol] = [(module, name) for module, _, name in (root.rpartition(".") for root in roots)]
    for module, name in waiting:
        if name not in _definitions(module):
            raise LookupError(f"{module} defines no {name}")
    while waiting:
        module, name = symbol = waiting.pop()
        top = module.partition(".")[0]
        if top in LIBRARIES and top not in libraries:
            libraries[top] = version(LIBRARIES[top])
        passes_on = module in NO_RESULTS and not isinstance(_definitions(module).get(name), CONSTANT)
        if top != PACKAGE.name or symbol in seen or passes_on:
            continue
        seen.add(symbol)
        if name in _definitions(module):
            source, uses = _definition(module, name)
            sources[module].add(source)
            waiting += uses
        elif name in _imports(module):
            waiting.append(_imports(module)[name])
    hashes = {module: files.digest(sorted(texts)) for module, texts in sources.items()}
    return dict(sorted((hashes | libraries).items()))


@cache
def _tree(module: str) -> ast.Module:
    """A module's statements, without docstrings and type hints."""
    path = PACKAGE.parent / module.replace(".", "/")
    path = path / "__init__.py" if path.is_dir() else path.with_suffix(".py")
    tree = ast.parse(path.read_bytes())
    for node in ast.walk(tree):
        if isinstance(getattr(node, "body", None), list):
            node.body = [s for s in node.body if not _is_text(s)] or [ast.Pass()]
        if isinstance(node, ast.AnnAssign):  # a name without a value needs one to be a statement
            node.annotation = ast.Constant(None)
        elif isinstance(node, ast.arg):
            node.annotation = None
        elif isinstance(node, ast.FunctionDef):
            node.returns = None
    return tree


def _is_text(statement: ast.stmt) -> bool:
    return isinstance(statement, ast.Expr) and isinstance(getattr(statement.value, "value", None), str)


@cache
def _definitions(module: str) -> dict[str, ast.stmt]:
    """The functions, classes and constants of a module, by name."""
    found: dict[str, ast.stmt] = {}
    for node in _tree(module).body:
        if isinstance(node, ast.FunctionDef | ast.ClassDef):
            found[node.name] = node
        elif isinstance(node, CONSTANT):
            targets = node.targets if isinstance(node, ast.Assign) else [node.target]
            names = [name.id for target in targets for name in ast.walk(target) if isinstance(name, ast.Name)]
            found |= dict.fromkeys(names, node)
    return found


@cache
def _imports(module: str) -> dict[str, Symbol]:
    """What a module imports anywhere, by the name it has there; for a whole module, the symbol's name is ''."""
    found: dict[str, Symbol] = {}
    for node in ast.walk(_tree(module)):
        if isinstance(node, ast.Import):
            found |= {name.asname or name.name.partition(".")[0]: (name.name, "") for name in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            for name in node.names:
                inner = f"{node.module}.{name.name}"
                found[name.asname or name.name] = (inner, "") if _is_module(inner) else (node.module, name.name)
    return found


@cache
def _is_module(name: str) -> bool:
    path = PACKAGE.parent / name.replace(".", "/")
    return name.startswith(f"{PACKAGE.name}.") and (path.is_dir() or path.with_suffix(".py").is_file())


@cache
def _definition(module: str, name: str) -> tuple[str, tuple[Symbol, ...]]:
    """The source of a definition, and the symbols that it uses, of its own module or of imported ones."""
    node = _definitions(module)[name]
    return ast.unparse(node), tuple(_named_by(node, module))


def _named_by(node: ast.stmt, module: str) -> Iterator[Symbol]:
    imports, inside = _imports(module), list(ast.walk(node))
    attributes = [inner for inner in inside if isinstance(inner, ast.Attribute) and isinstance(inner.value, ast.Name)]
    of_module: set[int] = set()
    for attribute in attributes:
        target, defined = imports.get(attribute.value.id, ("", "."))
        if defined == "":  # members.plan: of the module, only what is named
            of_module.add(id(attribute.value))
            yield target, attribute.attr
    for name in inside:
        if isinstance(name, ast.Name) and id(name) not in of_module:
            target, defined = imports.get(name.id, (module, name.id))
            if defined:
                yield target, defined
            else:  # the module as a value: all of it
                yield from ((target, every) for every in (_definitions(target) if _is_module(target) else ("",)))
