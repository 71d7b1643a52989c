"""Compute the code digest: the identity of the code that decides a run's numbers."""

from __future__ import annotations

import ast
import hashlib
import sys
from functools import cache
from importlib.machinery import ModuleSpec
from importlib.metadata import entry_points
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from linfit.component import ENTRY_POINTS

LINFIT_FOLDER = Path(__file__).parents[2]
#: The parts of linfit that decide a run's numbers.
DECISIVE_PARTS = ("problem", "method", "engine")
#: The parts of a program that may have a docstring.
DOCUMENTED_NODES = (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)


@cache
def compute_code_digest(plugins: tuple[str, ...] = ()) -> str:
    """Return the SHA-256 of the code that decides the numbers.

    It is computed from the syntax trees of the files. Docstrings are left out; comments and layout
    are no part of a syntax tree.
    """
    trees = "\n".join(map(_syntax, list_decisive_files(plugins).values()))
    return hashlib.sha256(trees.encode()).hexdigest()


def compute_file_digests(plugins: tuple[str, ...] = ()) -> dict[str, str]:
    """Return the first 16 digits of each file's own digest.

    They locate a change.
    """
    digests = {}
    for name, file in list_decisive_files(plugins).items():
        digests[name] = hashlib.sha256(_syntax(file).encode()).hexdigest()[:16]
    return digests


def list_decisive_files(plugins: tuple[str, ...] = ()) -> dict[str, Path]:
    """Return the files that decide a run's numbers.

    They are listed by the names that they have in the digest.
    """
    found = {}
    for part in DECISIVE_PARTS:
        for file in sorted((LINFIT_FOLDER / part).rglob("*.py")):
            found[file.relative_to(LINFIT_FOLDER).as_posix()] = file
    # plug-ins of installed packages count like those of a config, whether or not a fit uses them
    installed = sorted({point.module for point in entry_points(group=ENTRY_POINTS)})
    for plugin in (*plugins, *installed):
        found |= _plugin_files(plugin)
    return found


def _plugin_files(name: str) -> dict[str, Path]:
    """Return a plug-in's file; where it is a package, or part of one, all files of the package."""
    spec = _find_spec(name)
    # frozen and built-in modules belong to Python
    if spec is None or spec.origin is None or not spec.has_location:
        return {}
    package: ModuleSpec | None = spec
    if not spec.submodule_search_locations:
        package = _find_spec(name.rpartition(".")[0])
    found = {}
    if package is None or not spec.origin.endswith(".py"):
        found[name] = Path(spec.origin)
    if package is not None:
        for folder in map(Path, package.submodule_search_locations or ()):
            for file in sorted(folder.rglob("*.py")):
                found[f"{package.name}:{file.relative_to(folder).as_posix()}"] = file
    return found


def _find_spec(name: str) -> ModuleSpec | None:
    known = sys.modules.get(name)
    if known is not None:
        return known.__spec__
    return find_spec(name) if name else None


@cache
def _syntax(file: Path) -> str:
    """Return the syntax tree as ast.dump writes it, without empty fields.

    Which empty fields there are differs from one Python to the next.
    """
    content = file.read_bytes()
    try:
        return _dump(ast.parse(content))
    except (SyntaxError, ValueError):  # no module, but in a plug-in's package all the same
        return repr(content)


def _dump(part: Any) -> str:
    if isinstance(part, list):
        return f"[{','.join(map(_dump, part))}]"
    if not isinstance(part, ast.AST):
        return repr(part)
    fields = []
    for name in part._fields:
        value = getattr(part, name, None)
        if value is None or value == []:
            continue
        if name == "body" and isinstance(part, DOCUMENTED_NODES) and _is_docstring(value[0]):
            value = value[1:]
        fields.append(f"{name}={_dump(value)}")
    return f"{type(part).__name__}({','.join(fields)})"


def _is_docstring(statement: ast.stmt) -> bool:
    return (
        isinstance(statement, ast.Expr)
        and isinstance(statement.value, ast.Constant)
        and isinstance(statement.value.value, str)
    )
