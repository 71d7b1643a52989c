"""Charts as Plotly draws them in the report's page: plain data, so that the page needs Plotly and Python does not."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from linfit.problem.problem import Array
from linfit.views.charts import (
    STEP_ZERO,
    Axis,
    Chart,
    Mark,
    Series,
    find_recorded_points,
    place_strip,
)
from linfit.views.drawing import COLORS
from linfit.views.surfaces import GROUND, LINE, levels
from linfit.views.ticks import LONG, MOST, SHORT, count_decades, step_names, ticks
from linfit.views.ticks import names as ticks_names

DASHES = (
    "solid",
    "dash",
    "dot",
    "dashdot",
    "longdash",
    "longdashdot",
    "10px,3px,2px,3px",
    "2px,4px",
)
SYMBOLS = ("circle", "square", "triangle-up", "diamond", "triangle-down", "cross", "x", "star")
MODES = {"points": "markers", "stairs": "lines", "plain": "lines", "predicted": "lines"}
INK = "#222222"
#: The axes of the strip above, of the marks, which run from bottom to top; a row of the strip as a share of the height.
STRIP, MARKS, ROW = "y2", "y3", 0.05


def plotly(chart: Chart) -> dict[str, Any]:
    """The traces and the layout of a chart, ready for JSON; text is escaped, because Plotly reads tags in it."""
    traces = [] if chart.surface is None else _surface(chart)
    for number, series in enumerate(chart.series):
        traces += _traces(series, number if series.style is None else series.style)
    traces += [_point(mark) if mark.y is not None else _line(mark) for mark in chart.marks]
    places, names = place_strip(chart.strip)
    traces += [_row(series, place) for place, series in zip(places, chart.strip, strict=True)]
    top = 1.0 - (ROW * len(chart.strip) + 0.04 if chart.strip else 0.0)
    layout = {
        "xaxis": {**_axis(chart.x, [series.x for series in chart.series]), "anchor": "y"},
        "yaxis": {**_axis(chart.y, [series.y for series in chart.series]), "domain": [0, top]},
        "margin": {"t": 20, "r": 10, "b": 55, "l": 70},
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
        layout["yaxis3"] = {**hidden, "overlaying": "y", "range": [0, 1], "visible": False}
    if chart.strip:
        told = {"tickvals": list(names.values()), "ticktext": list(names), "automargin": True}
        limits = {"domain": [top + 0.02, 1], "range": [places[-1] + 0.7, -0.7]}
        layout["yaxis2"] = {**hidden, **told, **limits}
    return {"data": traces, "layout": layout}


def escaped(text: str) -> str:
    """Text that Plotly shows as it is."""
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")


def values(array: ArrayLike) -> list[float | None]:
    """Numbers for JSON: null where there is none, and no more digits than a picture shows."""
    return [
        float(f"{value:.6g}") if np.isfinite(value) else None
        for value in np.asarray(array, dtype=float).tolist()
    ]


def _traces(series: Series, number: int) -> list[dict[str, Any]]:
    color, group = COLORS[number % 8], f"{series.label}{number}"
    common = {"type": "scatter", "x": values(series.x), "legendgroup": group}
    look = {"color": color, "symbol": SYMBOLS[number % 8]}
    main: dict[str, Any] = {
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
        "marker": {**look, "size": 6},
        "showlegend": bool(series.label),
    }
    if series.kind == "path":
        sizes = np.zeros(len(series.x), int)
        sizes[find_recorded_points(series)] = 6
        main["marker"] = {**look, "size": sizes.tolist(), "opacity": 1, "line": {"width": 0}}
        return [main, *_ends(series, number, group)]
    if series.low is None or series.high is None:
        return [main]
    edge = {
        **common,
        "mode": "lines",
        "line": {"width": 0},
        "showlegend": False,
        "hoverinfo": "skip",
    }
    band = {"fill": "tonexty", "fillcolor": transparent(color)}
    if np.isfinite(series.y).sum() == 1:  # a band of one point has no width
        above, below = (values(np.abs(edge - series.y)) for edge in (series.high, series.low))
        return [
            {
                **main,
                "error_y": {
                    "array": above,
                    "arrayminus": below,
                    "symmetric": False,
                    "color": color,
                    "width": 0,
                },
            }
        ]
    return [{**edge, "y": values(series.low)}, {**edge, "y": values(series.high), **band}, main]


def _ends(series: Series, number: int, group: str) -> list[dict[str, Any]]:
    """A ring where a path starts, a large marker where it ends."""
    rings = {
        "start": (
            series.x[:1],
            series.y[:1],
            {"symbol": "circle-open", "size": 12, "line": {"width": 2}},
        )
    }
    if not series.leaves:
        rings["end"] = (series.x[-1:], series.y[-1:], {"symbol": SYMBOLS[number % 8], "size": 11})
    common = {"type": "scatter", "mode": "markers", "legendgroup": group, "showlegend": False}
    return [
        {
            **common,
            "x": values(x),
            "y": values(y),
            "name": f"{escaped(series.label)}: {which}",
            "marker": {"color": COLORS[number % 8], **look},
        }
        for which, (x, y, look) in rings.items()
    ]


def _surface(chart: Chart) -> list[dict[str, Any]]:
    surface = chart.surface
    assert surface is not None
    with np.errstate(divide="ignore", invalid="ignore"):
        logs = np.log10(surface.z)
    z = [values(row) for row in logs]
    found = logs[np.isfinite(logs)]
    bar = (
        {
            "title": {"text": surface.label, "side": "right"},
            **_bar(float(found.min()), float(found.max())),
        }
        if len(found)
        else {}
    )
    if surface.kind == "contours":
        if len(at := np.log10(levels(surface))) < 2:  # flat
            return []
        look = {"coloring": "fill", "start": float(at[0]), "end": float(at[-1]), "size": 0.5}
        grays = {
            "colorscale": [[0, GROUND[0]], [1, GROUND[1]]],
            "line": {"color": LINE, "width": 0.7},
            "hoverinfo": "skip",
        }
        return [
            {
                "type": "contour",
                "x": values(surface.x),
                "y": values(surface.y),
                "z": z,
                "contours": look,
                "colorbar": bar,
                **grays,
            }
        ]
    names = {
        "x": [escaped(name) for name in chart.x.names],
        "y": [escaped(name) for name in chart.y.names],
    }
    cells = {
        "type": "heatmap",
        **names,
        "z": z,
        "text": [[text.replace("\n", "<br>") for text in row] for row in surface.texts],
        "texttemplate": "%{text}" if surface.texts else "",
        "customdata": [
            [[_size(value), count] for value, count in zip(*both, strict=True)]
            for both in zip(surface.z, surface.counts, strict=True)
        ],
        "hovertemplate": "%{x}, %{y}: %{customdata[0]}<br>%{customdata[1]}<extra></extra>",
        "hoverongaps": False,
        "colorscale": "Cividis",
        "colorbar": bar,
    }
    return [cells, *([] if surface.texts or surface.lost is None else _signs(surface.lost, names))]


def _size(value: float) -> str:
    return f"{value:.3g}" if np.isfinite(value) else "none finished"


def _bar(low: float, high: float) -> dict[str, Any]:
    """The ticks of a colour bar, whose values are logarithms."""
    places = ticks(10.0**low, 10.0**high)
    return {"tickvals": values(np.log10(places)), "ticktext": ticks_names(places)}


def _signs(lost: Array, names: dict[str, list[str]]) -> list[dict[str, Any]]:
    """A sign in each cell of which some fits, or all, did not finish."""
    signs = {"line-ne-open": (lost > 0) & (lost < 1), "x-thin-open": lost == 1}
    common = {"type": "scatter", "mode": "markers", "showlegend": False, "hoverinfo": "skip"}
    places = {symbol: np.nonzero(which) for symbol, which in signs.items() if which.any()}
    return [
        {
            **common,
            "x": [names["x"][j] for j in columns],
            "y": [names["y"][i] for i in rows],
            "marker": {
                "symbol": symbol,
                "size": 7,
                "color": "#777777" if symbol == "x-thin-open" else "white",
            },
        }
        for symbol, (rows, columns) in places.items()
    ]


def _point(mark: Mark) -> dict[str, Any]:
    star = {"symbol": "star", "size": 15, "color": INK}
    return {
        "type": "scatter",
        "mode": "markers",
        "x": [mark.x],
        "y": [mark.y],
        "name": escaped(mark.label),
        "marker": star,
    }


def _line(mark: Mark) -> dict[str, Any]:
    """From bottom to top, and back down at the other end of a range."""
    color = INK if mark.style is None else COLORS[mark.style % 8]
    ends = [mark.x] if mark.to is None else [mark.x, mark.to]
    marker = {
        "symbol": "line-ew" if mark.style is None else SYMBOLS[mark.style % 8],
        "color": color,
        "size": [0, 8, 8, 0][: 2 * len(ends)],
    }
    return {
        "type": "scatter",
        "mode": "lines+markers",
        "x": [x for x in ends for _ in (0, 1)],
        "y": [0, 1, 1, 0][: 2 * len(ends)],
        "yaxis": MARKS,
        "fill": "none" if mark.to is None else "toself",
        "fillcolor": transparent(color),
        "line": {"color": color, "dash": "dot", "width": 1.5},
        "marker": marker,
        "name": escaped(mark.label),
        "hovertemplate": "%{x:.4g}",
        "cliponaxis": False,
    }


def _row(series: Series, place: float) -> dict[str, Any]:
    """A row of the strip, hollow where less than half were lost."""
    number = series.style or 0
    symbols = [
        SYMBOLS[number % 8] + ("" if share >= 0.5 else "-open") for share in series.y.tolist()
    ]
    return {
        "type": "scatter",
        "mode": "markers",
        "x": values(series.x),
        "y": [place] * len(series.x),
        "yaxis": STRIP,
        "text": [f"{share:.0%} {series.label}" for share in series.y.tolist()],
        "hovertemplate": "%{x:.4g}: %{text}<extra></extra>",
        "marker": {"color": COLORS[number % 8], "symbol": symbols, "size": 8},
        "showlegend": False,
    }


def transparent(color: str) -> str:
    return f"rgba({','.join(str(int(color[i : i + 2], 16)) for i in (1, 3, 5))},0.12)"


def _axis(axis: Axis, drawn: Sequence[ArrayLike]) -> dict[str, Any]:
    shown: dict[str, Any] = {
        "title": {"text": escaped(axis.label), "standoff": 8},
        "gridcolor": "#DDDDDD",
        "zeroline": False,
        "automargin": True,
    }
    if axis.names:
        return {**shown, "type": "category", "showgrid": False}
    if axis.scale != "linear":
        shown |= {"type": "log", "exponentformat": "power", **_ticks(_decades(drawn))}
    if axis.ticks:
        shown |= {
            "tickmode": "array",
            "tickvals": list(axis.ticks),
            "ticktext": ticks_names(axis.ticks),
        }
    if axis.scale == "steps":
        powers = [10.0**k for k in range(10)]
        shown |= {
            "tickmode": "array",
            "tickvals": [STEP_ZERO, *powers],
            "ticktext": step_names([STEP_ZERO, *powers]),
        }
    if "tickvals" in shown:
        shown.pop("dtick", None)
    if axis.limits is not None:
        shown["range"] = [float(limit) for limit in axis.limits]
    return shown


def _ticks(decades: float) -> dict[str, Any]:
    """Of an axis of few decades 1, 2, 5, …, of a longer one its powers of ten, of others what Plotly chooses."""
    return (
        {"dtick": "D2"}
        if SHORT <= decades < LONG
        else {"dtick": 1}
        if LONG <= decades < MOST
        else {}
    )


def _decades(drawn: Sequence[ArrayLike]) -> float:
    every = (
        np.concatenate([np.asarray(array, dtype=float) for array in drawn])
        if drawn
        else np.array([])
    )
    found = every[np.isfinite(every) & (every > 0)]
    return count_decades(found.min(), found.max()) if len(found) else 0.0
