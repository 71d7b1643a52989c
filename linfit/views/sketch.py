"""A curve in text: dots of braille characters, two across and four up in each, or stars where the terminal has no braille."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from linfit.views.charts import on_steps, positive

WIDTH, HEIGHT = 60, 8
MARGIN, NARROWEST = 10, 10
#: The bit of each dot in a braille character, by column and row from the top.
BITS = np.array([[0x01, 0x02, 0x04, 0x40], [0x08, 0x10, 0x20, 0x80]])


def sketch(
    steps: Sequence[int],
    values: Sequence[float],
    braille: bool = True,
    columns: int = MARGIN + 1 + WIDTH,
) -> list[str]:
    """Lines of at most so many columns that draw positive `values` over `steps`, both on logarithmic axes; none for fewer than two points."""
    width = max(NARROWEST, min(WIDTH, columns - MARGIN - 1))
    x, y = np.log10(on_steps(steps)), np.log10(positive(values))
    seen = np.isfinite(y)
    x, y = x[seen], y[seen]
    if len(x) < 2 or x[0] == x[-1]:
        return []
    across, up = (2, 4) if braille else (1, 1)
    low, high = float(y.min()), float(y.max())
    heights = np.interp(np.linspace(x[0], x[-1], width * across), x, y)
    places = np.round((heights - low) / ((high - low) or 1.0) * (HEIGHT * up - 1)).astype(int)
    dots = _connected(places, HEIGHT * up)
    rows = (
        _braille(dots) if braille else ["".join("*" if dot else " " for dot in row) for row in dots]
    )
    labels = {0: f"{10**high:.3g}", HEIGHT - 1: f"{10**low:.3g}"}
    first, last = (int(steps[i]) for i in (np.flatnonzero(seen)[0], np.flatnonzero(seen)[-1]))
    axis = f"{'step':>{MARGIN}} {first}{last:>{width - len(str(first))}}"
    return [*(f"{labels.get(i, ''):>{MARGIN}} {row}".rstrip() for i, row in enumerate(rows)), axis]


def _connected(places: NDArray[np.int64], height: int) -> NDArray[np.bool_]:
    """Dots `[height, columns]`, the top row first, where each column reaches to the one before."""
    before = np.concatenate([places[:1], places[:-1]])
    low, high = (
        np.minimum(places, before + np.sign(places - before)),
        np.maximum(places, before + np.sign(places - before)),
    )
    row = np.arange(height)[::-1, None]
    return np.asarray((low <= row) & (row <= high))


def _braille(dots: NDArray[np.bool_]) -> list[str]:
    cells = dots.reshape(HEIGHT, 4, -1, 2).transpose(0, 2, 3, 1)  # [row, column, across, down]
    codes = (cells * BITS).sum(axis=(2, 3))
    return [
        "".join(chr(0x2800 + code) if code else " " for code in line) for line in codes.tolist()
    ]
