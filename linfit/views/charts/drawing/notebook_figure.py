"""A figure that a notebook shows by itself.

A notebook shows matplotlib's own figures only where pyplot is set up, and linfit sets up none.
"""

from __future__ import annotations

import linfit.views.charts.drawing.plain_matplotlib  # noqa: F401 - before all others

# isort: split
from io import BytesIO

from matplotlib.figure import Figure


class NotebookFigure(Figure):
    """A matplotlib figure with a picture of itself for notebooks."""

    def _repr_png_(self) -> bytes:
        file = BytesIO()
        self.savefig(file, format="png", metadata={"Software": None})
        return file.getvalue()
