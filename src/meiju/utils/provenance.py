"""Which code a result was made by, so that results of an older version of the code are not used.

Only statements count: comments, docstrings and layout may change. And only modules that are used count, followed from
import to import: an edit of one encoder does not affect the frames of the others.
"""

import ast
from functools import cache
from importlib.metadata import version
from pathlib import Path

from meiju.utils import files

PACKAGE = Path(__file__).resolve().parents[1]

# Modules that decide no result, and are not followed: what they pass on (settings, clips) is recorded by its values.
NO_RESULTS = {"meiju.config", "meiju.data.corpus", "meiju.pipeline", "meiju.run", "meiju.steps", "meiju.stores"} | {
    f"meiju.utils.{name}" for name in ("compute", "files", "log", "packaged", "provenance", "system")
}

# Libraries whose version may change results, by the name they are imported as; of most, it is that of their package.
_ALIKE = ("av", "matplotlib", "numpy", "onnx", "onnxruntime", "opencc", "scipy", "tokenizers", "torch", "transformers")
LIBRARIES = {name: name for name in _ALIKE} | {
    "cv2": "opencv-python-headless",
    "iterstrat": "iterative-stratification",
    "pycrfsuite": "python-crfsuite",
    "sklearn": "scikit-learn",
}


class _WithoutDocstrings(ast.NodeTransformer):
    def visit_Expr(self, node: ast.Expr) -> ast.Expr | None:
        return None if isinstance(node.value, ast.Constant) else node


@cache
def code_of(*roots: str) -> dict[str, str]:
    """The code of modules such as 'meiju.training.workers', and of what they import anywhere; nothing is run for it.

    By module, a hash of its statements; and the versions of libraries. Of a module in which each function is another
    step's, roots name functions, 'meiju.pipeline:train_stage1': with what these use of the module and import inside.
    """
    code: dict[str, str] = {}
    waiting = list(roots)
    for name in waiting:
        top = name.partition(".")[0]
        if top in LIBRARIES:
            code[top] = version(LIBRARIES[top])
        elif top == PACKAGE.name and name not in NO_RESULTS and name not in code:
            code[name], imports = _read(name)
            waiting += imports
    return dict(sorted(code.items()))


@cache
def _read(name: str) -> tuple[str, list[str]]:
    """The hash of a root's statements, and the roots and modules that they use."""
    module, _, function = name.partition(":")
    tree = _WithoutDocstrings().visit(ast.parse(_path(module).read_bytes()))
    if not function:
        return files.digest(ast.unparse(tree)), imports_of(tree)
    functions = {node.name: node for node in tree.body if isinstance(node, ast.FunctionDef)}
    # With the module's constants and classes, whoever uses them.
    others = [node for node in tree.body if isinstance(node, ast.Assign | ast.AnnAssign | ast.ClassDef)]
    own = ast.Module([functions.pop(function), *others], [])
    used = {node.id for node in ast.walk(own) if isinstance(node, ast.Name)}
    at_top = [node for node in tree.body if isinstance(node, ast.Import | ast.ImportFrom)]
    for node in at_top:
        node.names = [alias for alias in node.names if (alias.asname or alias.name) in used]
    roots = [f"{module}:{other}" for other in functions if other in used]
    return files.digest(ast.unparse(own)), roots + imports_of(ast.Module([*at_top, own]))


def imports_of(tree: ast.AST) -> list[str]:
    """The modules that statements import, also those inside functions."""
    imports: list[str] = []
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            imports += [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            inner = [f"{node.module}.{alias.name}" for alias in node.names]
            imports += [name if _path(name) else node.module for name in inner]
    return imports


def _path(module: str) -> Path | None:
    """The file of a module of the package, if there is one."""
    path = PACKAGE.parent / module.replace(".", "/")
    return next((file for file in (path.with_suffix(".py"), path / "__init__.py") if file.is_file()), None)
