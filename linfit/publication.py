"""Complete a recorded run: fit twins, have views make files and texts, and attach these to the run.

Views write nothing to MLflow and fit nothing; this module does both for them. It runs after the
last number is recorded, so nothing that goes wrong here fails a run. With `pictures=false` only the
description is written, and of a sweep the tag with the best method.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from linfit.engine.caller_settings import isolate_from_caller
from linfit.engine.fit import Fit, Status
from linfit.errors import LinfitError
from linfit.sweeps.run.result import RecordedRun, RunResult
from linfit.system.scratch import temporary_folder
from linfit.tracking.schema import descriptions, mlflow_names
from linfit.views.report.attempts import try_to_make

if TYPE_CHECKING:  # pandas is for sweeps alone
    from linfit.tracking.read.access import ReadPolicy
    from linfit.tracking.read.reader import StoredRun
    from linfit.views.analysis.compare import ComparedSweep
    from linfit.views.analysis.comparison import Comparison
    from linfit.views.analysis.rounding import Twins
    from linfit.views.analysis.sweep_data import SweepData
    from linfit.views.results import Results


@dataclass(frozen=True)
class Publication:
    """The files attached to a run.

    Of a sweep also its data and the comparison of its methods.
    """

    files: Sequence[Path] = ()
    data: SweepData | None = None
    comparison: Comparison | None = None


@isolate_from_caller
def sweep(arguments: Mapping[str, Any] | Sequence[str] | str) -> Results:
    """Run a sweep as `linfit run -m` does, record it, draw it, and return its results.

    >>> results = linfit.sweep(["optimizer=adam,sgd", "seed=0,1"])  # doctest: +SKIP
    >>> results = linfit.sweep("optimizer=adam,sgd seed=0,1")  # doctest: +SKIP
    >>> results = linfit.sweep({"optimizer": ["adam", "sgd"], "seed": range(2)})  # doctest: +SKIP
    >>> results.table  # doctest: +SKIP

    Values of a dict are swept where they are a list, a range or an array; a list that is itself a
    value stands in a list, `{"dataset.features": [["a", "b"]]}`. A text is what stands behind `=`
    on the command line, and `linfit.arrays(…)` is the value of `dataset`.

    `pictures=false` among the arguments skips pictures, leaderboard and report. Raises ConfigError
    before anything runs if the config is wrong.
    """
    from linfit.sweeps.compose.python_arguments import list_sweep_arguments
    from linfit.sweeps.run.hydra_app import execute
    from linfit.views.report.artifacts import open_sweep_data
    from linfit.views.results import Results

    result = execute(["--multirun", *list_sweep_arguments(arguments)])
    if result.recorded is None or result.sweep_id is None:
        raise LinfitError("nothing was swept: `linfit run` takes what this is")

    made = publish_artifacts(result, compare_sweep(result))
    publish_description(result, made)
    return Results(made.data or open_sweep_data(result.recorded), made.comparison)


def compare_sweep(result: RunResult) -> ComparedSweep | None:
    """Compare the methods of a sweep that has just run; None where this is not asked for.

    A part that fails is one line on stderr.
    """
    recorded = result.recorded
    if recorded is None or result.sweep_id is None or not recorded.config.pictures:
        return None
    return try_to_make("the leaderboard", _compare_recorded, recorded)


def _compare_recorded(recorded: RecordedRun) -> ComparedSweep:
    from linfit.views.analysis.compare import ComparedSweep, compare_methods
    from linfit.views.report.artifacts import open_sweep_data

    data = open_sweep_data(recorded)
    comparison = compare_methods(data)
    with_twins = try_to_make("the test of rounding", _compare_twins, recorded, data, comparison)
    return with_twins or ComparedSweep(data, comparison)


def publish_artifacts(result: RunResult, compared: ComparedSweep | None = None) -> Publication:
    """Draw a run and attach its pictures, of a sweep also leaderboard and report.

    `compared` is what `compare_sweep` returned: without it nothing is drawn of a sweep. A part that
    fails is one line on stderr.
    """
    recorded = result.recorded
    if recorded is None or not recorded.config.pictures:
        return Publication()
    if result.sweep_id is not None:
        if compared is None:
            return Publication()
        return try_to_make("the report", publish_sweep, recorded, compared) or Publication()
    if result.fit is None or len(result.completed) != 1:
        return Publication()
    return try_to_make("the pictures", publish_fit, recorded, result.fit) or Publication()


def publish_fit(recorded: RecordedRun, fit: Fit) -> Publication:
    """Draw and attach a single run's pictures; skip failed runs."""
    from linfit.views.report.artifacts import plot_fit, save_charts

    if fit.status is Status.FAILED:
        return Publication()
    files = save_charts(plot_fit(fit), recorded.folder / mlflow_names.PICTURES)
    _attach(recorded, files, mlflow_names.PICTURES)
    return Publication(files)


def publish_sweep(recorded: RecordedRun, compared: ComparedSweep) -> Publication:
    """Attach the pictures, the leaderboard, the twins and the report of a sweep."""
    from linfit.views.report.artifacts import plot_sweep, save_charts, write_report
    from linfit.views.report.leaderboard import write_leaderboard

    data = compared.data
    comparison = compared.comparison
    folder = recorded.folder
    charts = plot_sweep(data, comparison)
    pictures = (
        try_to_make("the pictures", save_charts, charts, folder / mlflow_names.PICTURES) or []
    )
    _attach(recorded, pictures, mlflow_names.PICTURES)

    files = try_to_make("the leaderboard", write_leaderboard, comparison, folder) or []
    files += compared.files
    report = folder / mlflow_names.REPORT
    given = (report, data, comparison, charts, pictures)
    if try_to_make("the report", write_report, *given) is not None:
        files.append(report)
    _attach(recorded, files)
    return Publication([*pictures, *files], data, comparison)


def _compare_twins(
    recorded: RecordedRun, data: SweepData, comparison: Comparison
) -> ComparedSweep | None:
    """Fit twins of the leaderboard's first fits; return the comparison with them, if there are."""
    from linfit.views.analysis import rounding
    from linfit.views.analysis.compare import ComparedSweep, add_twins, select_for_twins

    if not data.has_answers:  # twins are compared by excess loss
        return None
    twins = run_twins(data, select_for_twins(comparison, rounding.MOST_TWINS))
    if not twins:
        return None
    step = rounding.find_horizon(twins)
    recorded.recorder.set_tags(recorded.run_id, {mlflow_names.HORIZON: str(step or "none")})
    file = rounding.write_twins(twins, recorded.folder / mlflow_names.TWINS)
    return ComparedSweep(data, add_twins(comparison, twins), [file])


def run_twins(data: SweepData, rows: Iterable[int]) -> Twins:
    """Fit the twins of some fits; return where they part.

    The fits are of one sweep. Fits that are too large, or whose data or plug-ins are gone, are left
    out.
    """
    from linfit.engine.rounding_twins import compare_with_twins

    configs = {}
    for row in rows:
        try:
            configs[row] = data.load_config(row)
        except (LinfitError, ValueError, OSError):
            continue
    found = zip(configs, compare_with_twins(list(configs.values())), strict=True)
    return {row: parting for row, parting in found if parting is not None}


@dataclass(frozen=True)
class PublishedModel:
    """The MLflow model of a run."""

    run_id: str
    model_id: str
    place: str
    """The address of its files."""
    is_new: bool
    """False if the run had it already."""

    @property
    def uri(self) -> str:
        """The address by which MLflow loads it."""
        return f"models:/{self.model_id}"


@isolate_from_caller
def publish_model(
    reference: str = "last",
    uri: str | None = None,
    artifacts: str | None = None,
    data: str | Path | None = None,
    trust: bool = False,
) -> PublishedModel:
    """Log the MLflow model of a recorded fit, unless it has one, and return it.

    Of a sweep it is the one of its best fit. LinfitError where the fit did not finish, or its
    weights or data are gone. Data files are opened below the working directory and below `data`;
    plug-ins are imported only with `trust`.
    """
    from linfit.tracking.read.reader import RunReader
    from linfit.tracking.read.trained import find_logged_model
    from linfit.tracking.store.store import lock_store, resolve_store

    store = resolve_store(uri, artifacts)
    record = RunReader(store).find_run(reference)
    is_new = False
    found = find_logged_model(record)
    if found is None:
        with lock_store(store):
            is_new = find_logged_model(record) is None  # another command may have logged it since
            if is_new:
                _log_model(record, create_policy(data, trust))
        found = find_logged_model(record)
        assert found is not None
    return PublishedModel(record.run_id, found.model_id, found.artifact_location, is_new)


def _log_model(record: StoredRun, permits: ReadPolicy) -> None:
    """Log the model of a fit that has none."""
    from linfit.tracking.model import ModelFiles
    from linfit.tracking.read.trained import read_trained
    from linfit.tracking.write.client import ClientRecorder

    if record.kind == mlflow_names.SWEEP:
        raise LinfitError(
            f"sweep {record.run_id} has no model of its own: "
            "name one of its fits, as `linfit show` lists them"
        )
    trained = read_trained(record, permits)[1]
    with temporary_folder() as scratch:
        weights = scratch / mlflow_names.WEIGHTS_FILE
        trained.write(weights)
        recorder = ClientRecorder(record.reader.store, record.experiment)
        recorder.log_model(record.run_id, ModelFiles.from_trained(trained, weights, record.name))


def create_policy(data: str | Path | None, trust: bool) -> ReadPolicy:
    """Return what the user allows a stored config."""
    from linfit.sweeps.compose.compose import load_plugins
    from linfit.tracking.read.access import ReadPolicy

    load_plugins(())  # those of installed packages
    return ReadPolicy(load_plugins if trust else None, None if data is None else Path(data))


def _attach(recorded: RecordedRun, files: list[Path], folder: str | None = None) -> None:
    """Add files to the run's artifacts."""
    if not files:
        return
    attach = recorded.recorder.log_artifacts
    try_to_make("the run's copy of the pictures", attach, recorded.run_id, files, folder)


def publish_description(result: RunResult, made: Publication) -> None:
    """Describe the run and its MLflow experiment.

    A store that fails is one line on stderr.
    """
    try_to_make("the description", _record_description, result, made)


def _record_description(result: RunResult, made: Publication) -> None:
    from linfit.views.report.description import (
        compose_experiment_tags,
        describe_run,
        tag_best_method,
    )

    recorded = result.recorded
    if recorded is None or not recorded.run_id:
        return
    description = describe_run(result, recorded, made.comparison, made.files)
    recorder = recorded.recorder
    best = tag_best_method(made.comparison or _compare_undrawn(result))
    recorder.set_tags(recorded.run_id, {descriptions.NOTE_TAG: description.run, **best})
    tags = recorder.experiment_tags()
    recorder.set_experiment_tags(compose_experiment_tags(recorded, description.experiment, tags))


def _compare_undrawn(result: RunResult) -> Comparison | None:
    """Compare the methods of a sweep whose leaderboard `pictures=false` left out.

    Which method was the best is a fact of the sweep, whether anything is drawn of it or not.
    """
    recorded = result.recorded
    if recorded is None or result.sweep_id is None or recorded.config.pictures:
        return None
    from linfit.views.analysis.compare import compare_methods
    from linfit.views.report.artifacts import open_sweep_data

    return try_to_make("the best method", lambda: compare_methods(open_sweep_data(recorded)))
