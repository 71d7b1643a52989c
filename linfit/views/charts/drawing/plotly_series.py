"""The series and marks of a chart for Plotly, as plain data."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from linfit.problem.types import Array
from linfit.views.charts.chart import Mark, Series, find_recorded_points
from linfit.views.charts.drawing.looks import FEW_THREADS, INK, choose_plotly_look

PLOTLY_MODES = {
    "points": "markers",
    "hollow": "markers",
    "stairs": "lines",
    "plain": "lines",
    "predicted": "lines",
    "threads": "lines",
    "interval": "markers",
    "whiskers": "markers",
    "texts": "text",
}
#: The axis of the strip above.
STRIP_AXIS = "y2"
#: The axis of the marks, which run from bottom to top.
MARKS_AXIS = "y3"


def escape_tags(text: str) -> str:
    """Escape text so that Plotly shows it unchanged."""
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")


def round_values(array: ArrayLike) -> list[float | None]:
    """Return numbers for JSON.

    Null unless finite, with the digits that a picture shows.
    """
    numbers = np.asarray(array, dtype=float).tolist()
    return [float(f"{number:.6g}") if np.isfinite(number) else None for number in numbers]


def convert_series(series: Series, number: int) -> list[dict[str, Any]]:
    """Return the traces of a series in a style: its line, with its band or its ends."""
    color, symbol, dashes = choose_plotly_look(number)
    color = series.color or color
    group = f"{series.label}{number}"
    common = {"type": "scatter", "x": round_values(series.x), "legendgroup": group}
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
        "marker": {"color": color, "symbol": symbol, "size": 6},
        "showlegend": bool(series.label),
        **({"text": [escape_tags(text) for text in series.texts]} if series.texts else {}),
    }
    if series.kind == "path":
        return [_path(main, series), *_ends(series, number, group)]
    if series.kind == "threads":
        width = 2 if np.isnan(series.x).sum() <= FEW_THREADS else 1
        return [main | {"line": {"color": color, "width": width}, "opacity": 0.6}]
    if series.kind == "bars":
        return [_bars(main, color)]
    if series.kind == "interval":
        main["marker"]["size"] = 11
    if series.kind == "hollow":
        main["marker"]["symbol"] = f"{symbol}-open"
    if series.low is None or series.high is None:
        return [main]
    if series.kind == "interval":
        return [main | {"error_x": _reach(series.x, series.low, series.high, color, 4)}]
    is_point = np.isfinite(series.y).sum() == 1  # a band of one point has no width
    if is_point or series.kind == "whiskers":
        return [main | {"error_y": _reach(series.y, series.low, series.high, color, 2)}]
    return [*_band(common, series.low, series.high, color), main]


def _path(main: dict[str, Any], series: Series) -> dict[str, Any]:
    """Return the trace of a path with markers at its recorded points."""
    sizes = np.zeros(len(series.x), int)
    sizes[find_recorded_points(series)] = 6
    marker = {"size": sizes.tolist(), "opacity": 1, "line": {"width": 0}}
    return main | {"marker": main["marker"] | marker}


def _bars(main: dict[str, Any], color: str) -> dict[str, Any]:
    """Return the trace of bars that lie across."""
    return {
        "type": "bar",
        "orientation": "h",
        **{key: main[key] for key in ("x", "y", "name", "showlegend")},
        "width": 0.6,
        "marker": {"color": color},
        "hovertemplate": "%{x:.3g}<extra></extra>",
    }


def _reach(middle: Array, low: Array, high: Array, color: str, thickness: float) -> dict[str, Any]:
    """Return the bars from `low` to `high` around each point."""
    return {
        "array": round_values(np.abs(high - middle)),
        "arrayminus": round_values(np.abs(low - middle)),
        "symmetric": False,
        "color": color,
        "thickness": thickness,
        "width": 0,
    }


def _band(common: dict[str, Any], low: Array, high: Array, color: str) -> list[dict[str, Any]]:
    """Return the traces of the band between `low` and `high`."""
    hidden = {
        **common,
        "mode": "lines",
        "line": {"width": 0},
        "showlegend": False,
        "hoverinfo": "skip",
    }
    band = {"fill": "tonexty", "fillcolor": make_transparent(color)}
    return [{**hidden, "y": round_values(low)}, {**hidden, "y": round_values(high), **band}]


def _ends(series: Series, number: int, group: str) -> list[dict[str, Any]]:
    """Return a ring where a path starts, and a large marker where it ends."""
    color, symbol, _ = choose_plotly_look(number)
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
        "marker": {"color": color, "symbol": symbol, "size": 11},
    }
    return [start, end]


def convert_mark(mark: Mark) -> dict[str, Any]:
    """Return a line from bottom to top, a range, or a star."""
    return _line(mark) if mark.y is None else _point(mark)


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
        color, symbol, _ = choose_plotly_look(mark.style)
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


def convert_strip_row(series: Series, place: float) -> dict[str, Any]:
    """Return a row of the strip, hollow where less than half were lost."""
    color, symbol, _ = choose_plotly_look(series.style or 0)
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
        "marker": {"color": color, "symbol": symbols, "size": 8},
        "showlegend": False,
    }


def make_transparent(color: str) -> str:
    """Return a colour `#RRGGBB` that lets most of what is below it through."""
    red, green, blue = bytes.fromhex(color[1:])
    return f"rgba({red},{green},{blue},0.12)"
