"""Imports matplotlib as it comes: what the environment and the working directory say of it stops no picture of a run that is recorded.

linfit's pictures have settings of their own. A program that wants a `matplotlibrc` of its own imports matplotlib before linfit draws.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress

#: The file of settings that matplotlib looks for in the working directory, then in the user's folders, then in its own.
_FILE, _OWN_FOLDER = "matplotlibrc", "mpl-data"
_BACKEND = "MPLBACKEND"


@contextmanager
def _without_settings() -> Iterator[None]:
    """Have matplotlib find no file of settings but its own, and nothing in the environment."""
    given = {
        name: os.environ.pop(name) for name in (_BACKEND, "MATPLOTLIBRC") if name in os.environ
    }
    exists = os.path.exists

    def exists_for_matplotlib(path: object) -> bool:
        hidden = str(path).endswith(_FILE) and _OWN_FOLDER not in str(path)
        return not hidden and exists(path)  # type: ignore[arg-type]

    os.path.exists = exists_for_matplotlib
    try:
        yield
    finally:
        os.path.exists = exists
        os.environ.update(given)


if "matplotlib" not in sys.modules:
    with _without_settings():
        import matplotlib
    if _BACKEND in os.environ:  # of other figures than linfit's
        with suppress(ValueError):
            matplotlib.rcParams["backend"] = os.environ[_BACKEND]
