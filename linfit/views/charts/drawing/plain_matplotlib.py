"""Import matplotlib without settings from the environment or the working directory.

Wrong settings there would stop the pictures of a run that is recorded. linfit's pictures have
settings of their own. A program that wants its own `matplotlibrc` imports matplotlib before linfit
draws.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress

#: The settings file, looked for in the working directory, the user's folders, and matplotlib's.
_FILE = "matplotlibrc"
_OWN_FOLDER = "mpl-data"
_BACKEND = "MPLBACKEND"


@contextmanager
def _without_settings() -> Iterator[None]:
    """Have matplotlib find no settings file but its own, and nothing in the environment."""
    variables = (_BACKEND, "MATPLOTLIBRC")
    given = {name: os.environ.pop(name) for name in variables if name in os.environ}
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
