"""What is made of a run when its last number is recorded: pictures, and of a sweep a leaderboard and a report, attached to the run.

The caller of a run asks for it, after the run: nothing that goes wrong here fails a run, and `pictures=false` skips it.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from linfit.engine.fit import Fit, Status
from linfit.scratch import name_beside
from linfit.sweeps.run_result import Recorded, RunResult
from linfit.tracking import layout
from linfit.views.attempts import attempt

if TYPE_CHECKING:  # pandas is for sweeps alone
    from linfit.views.charts import Chart
    from linfit.views.comparison import Comparison
    from linfit.views.swept import Swept


def illustrate(result: RunResult) -> list[Path]:
    """Draws what `result` ran and attaches it to its run; returns the files. A part that fails is one line on stderr."""
    recorded = result.recorded
    if recorded is None or not recorded.config.pictures:
        return []
    if result.sweep_id is not None:
        return attempt("the report", of_sweep, recorded) or []
    if result.fit is None or len(result.done) != 1:
        return []
    return attempt("the pictures", of_fit, recorded, result.fit) or []


def show_made(files: Sequence[Path], as_json: bool) -> None:
    """Says where the pictures and the report are, on stdout, which a program may read as JSON."""
    folders = dict.fromkeys(
        os.path.relpath(file.parent) for file in files if file.parent.name == layout.PICTURES
    )
    reports = [os.path.relpath(file) for file in files if file.name == layout.REPORT]
    width = 9 if reports else 14  # as the lines above them, of a sweep and of a fit
    for label, found in (("pictures", folders), ("report", reports)):
        for path in () if as_json else found:
            print(f"{label:<{width}} {path}")


def of_fit(recorded: Recorded, fit: Fit) -> list[Path]:
    """The pictures of a single run; none of a failed one."""
    from linfit.views.fit_charts import CHARTS

    if fit.status is Status.FAILED:
        return []
    made = (attempt(f"the picture {maker.__name__}", maker, fit) for maker in CHARTS)
    return _pictures(recorded, [chart for chart in made if chart is not None])


def of_sweep(recorded: Recorded) -> list[Path]:
    """The pictures, the leaderboard and the report of a sweep."""
    from linfit.views.board import write
    from linfit.views.comparison import compare

    swept = swept_of(recorded)
    comparison = attempt("the leaderboard", compare, swept)
    if comparison is None:
        return []
    made = attempt("the twins", _twins, recorded, swept, comparison)
    twins, comparison = made or ([], comparison)
    charts = charts_of(swept, comparison)
    drawn = attempt("the pictures", _pictures, recorded, charts) or []
    board = attempt("the leaderboard", write, comparison, recorded.folder) or []
    report = attempt(
        "the report", write_report, recorded.folder / layout.REPORT, swept, comparison, charts
    )
    return drawn + attach(recorded, [*board, *twins, *([report] if report else [])])


def _twins(
    recorded: Recorded, swept: Swept, comparison: Comparison
) -> tuple[list[Path], Comparison]:
    """Runs the twins of the leaderboard's first fits; the file of what they show, and the comparison with it."""
    from linfit.views import horizon
    from linfit.views.comparison import to_twin, with_twins

    twins = horizon.run(swept, to_twin(comparison, horizon.MOST))
    if not twins:
        return [], comparison
    recorded.recorder.tag(recorded.run_id, {layout.HORIZON: str(horizon.horizon(twins) or "none")})
    return [horizon.write(twins, recorded.folder / layout.TWINS)], with_twins(comparison, twins)


def charts_of(swept: Swept, comparison: Comparison) -> list[Chart]:
    """Those charts of a sweep that make sense for what it varies."""
    from linfit.views.sweep_charts import CHARTS

    made = (
        attempt(f"the picture {name}", maker, swept.distinct, comparison)
        for name, maker in CHARTS.items()
    )
    return [chart for chart in made if chart is not None]


def write_report(file: Path, swept: Swept, comparison: Comparison, charts: Sequence[Chart]) -> Path:
    """Write the report of a sweep, whole or not at all, and return its path; into a pipe or a device as it comes."""
    from linfit.views.page import page

    text = page(swept, comparison, charts, swept.said["question"])
    place = file.resolve()  # where it is a link, what it leads to is replaced
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


def swept_of(recorded: Recorded) -> Swept:
    """A sweep's tables, where it has just written them."""
    from linfit.views.swept import Swept

    row = recorded.row
    names = [
        layout.MANIFEST,
        layout.RESULTS,
        layout.CURVES,
        *([layout.TWINS] if (recorded.folder / layout.TWINS).exists() else []),
    ]
    files = {name: recorded.folder / name for name in names}
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


def _pictures(recorded: Recorded, charts: Sequence[Chart]) -> list[Path]:
    folder = recorded.folder / layout.PICTURES
    folder.mkdir(exist_ok=True)
    saved = (attempt(f"the picture {chart.name}", _save, chart, folder) for chart in charts)
    return attach(recorded, [file for files in saved for file in files or ()], layout.PICTURES)


def _save(chart: Chart, folder: Path) -> list[Path]:
    from linfit.views.drawing import (
        save,
    )  # which may fail too: matplotlib needs a folder that it can write to

    return save(chart, folder)


def attach(recorded: Recorded, files: list[Path], folder: str | None = None) -> list[Path]:
    """Adds the files to the run's artifacts."""
    attempt(
        "the run's copy of the pictures", recorded.recorder.attach, recorded.run_id, files, folder
    )
    return files
