"""Find the run that is active in the calling program, and the experiment that it chose.

MLflow is not imported for it: where nobody has imported MLflow, the environment alone says
something.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from functools import cache
from typing import Any

from linfit.system.output import print_to_stderr

RUN_ID_VARIABLE = "MLFLOW_RUN_ID"
EXPERIMENT_ID_VARIABLE = "MLFLOW_EXPERIMENT_ID"
EXPERIMENT_NAME_VARIABLE = "MLFLOW_EXPERIMENT_NAME"
#: The run that was active in the process that started the sweep of this process's job.
_handed: ContextVar[str] = ContextVar("handed", default="")


def find_caller_run() -> str:
    """Return the id of the caller's active run, else empty.

    It is active in this thread, or named by MLFLOW_RUN_ID.
    """
    run = _active_run()
    if run is not None:
        return str(run.info.run_id)
    return _handed.get() or os.environ.get(RUN_ID_VARIABLE, "")


@contextmanager
def use_caller_run(run_id: str) -> Iterator[None]:
    """Take a run as the caller's, unless another is active.

    It is the caller's within the block. An empty id changes nothing.
    """
    token = _handed.set(run_id or _handed.get())
    try:
        yield
    finally:
        _handed.reset(token)


def find_chosen_experiment() -> str | None:
    """Return the experiment that `mlflow.set_experiment` or the environment names.

    None if they name none.
    """
    own_id = os.environ.get(EXPERIMENT_ID_VARIABLE)  # `mlflow.set_experiment` sets it too
    if own_id:
        # slow to import
        from linfit.tracking.store.experiments import find_experiment_by_id

        get_uri = getattr(sys.modules.get("mlflow"), "get_tracking_uri", None)
        found = find_experiment_by_id(get_uri and get_uri(), own_id)
        if found:
            return found
        _tell_missing(own_id)
    return os.environ.get(EXPERIMENT_NAME_VARIABLE) or None


def has_chosen_experiment(experiment_id: str) -> bool:
    """Return True for the experiment that the caller works in itself."""
    run = _active_run()
    if run is not None and run.info.experiment_id == experiment_id:
        return True
    return os.environ.get(EXPERIMENT_ID_VARIABLE) == experiment_id


def _active_run() -> Any:
    active_run = getattr(sys.modules.get("mlflow"), "active_run", None)
    return active_run and active_run()


@cache
def _tell_missing(experiment_id: str) -> None:
    """Tell the user, once, that the chosen experiment does not exist."""
    missing = (
        f"{EXPERIMENT_ID_VARIABLE}={experiment_id} is no experiment of the store, or a deleted one"
    )
    print_to_stderr(f"linfit: note: {missing}: choose one with name=…")
