"""A name stands for one thing: no public top-level name is defined in two modules."""

from __future__ import annotations

import ast
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path

import pytest

import linfit

ROOT = Path(linfit.__file__).parents[1]
#: Names that are defined in several modules, with the reason.
SHARED = {
    "main": "the program's entry in `__main__`, and the command line that it runs",
    "Array": "linfit_model_1 and _2 stand alone: stored models have copies of them",
}


def public_names(source: str) -> Iterator[str]:
    """Yield the public functions, classes and constants that a module defines at its top level."""
    for node in ast.parse(source).body:
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            names = [node.name]
        elif isinstance(node, ast.Assign):
            names = [name for target in node.targets for name in assigned(target)]
        elif isinstance(node, ast.AnnAssign):
            names = list(assigned(node.target))
        else:
            continue
        yield from (name for name in names if not name.startswith("_"))


def assigned(target: ast.expr) -> Iterator[str]:
    """Yield the names that an assignment to `target` defines."""
    if isinstance(target, ast.Name):
        yield target.id
    elif isinstance(target, ast.Tuple):
        for part in target.elts:
            yield from assigned(part)


def find_shared(files: dict[str, str]) -> dict[str, list[str]]:
    """Return the names that several of these modules define, with the modules."""
    places = defaultdict(list)
    for place, source in files.items():
        for name in set(public_names(source)):
            places[name].append(place)
    return {name: sorted(found) for name, found in places.items() if len(found) > 1}


def test_no_public_name_is_defined_in_two_modules() -> None:
    files = {
        file.relative_to(ROOT).as_posix(): file.read_text(encoding="utf-8")
        for file in ROOT.glob("linfit/**/*.py")
    }
    assert len(files) > 200
    shared = find_shared(files)
    assert {name: found for name, found in shared.items() if name not in SHARED} == {}
    assert set(SHARED) <= set(shared), "a name that is shared no more leaves the list"


@pytest.mark.parametrize(
    "source",
    ["def same(): pass", "class same: pass", "same = 1", "same: int = 1", "g, same = 1, 2"],
)
def test_a_name_is_found_however_it_is_defined(source: str) -> None:
    assert find_shared({"a": source, "b": "async def same(): pass"}) == {"same": ["a", "b"]}
    assert find_shared({"a": source.replace("same", "_same"), "b": "_same = 1"}) == {}
