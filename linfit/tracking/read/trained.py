"""Read back what a recorded fit has learnt: of a single run, or of a fit of a sweep.

A single run keeps it in a file. A fit of a sweep has its weights in the sweep's results; its
features are learnt again from the data, whose hash is in its fingerprint.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from mlflow.entities import LoggedModel, LoggedModelStatus
from numpy.typing import NDArray

from linfit.config import FitConfig
from linfit.engine.fit import Status
from linfit.errors import ConfigError, LinfitError, shorten
from linfit.problem.types import Array
from linfit.tracking.model import TrainedFit, find_link, is_own_model
from linfit.tracking.read.access import ReadPolicy
from linfit.tracking.read.original import authorize_config
from linfit.tracking.read.reader import StoredRun
from linfit.tracking.schema import mlflow_names
from linfit.tracking.store.retry import as_recording_error


def find_logged_model(record: StoredRun) -> LoggedModel | None:
    """Return the model that a run has in MLflow, None if it has none."""
    reader = record.reader
    experiments = [id_ for id_, name in reader.experiments.items() if name == record.experiment]
    condition = f"source_run_id = '{record.run_id}'"
    with as_recording_error(reader.store):
        found = reader.client.search_logged_models(experiments, condition)
    own = filter(is_own_model, found)
    return next((model for model in own if model.status == LoggedModelStatus.READY), None)


def read_trained(record: StoredRun, permits: ReadPolicy) -> tuple[FitConfig, TrainedFit]:
    """Return the config of a recorded fit, and what it has learnt.

    ConfigError where it did not finish, or its weights or its data are gone.
    """
    step = record.metrics.get("diverged_at_step")
    status = record.tags.get(mlflow_names.STATUS, "")
    require_finished(f"run {record.run_id}", status or record.status, step)
    if record.parent is None:
        config = record.config(permits.load)
        return config, _read_own_file(record)
    config = authorize_config(record, permits)
    outcome = record.outcome(config)
    if outcome.weights is None:
        raise ConfigError(
            f"run {record.run_id} has no exact weights: "
            f"its sweep {record.parent.run_id} did not come to its end; `linfit resume` ends it"
        )
    return config, train_again(config, outcome.weights, outcome.steps, outcome.losses, status)


def _read_own_file(record: StoredRun) -> TrainedFit:
    trained = TrainedFit.read(record.fetch_file(mlflow_names.WEIGHTS_FILE))
    if trained.fingerprint != record.tags.get(mlflow_names.FINGERPRINT):
        raise ConfigError(
            f"{mlflow_names.WEIGHTS_FILE} of run {record.run_id} belongs to another run: "
            "its fingerprint is another"
        )
    return trained


def require_finished(whose: str, status: str, diverged_at: Any = None) -> None:
    """Raise ConfigError unless a fit with this status has weights that predict."""
    if status in (Status.COMPLETED, Status.CONVERGED):
        return
    if status == Status.DIVERGED:
        at = "" if diverged_at is None else f" at step {diverged_at:.0f}"
        raise ConfigError(
            f"{whose} diverged{at}: its weights predict nothing; choose a fit that finished"
        )
    if status == Status.FAILED:
        raise ConfigError(f"{whose} failed: it has no weights; choose a fit that finished")
    raise ConfigError(f"{whose} has no weights: it did not finish, it is {shorten(status)}")


def train_again(
    config: FitConfig, weights: Array, steps: NDArray[np.int64], losses: Array, status: str
) -> TrainedFit:
    """Return what a fit had learnt: its stored weights `[p·q]`, and its features from the data.

    ConfigError where the data cannot be loaded, or have other columns.
    """
    try:
        problem = config.problem()
    except (ValueError, OSError, MemoryError) as error:
        raise ConfigError(shorten(str(error))) from error
    _, p, q = problem.shape
    if weights.size != p * q:
        raise LinfitError(f"{weights.size} weights are stored, and the fit has {p} × {q}")
    return TrainedFit(
        weights.astype(config.dtype).reshape(p, q),
        steps,
        losses,
        problem.features,
        problem.targets,
        problem.expansion,
        status,
        config.fingerprint(),
        problem.classes,
        find_link(config.loss),
    )
