"""Draw the series and marks of a chart with matplotlib."""

from __future__ import annotations

import linfit.views.charts.drawing.plain_matplotlib  # noqa: F401 - before all others

# isort: split
from typing import Any

import numpy as np
from matplotlib.axes import Axes

from linfit.views.charts.chart import Mark, Series, find_recorded_points
from linfit.views.charts.drawing.looks import FEW_THREADS, INK, LINE_WIDTHS, choose_look

MOST_MARKERS = 12
#: Points that are drawn small and faint.
MANY_POINTS = 300


def draw_series(axes: Axes, series: Series, number: int, alpha: float) -> None:
    """Draw a series in a style, with its band or its ends."""
    color, marker, _ = choose_look(number)
    color = series.color or color
    if series.kind == "interval":
        _interval(axes, series, color, marker)
        return
    if series.kind == "texts":
        for x, y, text in zip(series.x, series.y, series.texts, strict=True):
            axes.text(x, y, text, ha="center", va="center", fontsize=9.5, color=INK)
        return
    if series.kind == "bars":
        axes.barh(series.y, series.x, height=0.6, color=color, label=series.label or "_")
        return
    if series.kind == "whiskers":
        assert series.low is not None and series.high is not None
        axes.vlines(series.x, series.low, series.high, color=color, linewidth=2, alpha=0.5)
    else:
        _band(axes, series, color, alpha)
    axes.plot(
        series.x,
        series.y,
        label=series.label or "_",
        **(_line_look(series, number) | ({"color": color} if series.color else {})),
    )
    if series.kind == "path" and len(series.x):
        _ends(axes, series, color, marker)


def _ends(axes: Axes, series: Series, color: str, marker: str) -> None:
    """Draw a ring where a path starts, and a large marker where it ends."""
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
    if series.leaves_picture:
        return
    axes.plot(
        series.x[-1:],
        series.y[-1:],
        marker,
        color=color,
        markersize=8.5,
        markeredgecolor="white",
        zorder=4,
    )


def _interval(axes: Axes, series: Series, color: str, marker: str) -> None:
    """Draw intervals that lie across, each with its mark."""
    if series.low is not None and series.high is not None:
        axes.hlines(series.y, series.low, series.high, color=color, linewidth=6, alpha=0.35)
    axes.plot(
        series.x,
        series.y,
        marker,
        color=color,
        markersize=10,
        markeredgecolor="white",
        label=series.label or "_",
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
        return {**common, "markeredgecolor": "white", **_markers(series, number, marker)}
    if series.kind in ("points", "hollow", "whiskers"):
        return {**common, "linestyle": "", **_point_look(series, marker)}
    if series.kind == "path":
        return {
            **common,
            "marker": marker,
            "markevery": find_recorded_points(series).tolist(),
            "markersize": 3.5,
            "linewidth": 0.75 * width,
            "markeredgewidth": 0,
        }
    if series.kind == "stairs":
        return {**common, "drawstyle": "steps-post"}
    if series.kind == "threads":
        few = np.isnan(series.x).sum() <= FEW_THREADS
        return {"color": color, "linewidth": 1.8 if few else 0.8, "alpha": 0.8 if few else 0.5}
    if series.kind == "predicted":
        return {
            "linestyle": (0, (2, 1.5)),
            "color": "#333333",
            "linewidth": 1.6,
            "zorder": 3,
        }
    return common


def _markers(series: Series, number: int, marker: str) -> dict[str, Any]:
    """Return the markers of a line: some that show it among others, or one at each point."""
    if series.is_sparse:
        return {"marker": marker, "markersize": 4.5, "markeredgewidth": 0.4}
    # Lines that coincide each show some of their markers.
    every = max(1, -(-len(series.x) // MOST_MARKERS))
    return {"marker": marker, "markevery": (number % every, every)}


def _point_look(series: Series, marker: str) -> dict[str, Any]:
    few = len(series.x) < MANY_POINTS
    if series.kind == "hollow":
        return {
            "marker": marker,
            "markerfacecolor": "none",
            "markeredgewidth": 1.2,
            "markersize": 6 if few else 4,
        }
    size = {"alpha": 0.6} if few else {"alpha": 0.35, "markersize": 4}
    return {"marker": marker, "markeredgewidth": 0, **size}


def draw_mark(axes: Axes, mark: Mark) -> None:
    """Draw a line from bottom to top, a range, or a star."""
    color, marker = choose_mark_look(mark)
    if mark.y is None:
        draw_mark_lines(
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


def choose_mark_look(mark: Mark) -> tuple[str, str]:
    """Return the colour and the marker of a mark."""
    if mark.style is None:
        return INK, ""
    color, marker, _ = choose_look(mark.style)
    return color, marker


def draw_mark_lines(axes: Axes, mark: Mark, color: str, **more: Any) -> None:
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
