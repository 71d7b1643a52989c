"""Where plug-ins are found: a module of the working directory that the user named, and what that module imports from beside it.

The working directory is never on Python's path: a file `torch.py` there would be run by whoever imports torch next.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable, Sequence
from importlib.machinery import ModuleSpec, PathFinder
from pathlib import Path
from types import ModuleType

#: Folders by the top-level modules that are found there.
_FOLDERS: dict[str, str] = {}


class NamedModules:
    """Finds the modules that were named, before all others."""

    @staticmethod
    def find_spec(
        name: str, path: Sequence[str] | None = None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        """Return where a module is, None if it was not named."""
        return (
            PathFinder.find_spec(name, [_FOLDERS[name]])
            if path is None and name in _FOLDERS
            else None
        )


class NeighbouringModules:
    """Finds what a named module imports from its own folder, after all others: what is installed cannot be replaced there."""

    @staticmethod
    def find_spec(
        name: str, path: Sequence[str] | None = None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        """Return where a module is, None if no named module imports it."""
        folder = _FOLDERS.get(_find_importer()) if path is None else None
        found = None if folder is None else PathFinder.find_spec(name, [folder])
        if found is not None and folder is not None:
            _FOLDERS[name] = folder
        return found


def find_in_working_directory(modules: Iterable[str]) -> None:
    """Have the modules be found in the working directory, as for a script: beside the experiments."""
    tops = {module.partition(".")[0] for module in modules}
    _FOLDERS.update({top: str(Path.cwd()) for top in tops if top not in sys.modules})
    if NamedModules not in sys.meta_path:
        sys.meta_path.insert(0, NamedModules)
        sys.meta_path.append(NeighbouringModules)


def _find_importer() -> str:
    """Return the top-level name of the module whose import statement is being executed."""
    frame = sys._getframe(2)
    while (
        frame.f_back is not None
        and frame.f_globals.get("__name__", "").partition(".")[0] == "importlib"
    ):
        frame = frame.f_back
    return str(frame.f_globals.get("__name__", "")).partition(".")[0]
