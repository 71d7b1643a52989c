"""Look up the names of MLflow experiments, without making or changing anything.

A SQLite store is read without MLflow, which takes seconds to import.
"""

from __future__ import annotations

import sqlite3
from contextlib import suppress
from functools import lru_cache
from pathlib import Path

from linfit.errors import LinfitError
from linfit.tracking.store.sqlite_files import open_checked
from linfit.tracking.store.store import SERVER_TIMEOUT, Store, require_server, resolve_store

#: Queries for the name of an experiment in a SQLite store: of a run, or by its own id.
SELECT_BY_RUN = (
    "SELECT e.name FROM runs r JOIN experiments e ON e.experiment_id = r.experiment_id"
    " WHERE r.run_uuid = ? AND r.lifecycle_stage = 'active' AND e.lifecycle_stage = 'active'"
)
SELECT_BY_ID = "SELECT name FROM experiments WHERE experiment_id = ? AND lifecycle_stage = 'active'"


def find_experiment_of_run(store: Store, run_id: str) -> str | None:
    """Return the experiment of a run; None without the run."""
    with suppress(LookupError, LinfitError):
        return _experiment(store, SELECT_BY_RUN, run_id)
    return None


def find_experiment_by_id(uri: str | None, own_id: str) -> str | None:
    """Return the experiment with this id in a tracking store.

    None if the store of the tracking URI has none.
    """
    with suppress(LookupError, LinfitError):
        return _experiment(resolve_store(uri), SELECT_BY_ID, own_id)
    return None


@lru_cache(maxsize=64)
def _experiment(store: Store, question: str, own_id: str) -> str:
    """Return the name of an experiment; LookupError if it does not exist.

    Names that are found are cached: a sweep asks for each fit.
    """
    if store.file is None:
        found = _ask_server(store, question, own_id)
    else:
        found = _ask_file(store.file, question, own_id)
    if found is None:
        raise LookupError(own_id)
    return found


def _ask_file(file: Path, question: str, own_id: str) -> str | None:
    with (
        suppress(sqlite3.Error),
        open_checked(file, to_write=True, timeout=SERVER_TIMEOUT) as database,
    ):
        row = database.execute(question, (own_id,)).fetchone()
        return None if row is None else str(row[0])
    return None


def _ask_server(store: Store, question: str, own_id: str) -> str | None:
    from mlflow import MlflowClient
    from mlflow.exceptions import MlflowException

    if store.is_server:
        require_server(store)
    client = MlflowClient(tracking_uri=store.uri)
    with suppress(MlflowException):
        if question == SELECT_BY_RUN:
            own_id = client.get_run(own_id).info.experiment_id
        return str(client.get_experiment(own_id).name)
    return None
