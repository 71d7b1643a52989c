"""Charts for Plotly in the report: plain data, so the page needs Plotly and Python does not."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from linfit.views.charts.chart import Chart, ChartAxis, CountTable, arrange_strip
from linfit.views.charts.drawing.plotly_classes import (
    convert_regions,
    convert_table,
    name_table_axis,
)
from linfit.views.charts.drawing.plotly_series import (
    convert_mark,
    convert_series,
    convert_strip_row,
    escape_tags,
)
from linfit.views.charts.drawing.plotly_surfaces import convert_surface
from linfit.views.charts.ticks import (
    FEW_DECADES,
    MANY_DECADES,
    MOST_AXIS_TICKS,
    choose_axis_ticks,
    count_decades,
    shorten_label,
)

#: A row of the strip, as a share of the height.
STRIP_ROW = 0.05
#: Letters of a line of a row's name.
ROW_NAME_LETTERS = 30


def convert_to_plotly(chart: Chart) -> dict[str, Any]:
    """Return traces and layout of a chart for JSON.

    Text is escaped: Plotly reads tags in it.
    """
    traces = [] if chart.surface is None else convert_surface(chart, chart.surface)
    if chart.regions is not None:
        traces += convert_regions(chart.regions)
    if chart.table is not None:
        traces.append(convert_table(chart.table))
    for number, series in enumerate(chart.series):
        traces += convert_series(series, number if series.style is None else series.style)
    traces += [convert_mark(mark) for mark in chart.marks]
    places, labels = arrange_strip(chart.strip)
    for place, row in zip(places, chart.strip, strict=True):
        traces.append(convert_strip_row(row, place))

    top = 1.0 - (STRIP_ROW * len(chart.strip) + 0.04 if chart.strip else 0.0)
    layout = {
        "xaxis": {**_axis(chart, chart.x, [line.x for line in chart.series]), "anchor": "y"},
        "yaxis": {**_axis(chart, chart.y, [line.y for line in chart.series]), "domain": [0, top]},
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
        "plot_bgcolor": "#EEEEEE" if _has_cells(chart) else "white",
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
    if chart.table is not None:
        _table_axes(chart.table, layout)
    if chart.strip:
        names = {
            "tickvals": list(labels.values()),
            "ticktext": list(labels),
            "automargin": True,
        }
        limits = {"domain": [top + 0.02, 1], "range": [places[-1] + 0.7, -0.7]}
        layout["yaxis2"] = {**hidden, **names, **limits}
    return {"data": traces, "layout": layout}


def _has_cells(chart: Chart) -> bool:
    return chart.surface is not None and chart.surface.kind == "cells"


def _table_axes(table: CountTable, layout: dict[str, Any]) -> None:
    """Have the names of the classes on both axes, the first row on top."""
    for name in ("xaxis", "yaxis"):
        layout[name] |= name_table_axis(table)
    layout["yaxis"]["autorange"] = "reversed"


def _axis(chart: Chart, axis: ChartAxis, drawn: Sequence[ArrayLike]) -> dict[str, Any]:
    shown: dict[str, Any] = {
        "title": {"text": escape_tags(axis.label), "standoff": 8},
        "gridcolor": "#DDDDDD",
        "zeroline": False,
        "automargin": True,
    }
    if axis.names and _has_cells(chart):
        return {**shown, "type": "category", "showgrid": False}

    if axis.scale != "linear":
        shown |= {"type": "log", "exponentformat": "power"}
    if axis.limits is not None:
        limits = np.array(axis.limits, dtype=float)
        shown["range"] = (limits if axis.scale == "linear" else np.log10(limits)).tolist()
    return shown | _ticks(axis, drawn)


def _ticks(axis: ChartAxis, drawn: Sequence[ArrayLike]) -> dict[str, Any]:
    """Return the ticks of an axis; Plotly chooses those that follow when a reader zooms."""
    if axis.names:
        names = [shorten_label(name, ROW_NAME_LETTERS, 2) for name in axis.names]
        texts = [escape_tags(name).replace("\n", "<br>") for name in names]
        named = _name_places(list(range(len(names))), texts)
        return {**named, "ticklabeloverflow": "allow", "tickangle": 0}
    numbers = np.concatenate([[], *(np.asarray(array, dtype=float) for array in drawn)])
    found = numbers[np.isfinite(numbers)]
    if axis.scale == "log" and not axis.ticks and not axis.whole:
        positive = found[found > 0]
        decades = count_decades(positive.min(), positive.max()) if len(positive) else 0.0
        return _space_ticks(decades)
    ticks = choose_axis_ticks(axis, found.min(), found.max()) if len(found) else None
    return {} if ticks is None else _name_places(*ticks)


def _name_places(places: Sequence[float], texts: Sequence[str]) -> dict[str, Any]:
    return {"tickmode": "array", "tickvals": list(places), "ticktext": list(texts)}


def _space_ticks(decades: float) -> dict[str, Any]:
    """Return ticks at 1, 2, 5, … of few decades, at powers of ten of more.

    Otherwise Plotly chooses them.
    """
    if FEW_DECADES <= decades < MANY_DECADES:
        return {"dtick": "D2"}
    return {"dtick": 1} if MANY_DECADES <= decades < MOST_AXIS_TICKS else {}
