"""Complete a recorded run: fit twins, have views make files and texts, and attach these to the run.

Views write nothing to MLflow and fit nothing; this module does both for them. It runs after the
last number is recorded, so nothing that goes wrong here fails a run. `pictures=false` skips it.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from linfit.engine.fit import Fit, Status
from linfit.engine.surroundings import isolated
from linfit.errors import LinfitError
from linfit.sweeps.run_result import Recorded, RunResult
from linfit.tracking import layout, notes
from linfit.views.attempts import attempt

if TYPE_CHECKING:  # pandas is for sweeps alone
    from linfit.views.comparison import Comparison
    from linfit.views.horizon import Twins
    from linfit.views.results import Results
    from linfit.views.swept import Swept


@dataclass(frozen=True)
class Publication:
    """The files attached to a run.

    Of a sweep also its data and the comparison of its methods.
    """

    files: Sequence[Path] = ()
    data: Swept | None = None
    comparison: Comparison | None = None


@isolated
def sweep(arguments: Sequence[str]) -> Results:
    """Run a sweep as `linfit run -m` does, record it, draw it, and return its results.

    >>> results = linfit.sweep(["optimizer=adam,sgd", "seed=0,1"])  # doctest: +SKIP
    >>> results.table  # doctest: +SKIP

    `pictures=false` among the arguments skips pictures, leaderboard and report. Raises ConfigError
    before anything runs if the config is wrong.
    """
    from linfit.sweeps.app import execute
    from linfit.views.illustration import swept_of
    from linfit.views.results import Results

    result = execute(["--multirun", *arguments])
    if result.recorded is None or result.sweep_id is None:
        raise LinfitError("nothing was swept: `linfit run` takes what this is")

    made = publish_artifacts(result)
    publish_description(result, made)
    return Results(made.data or swept_of(result.recorded), made.comparison)


def publish_artifacts(result: RunResult) -> Publication:
    """Draw a run and attach its pictures, of a sweep also leaderboard and report.

    A part that fails is one line on stderr.
    """
    recorded = result.recorded
    if recorded is None or not recorded.config.pictures:
        return Publication()
    if result.sweep_id is not None:
        return attempt("the report", publish_sweep, recorded) or Publication()
    if result.fit is None or len(result.done) != 1:
        return Publication()
    return attempt("the pictures", publish_fit, recorded, result.fit) or Publication()


def publish_fit(recorded: Recorded, fit: Fit) -> Publication:
    """Draw and attach the pictures of a single run, none of a failed one."""
    from linfit.views.illustration import plot_fit, save_charts

    if fit.status is Status.FAILED:
        return Publication()
    files = save_charts(plot_fit(fit), recorded.folder / layout.PICTURES)
    _attach(recorded, files, layout.PICTURES)
    return Publication(files)


def publish_sweep(recorded: Recorded) -> Publication:
    """Attach the pictures, the leaderboard, the twins and the report of a sweep."""
    from linfit.views.board import write
    from linfit.views.comparison import compare
    from linfit.views.illustration import charts_of, save_charts, swept_of, write_report

    data = swept_of(recorded)
    comparison = attempt("the leaderboard", compare, data)
    if comparison is None:
        return Publication()

    files: list[Path] = []
    compared = attempt("the twins", _compare_twins, recorded, data, comparison)
    if compared is not None:
        files, comparison = compared

    folder = recorded.folder
    charts = charts_of(data, comparison)
    pictures = attempt("the pictures", save_charts, charts, folder / layout.PICTURES) or []
    _attach(recorded, pictures, layout.PICTURES)

    files = (attempt("the leaderboard", write, comparison, folder) or []) + files
    report = folder / layout.REPORT
    if attempt("the report", write_report, report, data, comparison, charts) is not None:
        files.append(report)
    _attach(recorded, files)
    return Publication([*pictures, *files], data, comparison)


def _compare_twins(
    recorded: Recorded, data: Swept, comparison: Comparison
) -> tuple[list[Path], Comparison]:
    """Fit twins of the leaderboard's first fits; return their file and the comparison with them."""
    from linfit.views import horizon
    from linfit.views.comparison import to_twin, with_twins

    twins = run_twins(data, to_twin(comparison, horizon.MOST))
    if not twins:
        return [], comparison
    step = horizon.horizon(twins)
    recorded.recorder.tag(recorded.run_id, {layout.HORIZON: str(step or "none")})
    return [horizon.write(twins, recorded.folder / layout.TWINS)], with_twins(comparison, twins)


def run_twins(data: Swept, rows: Iterable[int]) -> Twins:
    """Fit the twins of some fits of a sweep and return where they part.

    Fits that are too large, or whose data or plug-ins are gone, are left out.
    """
    from linfit.engine.twins import partings

    configs = {}
    for row in rows:
        try:
            configs[row] = data.runnable(row)
        except (LinfitError, ValueError, OSError):
            continue
    found = zip(configs, partings(list(configs.values())), strict=True)
    return {row: parting for row, parting in found if parting is not None}


def _attach(recorded: Recorded, files: list[Path], folder: str | None = None) -> None:
    """Add files to the run's artifacts."""
    if not files:
        return
    attach = recorded.recorder.attach
    attempt("the run's copy of the pictures", attach, recorded.run_id, files, folder)


def publish_description(result: RunResult, made: Publication) -> None:
    """Describe the run and its MLflow experiment.

    A store that fails is one line on stderr.
    """
    attempt("the description", _record_description, result, made)


def _record_description(result: RunResult, made: Publication) -> None:
    from linfit.views.description import describe, presentation

    recorded = result.recorded
    if recorded is None or not recorded.run_id:
        return
    description = describe(result, recorded, made.comparison, made.files)
    recorder = recorded.recorder
    recorder.tag(recorded.run_id, {notes.NOTE: description.run})
    tags = recorder.presentation()
    recorder.present(presentation(recorded, description.experiment, tags))
