"""The content of a picture, independent of how it is drawn: matplotlib and the report share it."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from linfit.problem.types import Array

#: The place of step 0 on a logarithmic axis of steps.
STEP_ZERO = 0.5
#: Recorded points of a line from which on it is drawn as if nothing lay between them.
FEWEST_DENSE_POINTS = 60


@dataclass(frozen=True)
class ChartAxis:
    """An axis: linear, logarithmic, or `steps`, which is logarithmic but begins with step 0."""

    label: str
    scale: Literal["linear", "log", "steps"] = "linear"
    limits: tuple[float, float] | None = None
    names: tuple[str, ...] = ()
    """The categories at 0, 1, 2, …, of a heat map or of rows."""
    ticks: tuple[float, ...] = ()
    """The values that an axis names if there is room."""
    whole: bool = False
    """True if only whole numbers are named."""


@dataclass(frozen=True)
class Series:
    """A line or points, with the band between `low` and `high` if there is one.

    Its number in the chart gives its colour, dashes and marker, unless `style` does. Start and end
    of a path are marked. An interval lies across: from `low` to `high` at the height `y`, with a
    mark at `x`; bars reach from 0 to `x`. Threads are thin lines, one after another, with NaN
    between them. Whiskers are points, each on an upright line from `low` to `high`.
    """

    label: str
    x: Array
    y: Array
    low: Array | None = None
    high: Array | None = None
    kind: Literal[
        "line",
        "points",
        "hollow",
        "stairs",
        "path",
        "plain",
        "predicted",
        "interval",
        "bars",
        "threads",
        "whiskers",
        "texts",
    ] = "line"
    style: int | None = None
    color: str | None = None
    """A colour in place of the style's."""
    is_sparse: bool = False
    """True if each point is marked: between two of them nothing was recorded."""
    leaves_picture: bool = False
    """True if a path goes on outside the picture: it has no end to be marked."""
    texts: tuple[str, ...] = ()
    """Drawn in place of points by the kind `texts`."""


@dataclass(frozen=True)
class Mark:
    """A vertical line at `x`, a range up to `to`, or a point if `y` is given.

    It belongs to the series of the same style.
    """

    x: float
    label: str
    style: int | None = None
    y: float | None = None
    to: float | None = None


@dataclass(frozen=True)
class Surface:
    """Values z `[len(y), len(x)]` on a grid, as contours or as cells; NaN is empty."""

    x: Array
    y: Array
    z: Array
    label: str
    kind: Literal["contours", "cells"] = "contours"
    texts: tuple[tuple[str, ...], ...] = ()
    """The text in each cell."""
    counts: tuple[tuple[str, ...], ...] = ()
    """How many fits of each cell finished, in words, for the pointer."""
    lost_shares: Array | None = None
    """The share of each cell's fits that did not finish, NaN without fits.

    A sign shows it where no text does.
    """


@dataclass(frozen=True)
class ClassRegions:
    """Probabilities and predictors `[len(y), len(x), k]` of k classes on a grid.

    Each place has the colour of its likeliest class, the darker the likelier it is. Lines are where
    the two largest predictors are equal.
    """

    x: Array
    y: Array
    shares: Array
    eta: Array
    names: tuple[str, ...]


@dataclass(frozen=True)
class CountTable:
    """Numbers of samples `[k, k]`, a row for each true class and a column for each predicted one.

    Row 0 is on top. A cell is the darker the larger its share of its row.
    """

    counts: NDArray[np.intp]
    names: tuple[str, ...]


@dataclass(frozen=True)
class Chart:
    """A picture: `name` is its file's, `note` is small print on how to read it.

    `strip` is drawn above the axes, a row for each series: `y` is the share of fits lost at `x`,
    in the way that the series' label says.
    """

    name: str
    title: str
    x: ChartAxis
    y: ChartAxis
    series: Sequence[Series] = ()
    marks: Sequence[Mark] = ()
    surface: Surface | None = None
    note: str = ""
    strip: Sequence[Series] = ()
    regions: ClassRegions | None = None
    table: CountTable | None = None


@dataclass(frozen=True)
class LeftOut:
    """A picture that is not made, with the reason."""

    reason: str
    is_missed: bool = True
    """True if a user may expect it, so that a line says why it is left out."""


def join_notes(*parts: str) -> str:
    """Return a note of the parts that are not empty."""
    return "; ".join(filter(None, parts))


def arrange_strip(strip: Sequence[Series]) -> tuple[list[float], dict[str, float]]:
    """Return the heights of a strip's rows, from 0 down, and of their labels.

    A label lies amid its rows. Rows of one label lie together, half a row from those of the next.
    """
    places: list[float] = []
    own: dict[str, list[float]] = {}
    for number, row in enumerate(strip):
        rows = own.setdefault(row.label, [])
        places.append(number + (len(own) - 1) / 2)
        rows.append(places[-1])
    return places, {label: sum(rows) / len(rows) for label, rows in own.items()}


def find_recorded_points(series: Series) -> NDArray[np.intp]:
    """Return the indices of a path's recorded points.

    The others are crossings of the edge.

    A path is interrupted by NaN while it is outside the picture, and ends at the edge if it leaves.
    """
    found = np.isfinite(series.x) & np.isfinite(series.y)
    neighbours = np.concatenate([[True], found, [not series.leaves_picture]])
    return np.flatnonzero(found & neighbours[:-2] & neighbours[2:])


def is_sparse(steps: ArrayLike) -> bool:
    """Return True if a curve was recorded at few of its steps, so that a line may mislead."""
    places = np.asarray(steps, dtype=float)
    return 1 < len(places) < FEWEST_DENSE_POINTS and bool(np.diff(places).max() > 1)


def merge_equal_series(series: Sequence[Series]) -> list[Series]:
    """Return the series with equal ones once, under all their labels."""
    groups: dict[tuple[bytes | str, ...], list[Series]] = {}
    for line in series:
        arrays = (line.x, line.y, line.low, line.high)
        content = [b"" if array is None else np.asarray(array).tobytes() for array in arrays]
        groups.setdefault((line.kind, *content), []).append(line)
    return [
        replace(own[0], label=join_equal(line.label for line in own)) for own in groups.values()
    ]


def join_equal(labels: Iterable[str]) -> str:
    """Return the label of what is drawn once for several equal ones."""
    different = list(dict.fromkeys(labels))
    return different[0] if len(different) == 1 else f"{', '.join(different)} (equal)"


def mask_nonpositive(values: ArrayLike) -> Array:
    """Return values for a logarithmic axis.

    NaN unless finite and above zero.
    """
    array = np.asarray(values, dtype=float)
    return np.where(np.isfinite(array) & (array > 0), array, np.nan)


def move_step_zero(steps: ArrayLike) -> Array:
    """Return steps for a logarithmic axis that has a place for step 0."""
    return np.asarray(np.maximum(np.asarray(steps, dtype=float), STEP_ZERO))


def round_to_bins(values: Array, edges: Array, middles: Array) -> Array:
    """Return the middle of the bin that each value falls into.

    NaN stays.
    """
    bins = np.searchsorted(edges, values, side="right") - 1
    found = middles[np.clip(bins, 0, len(middles) - 1)]
    return np.where(np.isfinite(values), found, np.nan)
