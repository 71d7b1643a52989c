"""Charts for Plotly in the report: plain data, so the page needs Plotly and Python does not."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from linfit.problem.types import Array
from linfit.views.charts.chart import (
    STEP_ZERO,
    Chart,
    ChartAxis,
    Mark,
    Series,
    Surface,
    arrange_strip,
    find_recorded_points,
)
from linfit.views.charts.matplotlib_charts import COLORS
from linfit.views.charts.surfaces import CONTOUR_COLOR, GROUND_COLORS, choose_levels
from linfit.views.charts.ticks import (
    FEW_DECADES,
    MANY_DECADES,
    MOST_AXIS_TICKS,
    choose_ticks,
    count_decades,
    name_steps,
)
from linfit.views.charts.ticks import name_ticks as ticks_names

PLOTLY_DASHES = (
    "solid",
    "dash",
    "dot",
    "dashdot",
    "longdash",
    "longdashdot",
    "10px,3px,2px,3px",
    "2px,4px",
)
PLOTLY_SYMBOLS = (
    "circle",
    "square",
    "triangle-up",
    "diamond",
    "triangle-down",
    "cross",
    "x",
    "star",
)
PLOTLY_MODES = {
    "points": "markers",
    "stairs": "lines",
    "plain": "lines",
    "predicted": "lines",
}
INK = "#222222"
#: The axis of the strip above.
STRIP_AXIS = "y2"
#: The axis of the marks, which run from bottom to top.
MARKS_AXIS = "y3"
#: A row of the strip, as a share of the height.
STRIP_ROW = 0.05


def convert_to_plotly(chart: Chart) -> dict[str, Any]:
    """Return traces and layout of a chart for JSON.

    Text is escaped: Plotly reads tags in it.
    """
    traces = [] if chart.surface is None else _surface(chart, chart.surface)
    for number, series in enumerate(chart.series):
        traces += _traces(series, number if series.style is None else series.style)
    traces += [_line(mark) if mark.y is None else _point(mark) for mark in chart.marks]
    places, labels = arrange_strip(chart.strip)
    traces += [_row(series, place) for place, series in zip(places, chart.strip, strict=True)]

    top = 1.0 - (STRIP_ROW * len(chart.strip) + 0.04 if chart.strip else 0.0)
    layout = {
        "xaxis": {**_axis(chart.x, [series.x for series in chart.series]), "anchor": "y"},
        "yaxis": {**_axis(chart.y, [series.y for series in chart.series]), "domain": [0, top]},
        "margin": {
            "t": 20,
            "r": 10,
            "b": 55,
            "l": 70,
        },
        "legend": {
            "orientation": "h",
            "yref": "container",
            "y": 0,
            "yanchor": "bottom",
            "maxheight": 0.3,
            "font": {"size": 11},
        },
        "plot_bgcolor": "#EEEEEE" if chart.x.names else "white",
        "font": {"size": 13},
        "hovermode": "closest",
    }
    hidden = {"fixedrange": True, "zeroline": False, "showgrid": False}
    if any(mark.y is None for mark in chart.marks):
        layout["yaxis3"] = {
            **hidden,
            "overlaying": "y",
            "range": [0, 1],
            "visible": False,
        }
    if chart.strip:
        names = {
            "tickvals": list(labels.values()),
            "ticktext": list(labels),
            "automargin": True,
        }
        limits = {"domain": [top + 0.02, 1], "range": [places[-1] + 0.7, -0.7]}
        layout["yaxis2"] = {**hidden, **names, **limits}
    return {"data": traces, "layout": layout}


def escape_tags(text: str) -> str:
    """Escape text so that Plotly shows it unchanged."""
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")


def round_values(array: ArrayLike) -> list[float | None]:
    """Return numbers for JSON.

    Null unless finite, with the digits that a picture shows.
    """
    numbers = np.asarray(array, dtype=float).tolist()
    return [float(f"{number:.6g}") if np.isfinite(number) else None for number in numbers]


def _traces(series: Series, number: int) -> list[dict[str, Any]]:
    """Return the traces of a series in a style: its line, with its band or its ends."""
    color = COLORS[number % 8]
    group = f"{series.label}{number}"
    common = {"type": "scatter", "x": round_values(series.x), "legendgroup": group}
    marker = {"color": color, "symbol": PLOTLY_SYMBOLS[number % 8], "size": 6}
    dashes = PLOTLY_DASHES[(number + number // 8) % 8]
    main: dict[str, Any] = {
        **common,
        "y": round_values(series.y),
        "name": escape_tags(series.label),
        "mode": PLOTLY_MODES.get(series.kind, "lines+markers"),
        "line": {
            "color": color,
            "width": 2,
            "dash": "dot" if series.kind == "predicted" else dashes,
            "shape": "hv" if series.kind == "stairs" else "linear",
        },
        "marker": marker,
        "showlegend": bool(series.label),
    }
    if series.kind == "path":
        sizes = np.zeros(len(series.x), int)
        sizes[find_recorded_points(series)] = 6
        main["marker"] = {
            **marker,
            "size": sizes.tolist(),
            "opacity": 1,
            "line": {"width": 0},
        }
        return [main, *_ends(series, number, group)]
    if series.low is None or series.high is None:
        return [main]

    if np.isfinite(series.y).sum() == 1:  # a band of one point has no width
        main["error_y"] = {
            "array": round_values(np.abs(series.high - series.y)),
            "arrayminus": round_values(np.abs(series.low - series.y)),
            "symmetric": False,
            "color": color,
            "width": 0,
        }
        return [main]
    hidden = {
        "mode": "lines",
        "line": {"width": 0},
        "showlegend": False,
        "hoverinfo": "skip",
    }
    band = {"fill": "tonexty", "fillcolor": make_transparent(color)}
    low = {**common, **hidden, "y": round_values(series.low)}
    high = {
        **common,
        **hidden,
        "y": round_values(series.high),
        **band,
    }
    return [low, high, main]


def _ends(series: Series, number: int, group: str) -> list[dict[str, Any]]:
    """Return a ring where a path starts, and a large marker where it ends."""
    color = COLORS[number % 8]
    common = {
        "type": "scatter",
        "mode": "markers",
        "legendgroup": group,
        "showlegend": False,
    }
    name = escape_tags(series.label)
    start = {
        **common,
        "x": round_values(series.x[:1]),
        "y": round_values(series.y[:1]),
        "name": f"{name}: start",
        "marker": {
            "color": color,
            "symbol": "circle-open",
            "size": 12,
            "line": {"width": 2},
        },
    }
    if series.leaves_picture:
        return [start]
    end = {
        **common,
        "x": round_values(series.x[-1:]),
        "y": round_values(series.y[-1:]),
        "name": f"{name}: end",
        "marker": {"color": color, "symbol": PLOTLY_SYMBOLS[number % 8], "size": 11},
    }
    return [start, end]


def _surface(chart: Chart, surface: Surface) -> list[dict[str, Any]]:
    with np.errstate(divide="ignore", invalid="ignore"):
        logs = np.log10(surface.z)
    if surface.kind == "contours":
        return _contours(surface, logs)
    return _cells(chart, surface, logs)


def _contours(surface: Surface, logs: Array) -> list[dict[str, Any]]:
    at = np.log10(choose_levels(surface))
    if len(at) < 2:  # flat
        return []
    look = {
        "coloring": "fill",
        "start": float(at[0]),
        "end": float(at[-1]),
        "size": 0.5,
    }
    contours = {
        "type": "contour",
        "x": round_values(surface.x),
        "y": round_values(surface.y),
        "z": [round_values(row) for row in logs],
        "contours": look,
        "colorbar": _bar(surface, logs),
        "colorscale": [[0, GROUND_COLORS[0]], [1, GROUND_COLORS[1]]],
        "line": {"color": CONTOUR_COLOR, "width": 0.7},
        "hoverinfo": "skip",
    }
    return [contours]


def _cells(chart: Chart, surface: Surface, logs: Array) -> list[dict[str, Any]]:
    columns = [escape_tags(name) for name in chart.x.names]
    rows = [escape_tags(name) for name in chart.y.names]
    pointed = []
    for sizes, counts in zip(surface.z.tolist(), surface.counts, strict=True):
        pointed.append([[_size(size), count] for size, count in zip(sizes, counts, strict=True)])
    cells = {
        "type": "heatmap",
        "x": columns,
        "y": rows,
        "z": [round_values(row) for row in logs],
        "text": [[text.replace("\n", "<br>") for text in row] for row in surface.texts],
        "texttemplate": "%{text}" if surface.texts else "",
        "customdata": pointed,
        "hovertemplate": "%{x}, %{y}: %{customdata[0]}<br>%{customdata[1]}<extra></extra>",
        "hoverongaps": False,
        "colorscale": "Cividis",
        "colorbar": _bar(surface, logs),
    }
    if surface.texts or surface.lost_shares is None:
        return [cells]
    return [cells, *_signs(surface.lost_shares, columns, rows)]


def _size(value: float) -> str:
    return f"{value:.3g}" if np.isfinite(value) else "none finished"


def _bar(surface: Surface, logs: Array) -> dict[str, Any]:
    """Return the colour bar of a surface, whose values are logarithms."""
    found = logs[np.isfinite(logs)]
    if not len(found):
        return {}
    places = choose_ticks(10.0 ** float(found.min()), 10.0 ** float(found.max()))
    return {
        "title": {"text": surface.label, "side": "right"},
        "tickvals": round_values(np.log10(places)),
        "ticktext": ticks_names(places),
    }


def _signs(lost: Array, columns: Sequence[str], rows: Sequence[str]) -> list[dict[str, Any]]:
    """Return a sign in each cell that lost some of its fits, or all."""
    traces = []
    signs = (
        ("line-ne-open", "white", (lost > 0) & (lost < 1)),
        ("x-thin-open", "#777777", lost == 1),
    )
    for symbol, color, which in signs:
        if which.any():
            up, across = np.nonzero(which)
            trace = {
                "type": "scatter",
                "mode": "markers",
                "showlegend": False,
                "hoverinfo": "skip",
                "x": [columns[j] for j in across.tolist()],
                "y": [rows[i] for i in up.tolist()],
                "marker": {"symbol": symbol, "size": 7, "color": color},
            }
            traces.append(trace)
    return traces


def _point(mark: Mark) -> dict[str, Any]:
    return {
        "type": "scatter",
        "mode": "markers",
        "x": [mark.x],
        "y": [mark.y],
        "name": escape_tags(mark.label),
        "marker": {"symbol": "star", "size": 15, "color": INK},
    }


def _line(mark: Mark) -> dict[str, Any]:
    """Return a line from bottom to top, and back down at the other end of a range."""
    color = INK
    symbol = "line-ew"
    if mark.style is not None:
        color = COLORS[mark.style % 8]
        symbol = PLOTLY_SYMBOLS[mark.style % 8]
    x = [mark.x, mark.x]
    y = [0, 1]
    sizes = [0, 8]
    if mark.to is not None:
        x = [*x, mark.to, mark.to]
        y = [0, 1, 1, 0]
        sizes = [0, 8, 8, 0]
    return {
        "type": "scatter",
        "mode": "lines+markers",
        "x": x,
        "y": y,
        "yaxis": MARKS_AXIS,
        "fill": "none" if mark.to is None else "toself",
        "fillcolor": make_transparent(color),
        "line": {"color": color, "dash": "dot", "width": 1.5},
        "marker": {"symbol": symbol, "color": color, "size": sizes},
        "name": escape_tags(mark.label),
        "hovertemplate": "%{x:.4g}",
        "cliponaxis": False,
    }


def _row(series: Series, place: float) -> dict[str, Any]:
    """Return a row of the strip, hollow where less than half were lost."""
    number = series.style or 0
    symbol = PLOTLY_SYMBOLS[number % 8]
    shares = series.y.tolist()
    symbols = [symbol if share >= 0.5 else f"{symbol}-open" for share in shares]
    return {
        "type": "scatter",
        "mode": "markers",
        "x": round_values(series.x),
        "y": [place] * len(series.x),
        "yaxis": STRIP_AXIS,
        "text": [f"{share:.0%} {series.label}" for share in shares],
        "hovertemplate": "%{x:.4g}: %{text}<extra></extra>",
        "marker": {"color": COLORS[number % 8], "symbol": symbols, "size": 8},
        "showlegend": False,
    }


def make_transparent(color: str) -> str:
    """Return a colour `#RRGGBB` that lets most of what is below it through."""
    red, green, blue = bytes.fromhex(color[1:])
    return f"rgba({red},{green},{blue},0.12)"


def _axis(axis: ChartAxis, drawn: Sequence[ArrayLike]) -> dict[str, Any]:
    shown: dict[str, Any] = {
        "title": {"text": escape_tags(axis.label), "standoff": 8},
        "gridcolor": "#DDDDDD",
        "zeroline": False,
        "automargin": True,
    }
    if axis.names:
        return {**shown, "type": "category", "showgrid": False}

    if axis.scale != "linear":
        shown |= {"type": "log", "exponentformat": "power"}
    if axis.scale == "steps":
        places = [STEP_ZERO, *(10.0**power for power in range(10))]
        shown |= {
            "tickmode": "array",
            "tickvals": places,
            "ticktext": name_steps(places),
        }
    elif axis.ticks:
        places = list(axis.ticks)
        shown |= {
            "tickmode": "array",
            "tickvals": places,
            "ticktext": ticks_names(places),
        }
    elif axis.scale == "log":
        shown |= _ticks(_decades(drawn))
    if axis.limits is not None:
        shown["range"] = [float(limit) for limit in axis.limits]
    return shown


def _ticks(decades: float) -> dict[str, Any]:
    """Return ticks at 1, 2, 5, … of few decades, at powers of ten of more.

    Otherwise Plotly chooses them.
    """
    if FEW_DECADES <= decades < MANY_DECADES:
        return {"dtick": "D2"}
    return {"dtick": 1} if MANY_DECADES <= decades < MOST_AXIS_TICKS else {}


def _decades(drawn: Sequence[ArrayLike]) -> float:
    """Return the decades between the smallest and the largest number that is drawn."""
    numbers = np.concatenate([[], *(np.asarray(array, dtype=float) for array in drawn)])
    found = numbers[np.isfinite(numbers) & (numbers > 0)]
    return count_decades(found.min(), found.max()) if len(found) else 0.0
