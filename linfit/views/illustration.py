"""Files that are made of a recorded run: its pictures, and a sweep's report.

Nothing here is attached to the run: linfit/publication.py does that. A part that fails is one
line on stderr.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from linfit.engine.fit import Fit
from linfit.scratch import name_beside
from linfit.sweeps.run_result import Recorded
from linfit.tracking import layout
from linfit.views.attempts import attempt

if TYPE_CHECKING:  # pandas is for sweeps alone
    from linfit.views.charts import Chart
    from linfit.views.comparison import Comparison
    from linfit.views.swept import Swept


def swept_of(recorded: Recorded) -> Swept:
    """Return the sweep whose tables have just been written."""
    from linfit.views.swept import Swept

    folder, row = recorded.folder, recorded.row
    files = {name: folder / name for name in (layout.MANIFEST, layout.RESULTS, layout.CURVES)}
    if (folder / layout.TWINS).exists():
        files[layout.TWINS] = folder / layout.TWINS
    return Swept(
        row.name,
        recorded.config.name,
        recorded.run_id,
        files,
        row.tags,
        row.start,
        row.end,
        getattr(recorded.recorder, "store", None),
    )


def plot_fit(fit: Fit) -> list[Chart]:
    """Return the charts of a fit that did not fail."""
    from linfit.views.fit_charts import CHARTS

    made = (attempt(f"the picture {name}", maker, fit) for name, maker in CHARTS.items())
    return [chart for chart in made if chart is not None]


def charts_of(swept: Swept, comparison: Comparison) -> list[Chart]:
    """Return the charts that make sense for what the sweep varies."""
    from linfit.views.sweep_charts import CHARTS

    charts = []
    for name, maker in CHARTS.items():
        chart = attempt(f"the picture {name}", maker, swept.distinct, comparison)
        if chart is not None:
            charts.append(chart)
    return charts


def save_charts(charts: Iterable[Chart], folder: Path) -> list[Path]:
    """Write each chart as PNG and SVG and return the files."""
    folder.mkdir(exist_ok=True)
    saved = (attempt(f"the picture {chart.name}", _save, chart, folder) for chart in charts)
    return [file for files in saved for file in files or ()]


def _save(chart: Chart, folder: Path) -> list[Path]:
    # Importing may fail too: matplotlib needs a folder that it can write to.
    from linfit.views.drawing import save

    return save(chart, folder)


def write_report(file: Path, swept: Swept, comparison: Comparison, charts: Sequence[Chart]) -> Path:
    """Write the report of a sweep, whole or not at all, and return its path.

    A pipe or a device is written directly.
    """
    from linfit.views.page import page

    text = page(swept, comparison, charts, swept.said["question"])
    place = file.resolve()  # a link stays, its target is replaced
    if place.exists() and not place.is_file():
        place.write_text(text, encoding="utf-8")
        return file

    temporary = name_beside(place)
    try:
        temporary.write_text(text, encoding="utf-8")
        temporary.replace(place)
    finally:
        temporary.unlink(missing_ok=True)
    return file


def show_made(files: Sequence[Path], as_json: bool) -> None:
    """Print where pictures and report are, unless a program reads stdout as JSON."""
    if as_json:
        return

    pictures = (file.parent for file in files if file.parent.name == layout.PICTURES)
    reports = [file for file in files if file.name == layout.REPORT]
    width = 9 if reports else 14  # as wide as the labels printed above, of a sweep or a fit
    for folder in dict.fromkeys(pictures):
        print(f"{'pictures':<{width}} {os.path.relpath(folder)}")
    for report in reports:
        print(f"{'report':<{width}} {os.path.relpath(report)}")
