"""The surface under a chart's lines for Plotly: contours, or cells."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from linfit.problem.types import Array
from linfit.views.charts.chart import Chart, Surface
from linfit.views.charts.drawing.plotly_series import escape_tags, round_values
from linfit.views.charts.surfaces import CONTOUR_COLOR, GROUND_COLORS, choose_levels
from linfit.views.charts.ticks import choose_ticks, name_ticks


def convert_surface(chart: Chart, surface: Surface) -> list[dict[str, Any]]:
    """Return the traces of contours or cells, coloured on a logarithmic scale."""
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
        "ticktext": name_ticks(places),
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
