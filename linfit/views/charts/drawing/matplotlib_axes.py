"""Set up the axes of a chart with matplotlib: scale, ticks, names, and the strip above."""

from __future__ import annotations

import linfit.views.charts.drawing.plain_matplotlib  # noqa: F401 - before all others

# isort: split
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FixedFormatter, FixedLocator, FuncFormatter, NullLocator

from linfit.views.charts.chart import Chart, ChartAxis, arrange_strip
from linfit.views.charts.drawing.looks import choose_look
from linfit.views.charts.drawing.matplotlib_series import choose_mark_look, draw_mark_lines
from linfit.views.charts.ticks import (
    choose_axis_ticks,
    count_decades,
    hide_overlaps,
    shorten_label,
)

#: Letters of all names along a categorical axis.
MOST_TICK_LETTERS = 44
#: Letters of a line of a row's name, a third of the picture's width, and their size in points.
ROW_LETTERS = 24
LARGE_LETTERS = 11.0
#: The same where there are more rows than these.
MOST_LARGE_ROWS = 6
SMALL_ROW_LETTERS = 32
SMALL_LETTERS = 8.5
#: The most rows that each have a name.
MOST_ROW_NAMES = 16
#: The height of the strip's margin and of one of its rows, as shares of the axes below.
STRIP_HEIGHTS = (0.04, 0.045)


def add_frames(figure: Figure, chart: Chart) -> tuple[Axes, Axes | None]:
    """Return the axes, and above them those of the strip if there is one."""
    if not chart.strip:
        return figure.add_subplot(), None
    height = STRIP_HEIGHTS[0] + STRIP_HEIGHTS[1] * len(chart.strip)
    strip, axes = figure.subplots(
        2,
        1,
        sharex=True,
        height_ratios=(height, 1),
    )
    return axes, strip


def draw_strip(axes: Axes, chart: Chart) -> None:
    """Draw a row for each series, the first on top, hollow where less than half were lost."""
    axes.set_facecolor("#F3F3F3")
    places, labels = arrange_strip(chart.strip)
    axes.set_ylim(places[-1] + 0.7, -0.7)
    axes.set_yticks(list(labels.values()), list(labels))
    axes.tick_params(axis="both", which="both", length=0, labelbottom=False)
    axes.grid(False, axis="y")
    for side in ("left", "bottom"):
        axes.spines[side].set_visible(False)

    for mark in chart.marks:
        draw_mark_lines(axes, mark, choose_mark_look(mark)[0])
    for number, (place, row) in enumerate(zip(places, chart.strip, strict=True)):
        color, marker, _ = choose_look(number if row.style is None else row.style)
        for face, which in (("white", row.y < 0.5), (color, row.y >= 0.5)):
            x = row.x[which]
            axes.plot(
                x,
                np.full(len(x), place),
                marker,
                color=color,
                markerfacecolor=face,
                markeredgewidth=1.3,
                zorder=3,
            )


def set_up_axis(axes: Axes, axis: ChartAxis, which: str) -> None:
    """Set the label, scale, ticks and limits of the axis `x` or `y`."""
    shown = getattr(axes, f"{which}axis")
    getattr(axes, f"set_{which}label")(axis.label)
    if axis.limits is not None:
        getattr(axes, f"set_{which}lim")(*axis.limits)
    if axis.names:
        _name_categories(shown, axis.names, which)
        return
    if axis.scale != "linear":
        getattr(axes, f"set_{which}scale")("log")
    low, high = sorted(getattr(axes, f"get_{which}lim")())
    found = choose_axis_ticks(axis, low, high)
    if found is None:
        return
    places, texts = found
    if which == "x" and places and axis.scale != "linear":
        texts = hide_overlaps(places, texts, count_decades(low, high))
    shown.set_major_locator(FixedLocator(places))
    shown.set_major_formatter(FixedFormatter(texts))
    shown.set_minor_locator(NullLocator())


def _name_categories(shown: Any, categories: tuple[str, ...], which: str) -> None:
    """Name an axis' categories: all rows, and as many columns as there is room for, evenly."""
    every = 1
    names = list(categories)
    if which == "y":
        small = len(names) > MOST_LARGE_ROWS
        names = [
            shorten_label(name, SMALL_ROW_LETTERS if small else ROW_LETTERS, 2) for name in names
        ]
        shown.set_tick_params(labelsize=SMALL_LETTERS if small else LARGE_LETTERS)
        every = max(1, -(-len(names) // MOST_ROW_NAMES))
    elif any("\n" in name for name in names):
        shown.set_tick_params(labelsize=SMALL_LETTERS)
    else:
        letters = max(map(len, names)) + 1
        every = max(1, -(-len(names) * letters // MOST_TICK_LETTERS))
    shown.set_major_locator(FixedLocator(list(range(0, len(names), every))))
    shown.set_major_formatter(FuncFormatter(lambda place, _: names[round(place)]))
