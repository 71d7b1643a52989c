"""The report's pictures where no script runs, and on paper: SVG in the page itself."""

from __future__ import annotations

import base64
from collections.abc import Iterable, Mapping, Sequence
from io import BytesIO
from pathlib import Path
from typing import Any

from linfit.views.charts.chart import Chart
from linfit.views.report.attempts import try_to_make


def collect_stills(charts: Sequence[Chart], files: Iterable[Path] = ()) -> dict[str, str]:
    """Return each chart's picture as a data URI, by its name.

    A chart whose SVG is among `files` is not drawn again.
    """
    drawn = {file.stem: file for file in files if file.suffix == ".svg"}
    found = {}
    for chart in charts:
        still = try_to_make(f"the picture {chart.name} of the report", _read_still, chart, drawn)
        if still is not None:
            found[chart.name] = f"data:image/svg+xml;base64,{base64.b64encode(still).decode()}"
    return found


def _read_still(chart: Chart, drawn: Mapping[str, Path]) -> bytes:
    if chart.name in drawn:
        return drawn[chart.name].read_bytes()
    return draw_svg(chart)


def draw_svg(chart: Chart) -> bytes:
    """Return a chart as SVG."""
    # Importing may fail too: matplotlib needs a folder that it can write to.
    from matplotlib.backends.backend_svg import FigureCanvasSVG

    from linfit.views.charts.drawing.matplotlib_charts import draw_chart, use_chart_style

    with use_chart_style():
        target = BytesIO()
        canvas: Any = FigureCanvasSVG(draw_chart(chart))
        canvas.print_svg(target, metadata={"Date": None, "Creator": None})
    return target.getvalue()
