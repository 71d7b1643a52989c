"""Charts as Plotly draws them in the report's page: plain data, so that the page needs Plotly and Python does not."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from linfit.views.charts import STEP_ZERO, Axis, Chart, Mark, Series
from linfit.views.drawing import COLORS

DASHES = ("solid", "dash", "dot", "dashdot", "longdash", "longdashdot", "10px,3px,2px,3px", "2px,4px")
SYMBOLS = ("circle", "square", "triangle-up", "diamond", "triangle-down", "cross", "x", "star")
MODES = {"points": "markers", "crosses": "markers", "stairs": "lines", "plain": "lines", "predicted": "lines"}


def plotly(chart: Chart) -> dict[str, Any]:
    """The traces and the layout of a chart, ready for JSON; text is escaped, because Plotly reads tags in it."""
    traces = [] if chart.surface is None else [_surface(chart)]
    for number, series in enumerate(chart.series):
        traces += _traces(series, number if series.style is None else series.style)
    traces += [_point(mark) for mark in chart.marks if mark.y is not None]
    lines = [mark for mark in chart.marks if mark.y is None]
    layout = {
        "xaxis": _axis(chart.x, [series.x for series in chart.series]),
        "yaxis": _axis(chart.y, [series.y for series in chart.series]),
        "shapes": [_line(mark) for mark in lines],
        "annotations": [_label(mark, chart.x) for mark in lines],
        "margin": {"t": 20, "r": 10, "b": 55, "l": 70},
        "legend": {"orientation": "h", "y": -0.22},
        "plot_bgcolor": "white",
        "font": {"size": 13},
        "hovermode": "closest",
    }
    return {"data": traces, "layout": layout}


def escaped(text: str) -> str:
    """Text that Plotly shows as it is."""
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")


def values(array: ArrayLike) -> list[float | None]:
    """Numbers for JSON: null where there is none, and no more digits than a picture shows."""
    return [float(f"{value:.6g}") if np.isfinite(value) else None for value in np.asarray(array, dtype=float).tolist()]


def _traces(series: Series, number: int) -> list[dict[str, Any]]:
    color, group = COLORS[number % 8], f"{series.label}{number}"
    common = {"type": "scatter", "x": values(series.x), "legendgroup": group}
    main = {
        **common,
        "y": values(series.y),
        "name": escaped(series.label),
        "mode": MODES.get(series.kind, "lines+markers"),
        "line": {
            "color": color,
            "width": 2,
            "dash": "dot" if series.kind == "predicted" else DASHES[(number + number // 8) % 8],
            "shape": "hv" if series.kind == "stairs" else "linear",
        },
        "marker": {"color": color, "symbol": "x" if series.kind == "crosses" else SYMBOLS[number % 8], "size": 6},
        "showlegend": bool(series.label),
    }
    if series.low is None or series.high is None:
        return [main]
    edge = {**common, "mode": "lines", "line": {"width": 0}, "showlegend": False, "hoverinfo": "skip"}
    band = {"fill": "tonexty", "fillcolor": f"rgba({','.join(str(int(color[i : i + 2], 16)) for i in (1, 3, 5))},0.12)"}
    return [{**edge, "y": values(series.low)}, {**edge, "y": values(series.high), **band}, main]


def _surface(chart: Chart) -> dict[str, Any]:
    surface = chart.surface
    assert surface is not None
    with np.errstate(divide="ignore", invalid="ignore"):
        logs = np.log10(surface.z)
    z = [values(row) for row in logs]
    if surface.kind == "contours":
        look = {"colorscale": "Greys", "opacity": 0.35, "showscale": False, "contours": {"coloring": "heatmap"}, "ncontours": 14}
        return {"type": "contour", "x": values(surface.x), "y": values(surface.y), "z": z, "hoverinfo": "skip", **look}
    names = {"x": [escaped(name) for name in chart.x.names], "y": [escaped(name) for name in chart.y.names]}
    return {
        "type": "heatmap",
        **names,
        "z": z,
        "text": [list(row) for row in surface.texts],
        "texttemplate": "%{text}" if surface.texts else "",
        "hovertemplate": "%{x}, %{y}: 10^%{z:.2f}<extra></extra>",
        "colorscale": "Cividis",
        "colorbar": {"title": {"text": f"log₁₀ {surface.label}", "side": "right"}},
    }


def _point(mark: Mark) -> dict[str, Any]:
    star = {"symbol": "star", "size": 15, "color": "#222222"}
    return {"type": "scatter", "mode": "markers", "x": [mark.x], "y": [mark.y], "name": escaped(mark.label), "marker": star}


def _line(mark: Mark) -> dict[str, Any]:
    line = {"color": "#222222", "dash": "dot", "width": 1.5}
    return {"type": "line", "x0": mark.x, "x1": mark.x, "y0": 0, "y1": 1, "yref": "paper", "line": line}


def _label(mark: Mark, axis: Axis) -> dict[str, Any]:
    x = float(np.log10(mark.x)) if axis.scale != "linear" else mark.x
    place = {"y": 1, "yref": "paper", "yanchor": "bottom", "xanchor": "center", "showarrow": False}
    return {"x": x, "text": escaped(mark.label), "font": {"size": 11}, **place}


def _axis(axis: Axis, drawn: Sequence[ArrayLike]) -> dict[str, Any]:
    shown: dict[str, Any] = {"title": {"text": escaped(axis.label)}, "gridcolor": "#DDDDDD", "zeroline": False, "automargin": True}
    if axis.names:
        return {**shown, "type": "category", "showgrid": False}
    if axis.scale != "linear":
        shown |= {"type": "log", "exponentformat": "power", **_ticks(_decades(drawn))}
    if axis.scale == "steps":
        powers = [10.0**k for k in range(10)]
        shown |= {"tickvals": [STEP_ZERO, *powers], "ticktext": ["0", *(f"{power:,.0f}" for power in powers)]}
        shown.pop("dtick", None)
    if axis.limits is not None:
        shown["range"] = [float(limit) for limit in axis.limits]
    return shown


def _ticks(decades: float) -> dict[str, Any]:
    """Of a short axis 1, 2, 5, …, of a longer one its powers of ten, of a long one what Plotly chooses."""
    return {"dtick": "D2"} if decades < 2 else {"dtick": 1} if decades < 6 else {}


def _decades(drawn: Sequence[ArrayLike]) -> float:
    every = np.concatenate([np.asarray(array, dtype=float) for array in drawn]) if drawn else np.array([])
    found = every[np.isfinite(every) & (every > 0)]
    return float(np.log10(found.max() / found.min())) if len(found) else 0.0
