"""The regions and the table of classes for Plotly, as plain data."""

from __future__ import annotations

from typing import Any

import numpy as np

from linfit.tracking.schema.run_colors import choose_color
from linfit.views.charts.chart import ClassRegions, CountTable
from linfit.views.charts.drawing.class_looks import REGION_ALPHAS, TABLE_COLORS, share_rows
from linfit.views.charts.drawing.plotly_series import escape_tags, round_values


def convert_regions(regions: ClassRegions) -> list[dict[str, Any]]:
    """Return a trace for each class, its colour the darker the likelier it is."""
    likeliest = regions.shares.argmax(axis=-1)
    traces = []
    for number, name in enumerate(regions.names):
        shares = np.where(likeliest == number, regions.shares[..., number], np.nan)
        red, green, blue = bytes.fromhex(choose_color(number)[1:])
        ends = [f"rgba({red},{green},{blue},{alpha})" for alpha in REGION_ALPHAS]
        trace = {
            "type": "heatmap",
            "x": round_values(regions.x),
            "y": round_values(regions.y),
            "z": [round_values(row) for row in shares],
            "zmin": 1 / len(regions.names),
            "zmax": 1,
            "colorscale": [[0, ends[0]], [1, ends[1]]],
            "showscale": False,
            "hovertemplate": f"{escape_tags(name)}: %{{z:.2f}}<extra></extra>",
            "hoverongaps": False,
        }
        traces.append(trace)
    return traces


def convert_table(table: CountTable) -> dict[str, Any]:
    """Return the trace of a table: its cells with their numbers."""
    places = list(range(len(table.names)))
    return {
        "type": "heatmap",
        "x": places,
        "y": places,
        "z": [round_values(row) for row in share_rows(table.counts)],
        "zmin": 0,
        "zmax": 1,
        "text": [[str(count) for count in row] for row in table.counts.tolist()],
        "texttemplate": "%{text}",
        "colorscale": [[0, TABLE_COLORS[0]], [1, TABLE_COLORS[1]]],
        "colorbar": {"title": {"text": "share of the true class", "side": "right"}},
        "hovertemplate": "%{text}: %{z:.0%} of the true class<extra></extra>",
    }


def name_table_axis(table: CountTable) -> dict[str, Any]:
    """Return the ticks of an axis of classes."""
    return {
        "tickmode": "array",
        "tickvals": list(range(len(table.names))),
        "ticktext": [escape_tags(name) for name in table.names],
        "showgrid": False,
    }
