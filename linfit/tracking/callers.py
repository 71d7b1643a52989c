"""MLflow as the caller of linfit uses it: the run that is active, and the experiment that was chosen.

Nothing is imported for it: where nobody has imported MLflow, only the environment says something.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from functools import cache
from typing import Any

from linfit.output import tell

RUN_ID, EXPERIMENT_ID, EXPERIMENT_NAME = (
    "MLFLOW_RUN_ID",
    "MLFLOW_EXPERIMENT_ID",
    "MLFLOW_EXPERIMENT_NAME",
)
#: The run that was active where a sweep was started whose job runs in another process.
_handed: ContextVar[str] = ContextVar("handed", default="")


def caller_run() -> str:
    """Return the id of the run that is active in this thread, or that MLFLOW_RUN_ID names; empty if there is none."""
    active_run = getattr(sys.modules.get("mlflow"), "active_run", None)
    run: Any = active_run() if active_run is not None else None
    if run is not None:
        return str(run.info.run_id)
    return _handed.get() or os.environ.get(RUN_ID, "")


@contextmanager
def below(run_id: str) -> Iterator[None]:
    """Take a run as the caller's meanwhile, where no other is active; an empty id changes nothing."""
    token = _handed.set(run_id or _handed.get())
    try:
        yield
    finally:
        _handed.reset(token)


def chosen_experiment() -> str | None:
    """Return the experiment that `mlflow.set_experiment` or the environment names; None if neither does."""
    if own := os.environ.get(EXPERIMENT_ID):  # `mlflow.set_experiment` sets it too
        from linfit.tracking.experiments import (
            experiment_with_id,
        )  # only now: it takes its time to import

        get_uri = getattr(sys.modules.get("mlflow"), "get_tracking_uri", None)
        if found := experiment_with_id(None if get_uri is None else get_uri(), own):
            return found
        _tell_missing(own)
    return os.environ.get(EXPERIMENT_NAME) or None


def has_chosen(experiment_id: str) -> bool:
    """Return True for the experiment that the program which calls linfit works in itself, by MLflow's functions or the environment."""
    active_run = getattr(sys.modules.get("mlflow"), "active_run", None)
    run: Any = active_run() if active_run is not None else None
    if run is not None and run.info.experiment_id == experiment_id:
        return True
    return os.environ.get(EXPERIMENT_ID) == experiment_id


@cache
def _tell_missing(experiment_id: str) -> None:
    """Say once that the experiment which was chosen is not there."""
    missing = f"{EXPERIMENT_ID}={experiment_id} is no experiment of the store, or a deleted one"
    tell(f"linfit: note: {missing}: choose one with name=…")
