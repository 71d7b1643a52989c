"""How regions and tables of classes look, in both libraries."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from linfit.problem.types import Array
from linfit.tracking.schema.run_colors import choose_color

#: How much of a class's colour a region has where the class is hardly likelier than others, and
#: where it is certain.
REGION_ALPHAS = (0.06, 0.42)
#: The paper's and the darkest cell's colour of a table.
TABLE_COLORS = ("#FFFFFF", "#0B3C73")
#: The share of a row from which on a cell is so dark that its text is white.
DARK_SHARE = 0.5


def paint_regions(shares: Array) -> Array:
    """Return the colours `[rows, columns, 3]` of regions, from 0 to 1.

    The shares of the classes are `[rows, columns, k]`.
    """
    k = shares.shape[-1]
    codes = [bytes.fromhex(choose_color(number)[1:]) for number in range(k)]
    colors = np.array([list(code) for code in codes]) / 255
    likeliest = shares.argmax(axis=-1)
    certainty = (shares.max(axis=-1) - 1 / k) / (1 - 1 / k)
    low, high = REGION_ALPHAS
    alpha = (low + (high - low) * np.clip(certainty, 0, 1))[..., None]
    return np.asarray(1 - alpha + alpha * colors[likeliest])


def share_rows(counts: NDArray[np.intp]) -> Array:
    """Return each cell's share of its row, 0 in an empty row."""
    sums = counts.sum(axis=1, keepdims=True)
    return np.asarray(counts / np.maximum(sums, 1))
