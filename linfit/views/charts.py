"""What a picture shows, without saying how it is drawn: matplotlib and the report's page draw the same charts."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from linfit.problem.problem import Array

#: Where step 0 stands on a logarithmic axis of steps.
STEP_ZERO = 0.5


@dataclass(frozen=True)
class Axis:
    """`steps` is a logarithmic axis that begins with step 0; `names` are the categories of a heat map's axis."""

    label: str
    scale: Literal["linear", "log", "steps"] = "linear"
    limits: tuple[float, float] | None = None
    names: tuple[str, ...] = ()
    ticks: tuple[float, ...] = ()
    """The values that a logarithmic axis names if there is room."""


@dataclass(frozen=True)
class Series:
    """One line, or the points of one, with the band between `low` and `high` if there is one.

    Its number in the chart gives its colour, dashes and marker, unless `style` does. Of a path, start and end are marked.
    """

    label: str
    x: Array
    y: Array
    low: Array | None = None
    high: Array | None = None
    kind: Literal["line", "points", "stairs", "path", "plain", "predicted"] = "line"
    style: int | None = None
    leaves: bool = False
    """Whether a path goes on outside the picture: it has no end to be marked."""


@dataclass(frozen=True)
class Mark:
    """A vertical line at `x`, a range up to `to`, that belongs to the series of the same style; a point where `y` is given."""

    x: float
    label: str
    style: int | None = None
    y: float | None = None
    to: float | None = None


@dataclass(frozen=True)
class Surface:
    """Values z `[len(y), len(x)]` on a grid, as contours or as cells; NaN where there is nothing."""

    x: Array
    y: Array
    z: Array
    label: str
    kind: Literal["contours", "cells"] = "contours"
    texts: tuple[tuple[str, ...], ...] = ()
    """What stands in each cell."""
    counts: tuple[tuple[str, ...], ...] = ()
    """Of each cell in words how many fits finished, for who points at it."""
    lost: Array | None = None
    """The share of each cell's fits that did not finish, NaN where there are none; told by a sign where no text tells it."""


@dataclass(frozen=True)
class Chart:
    """One picture: `name` is its file's, `note` says in small print how to read it.

    `strip` stands above the axes, a row for each series: `y` is the share of fits lost at `x`, in
    the way that its label says.
    """

    name: str
    title: str
    x: Axis
    y: Axis
    series: Sequence[Series] = ()
    marks: Sequence[Mark] = ()
    surface: Surface | None = None
    note: str = ""
    strip: Sequence[Series] = ()


def join_notes(*parts: str) -> str:
    """Return a note of the parts that say something."""
    return "; ".join(filter(None, parts))


def place_strip(strip: Sequence[Series]) -> tuple[list[float], dict[str, float]]:
    """Return where the rows of a strip lie, from 0 down, and where their labels do.

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
    """Return which points of a path are recorded ones: the others are where it crosses the edge.

    A path is interrupted by NaN while it is outside the picture, and ends at the edge if it leaves.
    """
    found = np.isfinite(series.x) & np.isfinite(series.y)
    beside = np.concatenate([[True], found, [not series.leaves]])
    return np.flatnonzero(found & beside[:-2] & beside[2:])


def positive(values: ArrayLike) -> Array:
    """The values for a logarithmic axis: NaN where they are not finite or not above zero."""
    array = np.asarray(values, dtype=float)
    return np.where(np.isfinite(array) & (array > 0), array, np.nan)


def on_steps(steps: ArrayLike) -> Array:
    """Steps for a logarithmic axis that has a place for step 0."""
    return np.asarray(np.maximum(np.asarray(steps, dtype=float), STEP_ZERO))
