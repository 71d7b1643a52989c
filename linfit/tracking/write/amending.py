"""Add names, metrics, params and tags to recorded runs, as SQL for any database."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from mlflow.utils.mlflow_tags import MLFLOW_RUN_NAME
from sqlalchemy import Connection, Table, bindparam, select

from linfit.tracking.schema.run_records import Amendment
from linfit.tracking.write.client import split_sequence
from linfit.tracking.write.rows import LATEST, METRICS, PARAMS, RUNS, TAGS, TableRecord
from linfit.tracking.write.sql import insert_records

AMENDED_RUNS_PER_QUERY = 500


def amend_runs(connection: Connection, amendments: Mapping[str, Amendment]) -> None:
    """Amend the runs with these ids.

    A param or metric that a run has already is left as it is.
    """
    for run_ids in split_sequence(list(amendments), AMENDED_RUNS_PER_QUERY):
        few = {run_id: amendments[run_id] for run_id in run_ids}
        # First: with it SQLite takes the lock, so that what is read later stays true.
        _rename(connection, few)
        _set_tags(connection, few)
        _add_params(connection, few)
        _add_metrics(connection, few)


def _rename(connection: Connection, amendments: Mapping[str, Amendment]) -> None:
    named = [{"id": run_id, "new": one.name} for run_id, one in amendments.items() if one.name]
    if named:
        run = RUNS.update().where(RUNS.c.run_uuid == bindparam("id"))
        connection.execute(run.values(name=bindparam("new")), named)


def _set_tags(connection: Connection, amendments: Mapping[str, Amendment]) -> None:
    """Replace tags, among them the one that holds a run's name."""
    tags: list[TableRecord] = []
    for run_id, amendment in amendments.items():
        new = dict(amendment.tags)
        if amendment.name:
            new[MLFLOW_RUN_NAME] = amendment.name
        tags += [(key, value, run_id) for key, value in new.items()]
    if not tags:
        return
    old = TAGS.delete().where(TAGS.c.run_uuid == bindparam("id"), TAGS.c.key == bindparam("tag"))
    connection.execute(old, [{"id": run_id, "tag": key} for key, _, run_id in tags])
    insert_records(connection, TAGS, tags)


def _add_params(connection: Connection, amendments: Mapping[str, Amendment]) -> None:
    known = _known(connection, PARAMS, list(amendments))
    params: list[TableRecord] = []
    for run_id, amendment in amendments.items():
        for key, value in amendment.params.items():
            if (run_id, key) not in known:
                params.append((key, value, run_id))
    insert_records(connection, PARAMS, params)


def _add_metrics(connection: Connection, amendments: Mapping[str, Amendment]) -> None:
    """Add metrics at step 0, timed like the other metrics of a run: at its end."""
    known = _known(connection, LATEST, list(amendments))
    query = select(RUNS.c.run_uuid, RUNS.c.end_time).where(RUNS.c.run_uuid.in_(list(amendments)))
    ends = {run.run_uuid: run.end_time for run in connection.execute(query)}
    metrics: list[TableRecord] = []
    for run_id, amendment in amendments.items():
        for key, value in amendment.metrics.items():
            if (run_id, key) not in known:
                metrics.append((key, float(value), ends[run_id], 0, False, run_id))
    insert_records(connection, METRICS, metrics)
    insert_records(connection, LATEST, metrics)


def _known(connection: Connection, table: Table, run_ids: Sequence[str]) -> set[tuple[str, str]]:
    """Return the (run, key) pairs of these runs that a table holds."""
    query = select(table.c.run_uuid, table.c.key).where(table.c.run_uuid.in_(run_ids))
    return {(run_id, key) for run_id, key in connection.execute(query)}
