"""Draw the regions and the table of classes with matplotlib."""

from __future__ import annotations

import linfit.views.charts.drawing.plain_matplotlib  # noqa: F401 - before all others

# isort: split
import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import LinearSegmentedColormap

from linfit.views.charts.chart import Chart, ClassRegions, CountTable
from linfit.views.charts.drawing.class_looks import (
    DARK_SHARE,
    TABLE_COLORS,
    paint_regions,
    share_rows,
)
from linfit.views.charts.drawing.looks import INK
from linfit.views.charts.ticks import shorten_label

#: The probabilities of the likeliest class that have a line.
LINES = (0.75, 0.95)
LINE_COLOR = "#777777"
#: Points of the text of a cell with few classes, and with many.
CELL_SIZES = (11.0, 7.5)
#: The most classes whose cells and names are large.
MOST_LARGE = 8
#: Letters of a line of a class's name: left of the table, upright below it, and of all in a row.
CLASS_LETTERS = 18
UPRIGHT_LETTERS = 14
ALL_COLUMN_LETTERS = 56
#: Classes up to which the names below the table are never upright.
MOST_LEVEL = 4


def draw_regions(axes: Axes, regions: ClassRegions) -> None:
    """Draw the plane in the colours of the classes, with lines of equal probability."""
    axes.grid(False)
    x, y, shares = regions.x, regions.y, regions.shares
    ends = (x[0], x[-1], y[0], y[-1])
    picture = paint_regions(shares)
    axes.imshow(picture, extent=ends, origin="lower", aspect="auto", zorder=0)

    likeliest = shares.max(axis=-1)
    if np.unique(likeliest).size > 1:
        inside = [line for line in LINES if likeliest.min() < line < likeliest.max()]
        if inside:
            lines = axes.contour(x, y, likeliest, inside, colors=LINE_COLOR, linewidths=0.8)
            axes.clabel(lines, fmt="%.2f", fontsize=8.5, colors=INK)
    for number in range(shares.shape[-1]):
        others = np.delete(regions.eta, number, axis=-1).max(axis=-1)
        lead = regions.eta[..., number] - others
        if lead.min() < 0 < lead.max():
            axes.contour(x, y, lead, [0.0], colors=INK, linewidths=1.6)


def draw_table(axes: Axes, table: CountTable) -> None:
    """Draw the cells with their numbers."""
    axes.grid(False)
    colors = LinearSegmentedColormap.from_list("table", TABLE_COLORS)
    shares = share_rows(table.counts)
    axes.imshow(shares, cmap=colors, vmin=0, vmax=1, aspect="auto")
    k = len(table.names)
    axes.set_xticks(np.arange(1, k) - 0.5, minor=True)
    axes.set_yticks(np.arange(1, k) - 0.5, minor=True)
    axes.grid(True, which="minor", color="#DDDDDD", linewidth=0.6)
    size = CELL_SIZES[k > MOST_LARGE]
    for (row, column), count in np.ndenumerate(table.counts):
        ink = "white" if shares[row, column] > DARK_SHARE else INK
        text = f"{count}" if count else "·"
        axes.text(column, row, text, ha="center", va="center", fontsize=size, color=ink)


def name_table(axes: Axes, chart: Chart) -> None:
    """Name the classes on both axes: long names below are cut, or written upwards."""
    table = chart.table
    assert table is not None
    k = len(table.names)
    places = np.arange(k)
    size = CELL_SIZES[k > MOST_LARGE]
    axes.set_yticks(places, [shorten_label(name, CLASS_LETTERS, 2) for name in table.names])
    room = ALL_COLUMN_LETTERS // k
    is_upright = k > MOST_LEVEL and max(map(len, table.names)) > room
    letters = UPRIGHT_LETTERS if is_upright else room
    below = [shorten_label(name, letters, 2) for name in table.names]
    axes.set_xticks(places, below, rotation=90 if is_upright else 0)
    axes.tick_params(which="both", length=0, labelsize=size)
    axes.set_xlabel(chart.x.label)
    axes.set_ylabel(chart.y.label)
    for side in ("left", "bottom"):
        axes.spines[side].set_visible(False)
