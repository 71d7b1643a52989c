"""Import of plug-ins from the working directory: modules that the user named, and their imports.

The working directory is never on Python's path: a file `torch.py` there would be run by whoever
imports torch next.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable, Sequence
from importlib.machinery import ModuleSpec, PathFinder
from pathlib import Path
from types import ModuleType

#: The folder of each top-level module that is found by these finders.
_FOLDERS: dict[str, str] = {}


class NamedModules:
    """Finder of the modules that were named, asked before all others."""

    @staticmethod
    def find_spec(
        name: str, path: Sequence[str] | None = None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        """Return a module's spec, None if it was not named."""
        if path is not None or name not in _FOLDERS:
            return None
        return PathFinder.find_spec(name, [_FOLDERS[name]])


class NeighbouringModules:
    """Finder of what a named module imports from its own folder.

    It is asked after all others, so that nothing installed is replaced.
    """

    @staticmethod
    def find_spec(
        name: str, path: Sequence[str] | None = None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        """Return a module's spec, None unless a named module imports it."""
        folder = _FOLDERS.get(_find_importer()) if path is None else None
        if folder is None:
            return None
        found = PathFinder.find_spec(name, [folder])
        if found is not None:
            _FOLDERS[name] = folder
        return found


def find_in_working_directory(modules: Iterable[str]) -> None:
    """Have modules be found in the working directory, beside the experiments."""
    for module in modules:
        top = module.partition(".")[0]
        if top not in sys.modules:
            _FOLDERS[top] = str(Path.cwd())
    if NamedModules not in sys.meta_path:
        sys.meta_path.insert(0, NamedModules)
        sys.meta_path.append(NeighbouringModules)


def _find_importer() -> str:
    """Return the top-level name of the module whose import statement is being executed."""
    frame = sys._getframe(2)
    while frame.f_back is not None and _top_name(frame.f_globals) == "importlib":
        frame = frame.f_back
    return _top_name(frame.f_globals)


def _top_name(namespace: dict[str, object]) -> str:
    return str(namespace.get("__name__", "")).partition(".")[0]
