"""A curve in text: braille dots, two across and four up in each character, or stars."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from linfit.views.charts.chart import mask_nonpositive, move_step_zero

SKETCH_WIDTH = 60
SKETCH_HEIGHT = 8
SKETCH_MARGIN = 10
LEAST_SKETCH_WIDTH = 10
#: The bit of each dot in a braille character, by column and row from the top.
BRAILLE_BITS = np.array([[0x01, 0x02, 0x04, 0x40], [0x08, 0x10, 0x20, 0x80]])


def draw_sketch(
    steps: Sequence[int],
    values: Sequence[float],
    braille: bool = True,
    columns: int = SKETCH_MARGIN + 1 + SKETCH_WIDTH,
) -> list[str]:
    """Return lines of at most `columns` that draw values over steps, both logarithmic.

    No lines for fewer than two points with positive values.
    """
    seen = np.flatnonzero(np.isfinite(mask_nonpositive(values)))
    if len(seen) < 2:
        return []
    first = int(steps[seen[0]])
    last = int(steps[seen[-1]])
    x = np.log10(move_step_zero(steps))[seen]
    y = np.log10(mask_nonpositive(values))[seen]
    if x[0] == x[-1]:
        return []

    width = max(LEAST_SKETCH_WIDTH, min(SKETCH_WIDTH, columns - SKETCH_MARGIN - 1))
    across, up = (2, 4) if braille else (1, 1)
    low = float(y.min())
    high = float(y.max())
    heights = np.interp(np.linspace(x[0], x[-1], width * across), x, y)
    places = np.round((heights - low) / ((high - low) or 1.0) * (SKETCH_HEIGHT * up - 1)).astype(
        int
    )
    dots = _connected(places, SKETCH_HEIGHT * up)
    rows = _braille(dots) if braille else _stars(dots)

    labels = [""] * SKETCH_HEIGHT
    labels[0] = f"{10**high:.3g}"
    labels[-1] = f"{10**low:.3g}"
    lines = [
        f"{label:>{SKETCH_MARGIN}} {row}".rstrip() for label, row in zip(labels, rows, strict=True)
    ]
    axis = f"{'step':>{SKETCH_MARGIN}} {first}{last:>{width - len(str(first))}}"
    return [*lines, axis]


def _connected(places: NDArray[np.int64], height: int) -> NDArray[np.bool_]:
    """Return dots `[height, columns]`, the top row first; each column reaches to the one before."""
    before = np.concatenate([places[:1], places[:-1]])
    neighbour = before + np.sign(places - before)
    row = np.arange(height)[::-1, None]
    low = np.minimum(places, neighbour)
    high = np.maximum(places, neighbour)
    return np.asarray((low <= row) & (row <= high))


def _stars(dots: NDArray[np.bool_]) -> list[str]:
    return ["".join("*" if dot else " " for dot in row) for row in dots.tolist()]


def _braille(dots: NDArray[np.bool_]) -> list[str]:
    cells = dots.reshape(
        SKETCH_HEIGHT,
        4,
        -1,
        2,
    ).transpose(
        0,
        2,
        3,
        1,
    )  # [row, column, across, down]
    codes = (cells * BRAILLE_BITS).sum(axis=(2, 3))
    # An empty character is a blank, which a line can lose at its end.
    letters = np.where(codes > 0, codes + 0x2800, ord(" "))
    return ["".join(map(chr, row)) for row in letters.tolist()]
