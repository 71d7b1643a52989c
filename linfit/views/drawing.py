"""Draws charts with matplotlib, in one style: readable at the size of a thumbnail, and without telling colours apart.

Figures are made through matplotlib's objects, never through pyplot, whose figures are global. The same chart gives the same bytes.
"""

from __future__ import annotations

import linfit.views.plain_matplotlib  # noqa: F401 - before all others

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

from linfit.views.charts import Axis, Chart, Mark, Series, find_recorded_points, place_strip
from linfit.views.picture import Picture
from linfit.views.surfaces import draw_surface
from linfit.views.ticks import count_decades, names, step_names, step_ticks, ticks, where_room
from linfit.writing import whole

#: Okabe and Ito's colours ("Color Universal Design", 2008) without yellow, which is faint on white.
COLORS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#56B4E9", "#E69F00", "#000000", "#7F7F7F")
MARKERS = ("o", "s", "^", "D", "v", "P", "X", "*")
DASHES = (
    "-",
    (0, (5, 2.5)),
    (0, (1.4, 1.8)),
    (0, (5, 2, 1.2, 2)),
    (0, (8, 3)),
    (0, (3, 1.5, 1, 1.5, 1, 1.5)),
    (0, (2.5, 2.5)),
    (0, (8, 2, 2, 2)),
)
SIZE, DPI, MOST_MARKERS, MOST_LETTERS, LABEL_WIDTH, NOTE_WIDTH = (7.2, 4.5), 110, 12, 44, 24, 100
#: Points that are drawn small and faint.
MANY = 300
STYLE: Any = {
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
#: Of a legend in inches: a line of text, the gap between entries, and the height that there is; a longer one is written smaller.
LINE, GAP, LEGEND_HEIGHT = 0.19, 0.11, 3.9
#: Of solid lines, and of those that must leave room to see a line below them.
WIDTHS = (2.8, 2.2, 1.7, 2.0, 2.2, 2.0, 2.0, 2.0)
#: The height of the strip's margin and of one of its rows, as shares of the axes below.
STRIP = (0.04, 0.045)


def save(chart: Chart, folder: Path) -> list[Path]:
    """Writes a chart as PNG and SVG, named after it, and returns the files."""
    with style():
        figure = draw(chart)
        figure.dpi = DPI
        figure.draw_without_rendering()
        figure.set_layout_engine(
            "none"
        )  # it is laid out: once is enough, and savefig would go through it once more for each file
        files = [folder / f"{chart.name}.png", folder / f"{chart.name}.svg"]
        with whole(files[0]) as png, whole(files[1]) as svg:
            FigureCanvasAgg(figure).print_png(png, metadata={"Software": None})  # type: ignore[no-untyped-call]
            FigureCanvasSVG(figure).print_svg(svg, metadata={"Date": None, "Creator": None})  # type: ignore[no-untyped-call]
    return files


@contextmanager
def style() -> Iterator[None]:
    """matplotlib's settings as linfit has them, whatever the user's are, and afterwards as they were."""
    with matplotlib.rc_context(), warnings.catch_warnings():
        matplotlib.rcdefaults()
        matplotlib.rcParams.update(STYLE)
        warnings.filterwarnings(
            "ignore", message="Glyph .* missing from font"
        )  # of a name in a script that the font lacks
        yield


def draw(chart: Chart) -> Figure:
    """The chart as a figure with an Agg canvas."""
    figure = Picture(
        figsize=SIZE,
        layout=ConstrainedLayoutEngine(h_pad=0.03, hspace=0) if chart.strip else "constrained",
    )
    FigureCanvasAgg(figure)
    axes, strip = _frames(figure, chart)
    (strip or axes).set_title(chart.title, pad=10)
    if chart.surface is not None:
        draw_surface(figure, axes, chart.surface)
    for number, series in enumerate(chart.series):
        _series(
            axes,
            series,
            number if series.style is None else series.style,
            0.2 if len(chart.series) < 4 else 0.1,
        )
    for mark in chart.marks:
        _mark(axes, mark)
    if strip is not None:
        _strip(strip, chart)
    _axis(axes, chart.x, "x")
    _axis(axes, chart.y, "y")
    if chart.note:
        note = "\n".join(wrap(chart.note, NOTE_WIDTH))
        figure.supxlabel(note, fontsize=9.5, color="#555555", x=0.01, ha="left")
    _legend(figure, axes)
    return figure


def _frames(figure: Figure, chart: Chart) -> tuple[Axes, Axes | None]:
    """The axes, and above them those of the strip if there is one."""
    if not chart.strip:
        return figure.add_subplot(), None
    height = STRIP[0] + STRIP[1] * len(chart.strip)
    strip, axes = figure.subplots(2, 1, sharex=True, height_ratios=(height, 1))
    return axes, strip


def _strip(axes: Axes, chart: Chart) -> None:
    """A row for each series, the first on top, hollow where less than half were lost."""
    rows = chart.strip
    axes.set_facecolor("#F3F3F3")
    places, told = place_strip(rows)
    axes.set_ylim(places[-1] + 0.7, -0.7)
    axes.set_yticks(list(told.values()), list(told))
    axes.tick_params(axis="both", which="both", length=0, labelbottom=False)
    axes.grid(False, axis="y")
    for side in ("left", "bottom"):
        axes.spines[side].set_visible(False)
    for mark in chart.marks:
        _lines(axes, mark, "#222222" if mark.style is None else look(mark.style)[0])
    for number, (place, row) in enumerate(zip(places, rows, strict=True)):
        color, marker, _ = look(number if row.style is None else row.style)
        for filled in (False, True):
            x = row.x[(row.y >= 0.5) == filled]
            axes.plot(
                x,
                np.full(len(x), place),
                marker,
                color=color,
                markerfacecolor=color if filled else "white",
                markeredgewidth=1.3,
                zorder=3,
            )


def look(number: int) -> tuple[str, str, Any]:
    """The colour, marker and dashes of a style."""
    return COLORS[number % 8], MARKERS[number % 8], DASHES[(number + number // 8) % 8]


def _series(axes: Axes, series: Series, number: int, alpha: float) -> None:
    color, marker, dashes = look(number)
    if series.low is not None and series.high is not None:
        axes.fill_between(
            series.x,
            series.low,
            series.high,
            color=color,
            alpha=alpha,
            linewidth=0,
            step="post" if series.kind == "stairs" else None,
        )
        if np.isfinite(series.y).sum() == 1:  # a band of one point has no width
            axes.vlines(
                series.x, series.low, series.high, color=color, linewidth=5, alpha=3 * alpha
            )
    every = max(1, -(-len(series.x) // MOST_MARKERS))
    shifted = (number % every, every)  # of lines that coincide each shows some of its markers
    looks: dict[str, dict[str, Any]] = {
        "line": {
            "linestyle": dashes,
            "marker": marker,
            "markevery": shifted,
            "markeredgecolor": "white",
        },
        "points": {
            "linestyle": "",
            "marker": "o",
            "markeredgewidth": 0,
            **({"alpha": 0.6} if len(series.x) < MANY else {"alpha": 0.35, "markersize": 4}),
        },
        "stairs": {"linestyle": dashes, "drawstyle": "steps-post"},
        "path": {
            "linestyle": dashes,
            "marker": marker,
            "markevery": find_recorded_points(series).tolist(),
            "markersize": 3.5,
            "linewidth": 0.75 * WIDTHS[number % 8],
            "markeredgewidth": 0,
        },
        "plain": {"linestyle": dashes},
        "predicted": {"linestyle": (0, (2, 1.5)), "color": "#333333", "linewidth": 1.6},
    }
    axes.plot(
        series.x,
        series.y,
        label=series.label or "_",
        **{"color": color, "linewidth": WIDTHS[number % 8], **looks[series.kind]},
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
        if not series.leaves:
            axes.plot(
                series.x[-1:],
                series.y[-1:],
                marker,
                color=color,
                markersize=8.5,
                markeredgecolor="white",
                zorder=4,
            )


def _mark(axes: Axes, mark: Mark) -> None:
    color, marker = ("#222222", "") if mark.style is None else look(mark.style)[:2]
    if mark.y is not None:
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
    else:
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


def _lines(axes: Axes, mark: Mark, color: str, **more: Any) -> None:
    """The line of a mark, or the two ends of its range."""
    if mark.to is not None:
        axes.axvspan(mark.x, mark.to, color=color, alpha=0.12, linewidth=0)
    for x, label in ((mark.x, {}), (mark.to, {"label": "_"})):
        if x is not None:
            dotted: dict[str, Any] = {
                "color": color,
                "linewidth": 1.6,
                "linestyle": (0, (1, 1)),
                **more,
                **label,
            }
            axes.plot([x, x], [0, 1], transform=axes.get_xaxis_transform(), **dotted)


def _axis(axes: Axes, axis: Axis, which: str) -> None:
    shown = getattr(axes, f"{which}axis")
    getattr(axes, f"set_{which}label")(axis.label)
    if axis.names:
        letters = max(map(len, axis.names)) + 1 if which == "x" else 3
        every = max(1, -(-len(axis.names) * letters // MOST_LETTERS))
        shown.set_major_locator(FixedLocator(list(range(0, len(axis.names), every))))
        shown.set_major_formatter(FuncFormatter(lambda place, _: axis.names[round(place)]))
        return
    if axis.scale != "linear":
        getattr(axes, f"set_{which}scale")("log")
        low, high = getattr(axes, f"get_{which}lim")()
        steps = axis.scale == "steps"
        places = step_ticks(high) if steps else ticks(low, high, axis.ticks)
        texts = step_names(places) if steps else names(places)
        shown.set_major_locator(FixedLocator(places))
        if which == "x" and places:
            texts = where_room(places, texts, count_decades(low, high))
        shown.set_major_formatter(FixedFormatter(texts))
        shown.set_minor_locator(NullLocator())
    if axis.limits is not None:
        getattr(axes, f"set_{which}lim")(*axis.limits)


def _legend(figure: Figure, axes: Axes) -> None:
    """Beside the axes, where it covers nothing; left out where there is nothing to tell apart."""
    handles, labels = axes.get_legend_handles_labels()
    if len(labels) > 1 or any(label.startswith("largest") for label in labels):
        labels = [
            "\n".join(wrap(label, LABEL_WIDTH, max_lines=3, placeholder=" …")) for label in labels
        ]
        inches = sum(LINE * (1 + label.count("\n")) + GAP for label in labels)
        size = STYLE["legend.fontsize"] * min(1, LEGEND_HEIGHT / inches)
        figure.legend(handles, labels, loc="outside right upper", labelspacing=0.7, fontsize=size)
