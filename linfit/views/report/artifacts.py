"""Files that are made of a recorded run: its pictures, and a sweep's report.

Nothing here is attached to the run: linfit/publication.py does that. A part that fails is one
line on stderr.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from linfit.engine.fit import Fit
from linfit.sweeps.run.result import RecordedRun
from linfit.system.output import print_to_stderr
from linfit.system.scratch import name_temporary_file
from linfit.tracking.schema import mlflow_names
from linfit.views.report.attempts import try_to_make

if TYPE_CHECKING:  # pandas is for sweeps alone
    from linfit.views.analysis.comparison import Comparison
    from linfit.views.analysis.sweep_data import SweepData
    from linfit.views.charts.chart import Chart


def open_sweep_data(recorded: RecordedRun) -> SweepData:
    """Return the sweep whose tables have just been written."""
    from linfit.views.analysis.sweep_data import SweepData

    folder = recorded.folder
    row = recorded.row
    files = {
        name: folder / name
        for name in (mlflow_names.MANIFEST, mlflow_names.RESULTS, mlflow_names.CURVES)
    }
    if (folder / mlflow_names.TWINS).exists():
        files[mlflow_names.TWINS] = folder / mlflow_names.TWINS
    return SweepData(
        row.name,
        recorded.config.name,
        recorded.run_id,
        files,
        row.tags,
        row.start,
        row.end,
        getattr(recorded.recorder, "store", None),
        experiment_id=recorded.recorder.experiment_id,
    )


def plot_fit(fit: Fit) -> list[Chart]:
    """Return the charts of a fit that did not fail."""
    from linfit.views.charts.fits.fit_charts import FIT_CHARTS

    return collect_charts(FIT_CHARTS, fit)


def plot_sweep(swept: SweepData, comparison: Comparison) -> list[Chart]:
    """Return the charts that make sense for what the sweep varies."""
    from linfit.views.charts.sweeps.sweep_charts import list_sweep_charts

    once = swept.distinct
    makers = try_to_make("the list of pictures", list_sweep_charts, once, comparison)
    return collect_charts(makers or {}, once, comparison)


def collect_charts(makers: Mapping[str, Callable[..., Any]], *arguments: Any) -> list[Chart]:
    """Return the charts that can be made; a line on stderr says why one is left out."""
    from linfit.views.charts.chart import Chart, LeftOut

    charts = []
    for name, maker in makers.items():
        made = try_to_make(f"the picture {name}", maker, *arguments)
        if isinstance(made, LeftOut) and made.is_missed:
            print_to_stderr(f"linfit: no picture {name}: {made.reason}")
        elif isinstance(made, Chart):
            charts.append(made)
    return charts


def save_charts(charts: Iterable[Chart], folder: Path) -> list[Path]:
    """Write each chart as PNG and SVG and return the files."""
    folder.mkdir(exist_ok=True)
    saved = (try_to_make(f"the picture {chart.name}", _save, chart, folder) for chart in charts)
    return [file for files in saved for file in files or ()]


def _save(chart: Chart, folder: Path) -> list[Path]:
    # Importing may fail too: matplotlib needs a folder that it can write to.
    from linfit.views.charts.drawing.matplotlib_charts import save_chart

    return save_chart(chart, folder)


def write_report(
    file: Path,
    swept: SweepData,
    comparison: Comparison,
    charts: Sequence[Chart],
    pictures: Sequence[Path] = (),
) -> Path:
    """Write the report of a sweep, whole or not at all, and return its path.

    `pictures` are files of charts that are drawn already. A pipe or a device is written directly.
    """
    from linfit.views.report.page import render_page
    from linfit.views.report.stills import collect_stills

    stills = collect_stills(charts, pictures)
    text = render_page(swept, comparison, charts, swept.request["question"], stills)
    place = file.resolve()  # a link stays, its target is replaced
    if place.exists() and not place.is_file():
        place.write_text(text, encoding="utf-8")
        return file

    temporary = name_temporary_file(place)
    try:
        temporary.write_text(text, encoding="utf-8")
        temporary.replace(place)
    finally:
        temporary.unlink(missing_ok=True)
    return file


def show_artifacts(files: Sequence[Path], as_json: bool) -> None:
    """Print where pictures and report are, unless a program reads stdout as JSON."""
    if as_json:
        return

    pictures = (file.parent for file in files if file.parent.name == mlflow_names.PICTURES)
    reports = [file for file in files if file.name == mlflow_names.REPORT]
    width = 9 if reports else 14  # as wide as the labels printed above, of a sweep or a fit
    for folder in dict.fromkeys(pictures):
        print(f"{'pictures':<{width}} {os.path.relpath(folder)}")
    for report in reports:
        print(f"{'report':<{width}} {os.path.relpath(report)}")
