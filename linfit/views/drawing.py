"""Draws charts with matplotlib, in one style: readable at the size of a thumbnail, and without telling colours apart.

Figures are made through matplotlib's objects, never through pyplot, whose figures are global. The same chart gives the same bytes.
"""

from __future__ import annotations

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
from matplotlib.colors import LogNorm
from matplotlib.figure import Figure
from matplotlib.ticker import FixedLocator, FuncFormatter, LogLocator, NullFormatter, NullLocator

from linfit.views.charts import STEP_ZERO, Axis, Chart, Mark, Series, Surface

#: Okabe and Ito's colours ("Color Universal Design", 2008) without yellow, which is faint on white.
COLORS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#56B4E9", "#E69F00", "#000000", "#7F7F7F")
MARKERS = ("o", "s", "^", "D", "v", "P", "X", "*")
DASHES = (
    "-",
    (0, (5, 1.5)),
    (0, (1.2, 1.2)),
    (0, (5, 1.5, 1.2, 1.5)),
    (0, (8, 2)),
    (0, (3, 1, 1, 1, 1, 1)),
    (0, (2, 2)),
    (0, (8, 2, 2, 2)),
)
SIZE, DPI, MOST_MARKERS, MOST_LABELS, LABEL_WIDTH = (7.2, 4.5), 110, 12, 12, 24
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
SUPERSCRIPTS = str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹")


def save(chart: Chart, folder: Path) -> list[Path]:
    """Writes a chart as PNG and SVG, named after it, and returns the files."""
    with style():
        figure = draw(chart)
        figure.draw_without_rendering()
        figure.set_layout_engine("none")  # it is laid out: once is enough
        files = [folder / f"{chart.name}.png", folder / f"{chart.name}.svg"]
        figure.savefig(files[0], dpi=DPI, metadata={"Software": None})
        figure.savefig(files[1], metadata={"Date": None, "Creator": None})
    return files


@contextmanager
def style() -> Iterator[None]:
    """matplotlib's settings as linfit has them, whatever the user's are, and afterwards as they were."""
    with matplotlib.rc_context(), warnings.catch_warnings():
        matplotlib.rcdefaults()
        matplotlib.rcParams.update(STYLE)
        warnings.filterwarnings("ignore", message="Glyph .* missing from font")  # of a name in a script that the font lacks
        yield


def draw(chart: Chart) -> Figure:
    """The chart as a figure with an Agg canvas."""
    figure = Figure(figsize=SIZE, layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.add_subplot()
    axes.set_title(chart.title, pad=10)
    if chart.surface is not None:
        _surface(figure, axes, chart.surface)
    for number, series in enumerate(chart.series):
        _series(axes, series, number if series.style is None else series.style, 0.2 if len(chart.series) < 4 else 0.1)
    for mark in chart.marks:
        _mark(axes, mark)
    _axis(axes, chart.x, "x")
    _axis(axes, chart.y, "y")
    if chart.note:
        figure.supxlabel(chart.note, fontsize=9.5, color="#555555", x=0.01, ha="left")
    _legend(figure, axes)
    return figure


def _series(axes: Axes, series: Series, number: int, alpha: float) -> None:
    color, marker, dashes = COLORS[number % 8], MARKERS[number % 8], DASHES[(number + number // 8) % 8]
    if series.low is not None and series.high is not None:
        axes.fill_between(
            series.x, series.low, series.high, color=color, alpha=alpha, linewidth=0, step="post" if series.kind == "stairs" else None
        )
    every = max(1, -(-len(series.x) // MOST_MARKERS))
    looks: dict[str, dict[str, Any]] = {
        "line": {"linestyle": dashes, "marker": marker, "markevery": every, "markeredgecolor": "white"},
        "points": {"linestyle": "", "marker": "o", "alpha": 0.6, "markersize": 6, "markeredgewidth": 0},
        "stairs": {"linestyle": dashes, "drawstyle": "steps-post"},
        "path": {"linestyle": dashes, "marker": marker, "markersize": 4.5, "linewidth": 1.6, "markeredgecolor": "white"},
        "plain": {"linestyle": dashes},
        "predicted": {"linestyle": (0, (2, 1.5)), "color": "#333333", "linewidth": 1.6},
        "crosses": {"linestyle": "", "marker": "x", "markersize": 7, "markeredgewidth": 2},
    }
    axes.plot(series.x, series.y, label=series.label or "_", **{"color": color, **looks[series.kind]})


def _mark(axes: Axes, mark: Mark) -> None:
    color = "#222222" if mark.style is None else COLORS[mark.style % 8]
    if mark.y is not None:
        axes.plot([mark.x], [mark.y], "*", color=color, markersize=15, markeredgecolor="white", label=mark.label, zorder=5)
        return
    axes.axvline(mark.x, color=color, linewidth=1.6, linestyle=(0, (1, 1)), label=mark.label)


def _surface(figure: Figure, axes: Axes, surface: Surface) -> None:
    axes.grid(False)
    values = np.ma.masked_invalid(surface.z)
    low, high = (float(values.min()), float(values.max())) if values.count() else (1.0, 10.0)
    norm = LogNorm(low, max(high, low * 1.01))
    if surface.kind == "contours":
        levels = np.geomspace(norm.vmin or 1, norm.vmax or 10, 14)
        axes.contourf(surface.x, surface.y, values, levels, norm=norm, cmap="Greys", alpha=0.25, extend="both")
        axes.contour(surface.x, surface.y, values, levels, norm=norm, colors="#AAAAAA", linewidths=0.6)
        return
    mesh = axes.pcolormesh(np.arange(len(surface.x)), np.arange(len(surface.y)), values, norm=norm, cmap="cividis")
    axes.set_facecolor("#EEEEEE")
    bar = figure.colorbar(mesh, ax=axes, label=surface.label)
    bar.ax.yaxis.set_major_formatter(FuncFormatter(_power))
    bar.ax.yaxis.set_minor_formatter(NullFormatter())
    for i, row in enumerate(surface.texts):
        for j, text in enumerate(row):
            dark = not values.mask.all() and values[i, j] is not np.ma.masked and norm(values[i, j]) < 0.5
            axes.text(j, i, text, ha="center", va="center", fontsize=9.5, color="white" if dark else "#222222")


def _axis(axes: Axes, axis: Axis, which: str) -> None:
    shown = getattr(axes, f"{which}axis")
    getattr(axes, f"set_{which}label")(axis.label)
    if axis.names:
        every = max(1, -(-len(axis.names) // MOST_LABELS))
        shown.set_major_locator(FixedLocator(list(range(0, len(axis.names), every))))
        shown.set_major_formatter(FuncFormatter(lambda place, _: axis.names[round(place)]))
        return
    if axis.scale != "linear":
        getattr(axes, f"set_{which}scale")("log")
        low, high = getattr(axes, f"get_{which}lim")()
        shown.set_major_locator(LogLocator(subs=(1, 2, 5) if high < 200 * low else (1,), numticks=8))
        shown.set_major_formatter(FuncFormatter(_power))
        shown.set_minor_locator(NullLocator())
    if axis.scale == "steps":
        last = getattr(axes, f"get_{which}lim")()[1]
        ticks = [STEP_ZERO, *10.0 ** np.arange(0, np.ceil(np.log10(max(last, 1))) + 1)]
        shown.set_major_locator(FixedLocator([tick for tick in ticks if tick <= last * 1.05]))
        shown.set_major_formatter(FuncFormatter(lambda step, _: "0" if step < 1 else f"{step:,.0f}" if step < 1e5 else _power(step)))
    if axis.limits is not None:
        getattr(axes, f"set_{which}lim")(*axis.limits)


def _power(value: float, place: object = None) -> str:
    """A tick of a logarithmic axis without mathematical typesetting: 10⁻³, or 0.02 between powers."""
    exponent = np.log10(value) if value > 0 else 0.0
    if abs(exponent - round(exponent)) > 1e-6:
        return f"{value:.3g}"
    if -3 < round(exponent) < 4:
        return f"{value:g}"
    return "10" + str(round(exponent)).translate(SUPERSCRIPTS)


def _legend(figure: Figure, axes: Axes) -> None:
    """Beside the axes, where it covers nothing; left out where there is nothing to tell apart."""
    handles, labels = axes.get_legend_handles_labels()
    if len(labels) > 1 or any(label.startswith("largest") for label in labels):
        labels = ["\n".join(wrap(label, LABEL_WIDTH, max_lines=3, placeholder=" …")) for label in labels]
        figure.legend(handles, labels, loc="outside right upper", labelspacing=0.7)
