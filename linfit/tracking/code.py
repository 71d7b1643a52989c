"""The code digest: the identity of the code that decides a run's numbers."""

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

PACKAGE = Path(__file__).parents[1]
#: The parts of linfit that decide a run's numbers.
DECISIVE = ("problem", "method", "engine")
#: The parts of a program that may have a docstring.
DOCUMENTED = (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)


@cache
def code_digest(plugins: tuple[str, ...] = ()) -> str:
    """SHA-256 over the syntax trees, without docstrings, of what decides the numbers: comments and layout do not count."""
    return hashlib.sha256(
        "\n".join(_syntax(file) for file in decisive_files(plugins).values()).encode()
    ).hexdigest()


def file_digests(plugins: tuple[str, ...] = ()) -> dict[str, str]:
    """The beginning of each file's own digest, so that a change can be placed."""
    return {
        name: hashlib.sha256(_syntax(file).encode()).hexdigest()[:16]
        for name, file in decisive_files(plugins).items()
    }


def decisive_files(plugins: tuple[str, ...] = ()) -> dict[str, Path]:
    """Return the files that decide a run's numbers, by the names that they have in the digest."""
    files = [file for part in DECISIVE for file in sorted((PACKAGE / part).rglob("*.py"))]
    found = {file.relative_to(PACKAGE).as_posix(): file for file in files}
    return found | {
        name: file for plugin in (*plugins, *_installed()) for name, file in _plugin(plugin).items()
    }


def _installed() -> list[str]:
    """The plug-ins of installed packages: as of those that a config names, it does not matter whether a fit uses them."""
    return sorted({point.module for point in entry_points(group=ENTRY_POINTS)})


def _plugin(name: str) -> dict[str, Path]:
    """A plug-in's file, and where it is a package, or stands in one, all of the package's."""
    spec = _spec(name)
    if (
        spec is None or spec.origin is None or not spec.has_location
    ):  # what is frozen or built in belongs to Python
        return {}
    package = spec if spec.submodule_search_locations else _spec(name.rpartition(".")[0])
    own = {} if spec.origin.endswith(".py") and package is not None else {name: Path(spec.origin)}
    if package is None:
        return own
    folders = [Path(folder) for folder in package.submodule_search_locations or ()]
    return own | {
        f"{package.name}:{file.relative_to(folder).as_posix()}": file
        for folder in folders
        for file in sorted(folder.rglob("*.py"))
    }


def _spec(name: str) -> ModuleSpec | None:
    known = sys.modules.get(name)
    return known.__spec__ if known is not None else find_spec(name) if name else None


@cache
def _syntax(file: Path) -> str:
    """As ast.dump writes it, without what is empty: which empty fields there are differs from one Python to the next."""
    try:
        return _dump(ast.parse(file.read_bytes()))
    except (SyntaxError, ValueError):  # no module, but in a plug-in's package all the same
        return repr(file.read_bytes())


def _dump(part: Any) -> str:
    if isinstance(part, list):
        return f"[{','.join([_dump(one) for one in part])}]"
    if not isinstance(part, ast.AST):
        return repr(part)
    fields = []
    for name in part._fields:
        value = getattr(part, name, None)
        if value is None or value == []:
            continue
        if name == "body" and isinstance(part, DOCUMENTED) and _is_text(value[:1]):
            value = value[1:]
        fields.append(f"{name}={_dump(value)}")
    return f"{type(part).__name__}({','.join(fields)})"


def _is_text(body: list[ast.stmt]) -> bool:
    """Whether there is a docstring."""
    return (
        bool(body)
        and isinstance(body[0], ast.Expr)
        and isinstance(body[0].value, ast.Constant)
        and isinstance(body[0].value.value, str)
    )
