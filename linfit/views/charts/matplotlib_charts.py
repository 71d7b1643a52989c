"""Draw charts with matplotlib, in one style: readable as a thumbnail, and without colours.

Figures are made through matplotlib's objects, never through pyplot, whose figures are global. The
same chart gives the same bytes.
"""

from __future__ import annotations

import linfit.views.charts.plain_matplotlib  # noqa: F401 - before all others

# isort: split
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from textwrap import wrap
from typing import Any

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.backends.backend_svg import FigureCanvasSVG
from matplotlib.figure import Figure
from matplotlib.layout_engine import ConstrainedLayoutEngine
from matplotlib.ticker import FixedFormatter, FixedLocator, FuncFormatter, NullLocator

from linfit.system.atomic_files import write_atomically
from linfit.views.charts.chart import (
    Chart,
    ChartAxis,
    Mark,
    Series,
    arrange_strip,
    find_recorded_points,
)
from linfit.views.charts.notebook_figure import NotebookFigure
from linfit.views.charts.surfaces import draw_surface
from linfit.views.charts.ticks import (
    choose_step_ticks,
    choose_ticks,
    count_decades,
    hide_overlaps,
    name_steps,
    name_ticks,
)

#: Okabe and Ito's colours ("Color Universal Design", 2008) without yellow, which is faint on white.
COLORS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#56B4E9", "#E69F00", "#000000", "#7F7F7F")
MARKERS = ("o", "s", "^", "D", "v", "P", "X", "*")
LINE_DASHES = (
    "-",
    (0, (5, 2.5)),
    (0, (1.4, 1.8)),
    (0, (5, 2, 1.2, 2)),
    (0, (8, 3)),
    (0, (3, 1.5, 1, 1.5, 1, 1.5)),
    (0, (2.5, 2.5)),
    (0, (8, 2, 2, 2)),
)
#: Widths of solid lines, and of those that must leave room to see a line below them.
LINE_WIDTHS = (2.8, 2.2, 1.7, 2.0, 2.2, 2.0, 2.0, 2.0)
#: Inches.
FIGURE_SIZE = (7.2, 4.5)
DPI = 110
MOST_MARKERS = 12
#: Letters of all names along a categorical axis.
MOST_TICK_LETTERS = 44
#: Letters of a line in the legend, and in the note.
LABEL_WIDTH = 24
NOTE_WIDTH = 100
#: Points that are drawn small and faint.
MANY_POINTS = 300
CHART_STYLE: Any = {
    "font.family": "DejaVu Sans",
    "font.size": 12.5,
    "axes.titlesize": 14,
    "axes.titleweight": "bold",
    "axes.titlelocation": "left",
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.axisbelow": True,
    "axes.unicode_minus": True,
    "grid.color": "#DDDDDD",
    "grid.linewidth": 0.8,
    "legend.frameon": False,
    "legend.fontsize": 11.5,
    "legend.handlelength": 2.6,
    "lines.linewidth": 2.2,
    "lines.markersize": 6.5,
    "text.parse_math": False,  # a dollar in a name is a dollar
    "svg.hashsalt": "linfit",
    "svg.fonttype": "path",
    "path.simplify": True,
}
#: Inches of a line of the legend, and of the gap between entries.
LEGEND_LINE = 0.19
LEGEND_GAP = 0.11
#: Inches that the legend has; a longer one is written smaller.
LEGEND_HEIGHT = 3.9
#: The height of the strip's margin and of one of its rows, as shares of the axes below.
STRIP_HEIGHTS = (0.04, 0.045)


def save_chart(chart: Chart, folder: Path) -> list[Path]:
    """Write a chart as PNG and SVG, named after it, and return the files."""
    with use_chart_style():
        figure = draw_chart(chart)
        figure.dpi = DPI
        figure.draw_without_rendering()
        # The layout is done: savefig would repeat it for each file.
        figure.set_layout_engine("none")
        files = [folder / f"{chart.name}.png", folder / f"{chart.name}.svg"]
        agg: Any = FigureCanvasAgg(figure)
        svg: Any = FigureCanvasSVG(figure)
        with write_atomically(files[0]) as png_file, write_atomically(files[1]) as svg_file:
            agg.print_png(png_file, metadata={"Software": None})
            svg.print_svg(svg_file, metadata={"Date": None, "Creator": None})
    return files


@contextmanager
def use_chart_style() -> Iterator[None]:
    """Have linfit's settings of matplotlib, and afterwards the user's again."""
    with matplotlib.rc_context(), warnings.catch_warnings():
        matplotlib.rcdefaults()
        matplotlib.rcParams.update(CHART_STYLE)
        # A name may be in a script that the font lacks.
        warnings.filterwarnings("ignore", message="Glyph .* missing from font")
        yield


def draw_chart(chart: Chart) -> Figure:
    """Return the chart as a figure with an Agg canvas."""
    tight = ConstrainedLayoutEngine(h_pad=0.03, hspace=0)
    figure = NotebookFigure(figsize=FIGURE_SIZE, layout=tight if chart.strip else "constrained")
    FigureCanvasAgg(figure)
    axes, strip = _frames(figure, chart)
    (strip or axes).set_title(chart.title, pad=10)
    if chart.surface is not None:
        draw_surface(figure, axes, chart.surface)

    alpha = 0.2 if len(chart.series) < 4 else 0.1
    for number, series in enumerate(chart.series):
        _series(
            axes,
            series,
            number if series.style is None else series.style,
            alpha,
        )
    for mark in chart.marks:
        _mark(axes, mark)
    if strip is not None:
        _strip(strip, chart)

    _axis(axes, chart.x, "x")
    _axis(axes, chart.y, "y")
    if chart.note:
        note = "\n".join(wrap(chart.note, NOTE_WIDTH))
        figure.supxlabel(
            note,
            fontsize=9.5,
            color="#555555",
            x=0.01,
            ha="left",
        )
    _legend(figure, axes)
    return figure


def _frames(figure: Figure, chart: Chart) -> tuple[Axes, Axes | None]:
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


def _strip(axes: Axes, chart: Chart) -> None:
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
        _lines(axes, mark, _mark_look(mark)[0])
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


def choose_look(number: int) -> tuple[str, str, Any]:
    """Return the colour, marker and dashes of a style."""
    return COLORS[number % 8], MARKERS[number % 8], LINE_DASHES[(number + number // 8) % 8]


def _series(axes: Axes, series: Series, number: int, alpha: float) -> None:
    color, marker, _ = choose_look(number)
    _band(axes, series, color, alpha)
    axes.plot(
        series.x,
        series.y,
        label=series.label or "_",
        **_line_look(series, number),
    )
    if series.kind == "path" and len(series.x):
        axes.plot(
            series.x[:1],
            series.y[:1],
            "o",
            color=color,
            markersize=10,
            markerfacecolor="none",
            markeredgewidth=1.8,
            zorder=4,
        )
    if series.kind == "path" and len(series.x) and not series.leaves_picture:
        axes.plot(
            series.x[-1:],
            series.y[-1:],
            marker,
            color=color,
            markersize=8.5,
            markeredgecolor="white",
            zorder=4,
        )


def _band(axes: Axes, series: Series, color: str, alpha: float) -> None:
    """Draw the band between `low` and `high` if there is one."""
    if series.low is None or series.high is None:
        return
    band = (series.x, series.low, series.high)
    step: Any = "post" if series.kind == "stairs" else None
    axes.fill_between(*band, color=color, alpha=alpha, linewidth=0, step=step)
    if np.isfinite(series.y).sum() == 1:  # a band of one point has no width
        axes.vlines(*band, color=color, linewidth=5, alpha=3 * alpha)


def _line_look(series: Series, number: int) -> dict[str, Any]:
    """Return matplotlib's properties of a series in a style."""
    color, marker, dashes = choose_look(number)
    width = LINE_WIDTHS[number % 8]
    common = {"color": color, "linewidth": width, "linestyle": dashes}
    if series.kind == "line":
        # Lines that coincide each show some of their markers.
        every = max(1, -(-len(series.x) // MOST_MARKERS))
        shifted = (number % every, every)
        return {
            **common,
            "marker": marker,
            "markevery": shifted,
            "markeredgecolor": "white",
        }
    if series.kind == "points":
        size = {"alpha": 0.6} if len(series.x) < MANY_POINTS else {"alpha": 0.35, "markersize": 4}
        return {
            **common,
            "linestyle": "",
            "marker": "o",
            "markeredgewidth": 0,
            **size,
        }
    if series.kind == "path":
        recorded = find_recorded_points(series).tolist()
        small = {
            "markersize": 3.5,
            "linewidth": 0.75 * width,
            "markeredgewidth": 0,
        }
        return {
            **common,
            "marker": marker,
            "markevery": recorded,
            **small,
        }
    if series.kind == "stairs":
        return {**common, "drawstyle": "steps-post"}
    if series.kind == "predicted":
        return {
            "linestyle": (0, (2, 1.5)),
            "color": "#333333",
            "linewidth": 1.6,
        }
    return common


def _mark_look(mark: Mark) -> tuple[str, str]:
    """Return the colour and the marker of a mark."""
    if mark.style is None:
        return "#222222", ""
    color, marker, _ = choose_look(mark.style)
    return color, marker


def _mark(axes: Axes, mark: Mark) -> None:
    color, marker = _mark_look(mark)
    if mark.y is None:
        _lines(
            axes,
            mark,
            color,
            marker=marker,
            markevery=[1],
            markersize=6,
            label=mark.label,
            clip_on=False,
        )
        return
    axes.plot(
        [mark.x],
        [mark.y],
        "*",
        color=color,
        markersize=15,
        markeredgecolor="white",
        label=mark.label,
        zorder=5,
    )


def _lines(axes: Axes, mark: Mark, color: str, **more: Any) -> None:
    """Draw the line of a mark, or the two ends of its range."""
    dotted = {
        "color": color,
        "linewidth": 1.6,
        "linestyle": (0, (1, 1)),
        **more,
    }
    transform = axes.get_xaxis_transform()
    if mark.to is not None:
        axes.axvspan(mark.x, mark.to, color=color, alpha=0.12, linewidth=0)
    axes.plot([mark.x, mark.x], [0, 1], transform=transform, **dotted)
    if mark.to is not None:
        axes.plot(
            [mark.to, mark.to],
            [0, 1],
            transform=transform,
            **{**dotted, "label": "_"},
        )


def _axis(axes: Axes, axis: ChartAxis, which: str) -> None:
    """Set the label, scale, ticks and limits of the axis `x` or `y`."""
    shown = getattr(axes, f"{which}axis")
    getattr(axes, f"set_{which}label")(axis.label)
    if axis.names:
        _name_categories(shown, axis.names, which)
        return
    if axis.scale != "linear":
        getattr(axes, f"set_{which}scale")("log")
        low, high = getattr(axes, f"get_{which}lim")()
        if axis.scale == "steps":
            places = choose_step_ticks(high)
            texts = name_steps(places)
        else:
            places = choose_ticks(low, high, axis.ticks)
            texts = name_ticks(places)
        if which == "x" and places:
            texts = hide_overlaps(places, texts, count_decades(low, high))
        shown.set_major_locator(FixedLocator(places))
        shown.set_major_formatter(FixedFormatter(texts))
        shown.set_minor_locator(NullLocator())
    if axis.limits is not None:
        getattr(axes, f"set_{which}lim")(*axis.limits)


def _name_categories(shown: Any, categories: tuple[str, ...], which: str) -> None:
    """Name as many of an axis' categories as there is room for, evenly."""
    letters = max(map(len, categories)) + 1 if which == "x" else 3
    every = max(1, -(-len(categories) * letters // MOST_TICK_LETTERS))
    shown.set_major_locator(FixedLocator(list(range(0, len(categories), every))))
    shown.set_major_formatter(FuncFormatter(lambda place, _: categories[round(place)]))


def _legend(figure: Figure, axes: Axes) -> None:
    """Draw the legend beside the axes, where it covers nothing, if it tells something apart."""
    handles, labels = axes.get_legend_handles_labels()
    if len(labels) < 2 and not any(label.startswith("largest") for label in labels):
        return
    texts = []
    inches = 0.0
    for label in labels:
        lines = wrap(label, LABEL_WIDTH, max_lines=3, placeholder=" …")
        texts.append("\n".join(lines))
        inches += LEGEND_LINE * max(1, len(lines)) + LEGEND_GAP
    size = CHART_STYLE["legend.fontsize"] * min(1, LEGEND_HEIGHT / inches)
    figure.legend(
        handles,
        texts,
        loc="outside right upper",
        labelspacing=0.7,
        fontsize=size,
    )
