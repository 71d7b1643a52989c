"""Draw the surface under a chart's lines with matplotlib: labelled contours, or cells."""

from __future__ import annotations

import linfit.views.charts.drawing.plain_matplotlib  # noqa: F401 - before all others

# isort: split
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import LinearSegmentedColormap, LogNorm
from matplotlib.figure import Figure
from matplotlib.ticker import FixedFormatter, FixedLocator, NullLocator

from linfit.problem.types import Array
from linfit.views.charts.chart import Surface
from linfit.views.charts.ticks import choose_ticks, name_ticks

GROUND_COLORS = ("#FAFAFA", "#C6C6C6")
CONTOUR_COLOR = "#999999"
CONTOUR_TEXT_COLOR = "#555555"
#: The number of contours that have a label: the largest, where there is room.
MOST_LABELLED = 3
#: The marker of a cell that lost some of its fits.
SOME_LOST_MARKER = (2, 2, -45)
#: The marker of a cell that lost all of its fits.
ALL_LOST_MARKER = "x"


def draw_surface(figure: Figure, axes: Axes, surface: Surface) -> None:
    """Draw contours or cells, coloured on a logarithmic scale."""
    axes.grid(False)
    values = np.ma.masked_invalid(surface.z)
    low, high = (float(values.min()), float(values.max())) if values.count() else (1.0, 10.0)
    norm = LogNorm(low, max(high, low * 1.01))
    if surface.kind == "contours":
        _contours(axes, surface, norm)
    else:
        _cells(figure, axes, surface, norm)


def choose_levels(surface: Surface) -> Array:
    """Return the values of contours.

    Powers of ten, and half-way between them.
    """
    low = np.log10(surface.z.min())
    high = np.log10(surface.z.max())
    return np.asarray(10.0 ** np.arange(np.ceil(2 * low) / 2, high + 1e-9, 0.5))


def _contours(axes: Axes, surface: Surface, norm: LogNorm) -> None:
    at = choose_levels(surface)
    if len(at) < 2:  # flat
        return

    grid = (surface.x, surface.y, surface.z)
    ground = LinearSegmentedColormap.from_list("ground", GROUND_COLORS)
    axes.contourf(*grid, at, norm=norm, cmap=ground, extend="both")
    lines = axes.contour(*grid, at, norm=norm, colors=CONTOUR_COLOR, linewidths=0.7)
    exponents = np.log10(at)
    labelled = at[np.abs(exponents - np.round(exponents)) < 1e-6][-MOST_LABELLED:].tolist()
    texts = dict(zip(labelled, name_ticks(labelled), strict=True))
    axes.clabel(lines, labelled, fmt=texts, fontsize=9, colors=CONTOUR_TEXT_COLOR)


def _cells(figure: Figure, axes: Axes, surface: Surface, norm: LogNorm) -> None:
    values = np.ma.masked_invalid(surface.z)
    columns = np.arange(len(surface.x))
    rows = np.arange(len(surface.y))
    mesh = axes.pcolormesh(columns, rows, values, norm=norm, cmap="cividis")
    axes.set_facecolor("#EEEEEE")

    bar = figure.colorbar(mesh, ax=axes, label=surface.label)
    places = choose_ticks(*norm.inverse(np.array([0.0, 1.0])).tolist())
    bar.ax.yaxis.set_major_locator(FixedLocator(places))
    bar.ax.yaxis.set_major_formatter(FixedFormatter(name_ticks(places)))
    bar.ax.yaxis.set_minor_locator(NullLocator())

    inks = np.where(np.ma.filled(norm(values), 1.0) < 0.5, "white", "#222222")
    for i, row in enumerate(surface.texts):
        for j, text in enumerate(row):
            axes.text(
                j,
                i,
                text,
                ha="center",
                va="center",
                fontsize=9.5,
                color=inks[i, j],
            )
    if surface.lost_shares is not None and not surface.texts:
        _signs(axes, surface.lost_shares, inks)


def _signs(axes: Axes, lost: Array, inks: Array) -> None:
    """Draw a sign in each cell that lost some of its fits, or all."""
    kinds = ((SOME_LOST_MARKER, (lost > 0) & (lost < 1)), (ALL_LOST_MARKER, lost == 1))
    look: dict[str, Any] = {
        "linestyle": "",
        "markersize": 5,
        "markeredgewidth": 1,
    }
    for ink in ("white", "#222222"):
        for marker, which in kinds:
            rows, columns = np.nonzero(which & (inks == ink))
            axes.plot(columns, rows, marker=marker, color=ink, **look)
