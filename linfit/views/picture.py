"""A figure that a notebook shows by itself: it shows matplotlib's own only where pyplot has been set up, which linfit does not."""

from __future__ import annotations

import linfit.views.plain_matplotlib  # noqa: F401 - before all others

# isort: split
from io import BytesIO

from matplotlib.figure import Figure


class Picture(Figure):
    """A matplotlib figure."""

    def _repr_png_(self) -> bytes:
        file = BytesIO()
        self.savefig(file, format="png", metadata={"Software": None})
        return file.getvalue()
