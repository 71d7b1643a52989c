"""Runs and sweeps below the run that the caller has active in MLflow.

Composing a config uses this module too, so stores are imported late.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException

from linfit.errors import LinfitError
from linfit.settings import MLflowTracking, Tracking
from linfit.sweeps.config_files.messages import notify_user
from linfit.tracking.write.caller_run import find_caller_run


def find_parent_experiment(tracking: Mapping[str, Any] | None) -> str | None:
    """Return the caller's run's experiment, None if in another store."""
    run_id = find_caller_run()
    if not run_id or tracking is None or tracking.get("name") != "mlflow":
        return None
    from linfit.tracking.store.experiments import find_experiment_of_run
    from linfit.tracking.store.store import resolve_store

    try:
        uri = OmegaConf.create({"uri": tracking.get("uri")}).uri
        return find_experiment_of_run(resolve_store(uri), run_id)
    except (LinfitError, OmegaConfBaseException):
        return None  # the recorder reports the mistake when it opens the store


def tag_parent(tracking: Tracking, experiment: str) -> dict[str, str]:
    """Return the tag that puts a run below the caller's.

    Empty if the caller has none. References to the environment in `tracking` are resolved. A note
    tells the user if the caller's run is in another store, so that nothing is nested, or in another
    experiment: MLflow's UI shows one experiment at a time.
    """
    run_id = find_caller_run()
    if not run_id or not isinstance(tracking, MLflowTracking):
        return {}
    from linfit.tracking.schema import mlflow_names
    from linfit.tracking.store.experiments import find_experiment_of_run
    from linfit.tracking.store.store import resolve_store

    store = resolve_store(tracking.uri, tracking.artifacts)
    above = find_experiment_of_run(store, run_id)
    if above is None:
        notify_user(
            f"note: nothing is nested below the active MLflow run {run_id}: {store} has no such "
            f"run, or it was deleted there; name its store with tracking.uri"
        )
        return {}
    if above != experiment:
        notify_user(
            f"note: the parent, run {run_id}, is in the experiment {above!r}, and this in "
            f"{experiment!r}: name={above} puts them on one page"
        )
    return {mlflow_names.PARENT: run_id}
