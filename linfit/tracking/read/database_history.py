"""Ask MLflow's tables about the fits of a sweep, which are too many to read each run whole."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from mlflow.store.tracking.dbmodels.models import SqlLatestMetric, SqlRun, SqlTag
from sqlalchemy import ColumnElement, Engine, and_, select
from sqlalchemy.orm import aliased

from linfit.tracking.read.history import TAGS_OF_OTHER_FITS, ChildRun, select_final_numbers
from linfit.tracking.schema import mlflow_names
from linfit.tracking.store.retry import call_with_retry
from linfit.tracking.store.store import Store


class TableQueries:
    """Answers the questions of FitQueries with one SQL query each."""

    def __init__(self, store: Store, engine: Engine, experiment_id: str) -> None:
        self.store = store
        self.engine = engine
        self.experiment_id = experiment_id

    def find_children(self, parent: str) -> list[ChildRun]:
        """Return the fits of a sweep, the oldest first."""
        parents = aliased(SqlTag)
        row = aliased(SqlTag)
        retries = aliased(SqlTag)
        run_id = parents.run_uuid
        query = (
            select(run_id, row.value, SqlRun.status, retries.value)
            .select_from(parents)
            .join(SqlRun, SqlRun.run_uuid == run_id)
            .join(row, _has(row, run_id, mlflow_names.ROW))
            .outerjoin(retries, _has(retries, run_id, mlflow_names.RETRIES))
            .where(parents.key == mlflow_names.PARENT, parents.value == parent)
            .where(SqlRun.lifecycle_stage == "active")
            .order_by(SqlRun.start_time)
        )
        return [
            ChildRun(run_id, mlflow_names.parse_row_number(number), status, replaced or "")
            for run_id, number, status, replaced in self._rows(query)
        ]

    def find_finished(self, code: str, keys: Sequence[str]) -> dict[str, dict[str, float]]:
        """Return the final metrics `keys` of finished fits, by fingerprint.

        Only fits that this code computed are searched.
        """
        fingerprint = aliased(SqlTag)
        parent = aliased(SqlTag)
        row = aliased(SqlTag)
        status = aliased(SqlTag)
        metrics = {key: aliased(SqlLatestMetric) for key in keys}
        run_id = SqlRun.run_uuid
        values = [metric.value for metric in metrics.values()]
        query = (
            select(run_id, fingerprint.value, parent.value, status.value, *values)
            .select_from(SqlRun)
            .join(fingerprint, _has(fingerprint, run_id, mlflow_names.FINGERPRINT))
            .outerjoin(row, _has(row, run_id, mlflow_names.ROW))
            .outerjoin(parent, _has(parent, row.run_uuid, mlflow_names.PARENT))
            .outerjoin(status, _has(status, run_id, mlflow_names.STATUS))
            .where(SqlRun.experiment_id == int(self.experiment_id))
            .where(SqlRun.lifecycle_stage == "active", SqlRun.status == "FINISHED")
        )
        for key, metric in metrics.items():
            query = query.outerjoin(metric, _has(metric, run_id, key))
        same = self._computed_by(code)
        found = {}
        for own_id, fit, sweep, ended, *numbers in self._rows(query):
            if (sweep or own_id) in same:
                found[fit] = select_final_numbers(ended, dict(zip(metrics, numbers, strict=True)))
        return found

    def _computed_by(self, code: str) -> set[str]:
        """Return the ids of the single runs and sweeps that this code alone computed."""
        others = select(SqlTag.run_uuid).where(SqlTag.key.in_(TAGS_OF_OTHER_FITS))
        query = select(SqlTag.run_uuid).where(
            SqlTag.key == mlflow_names.CODE, SqlTag.value == code, SqlTag.run_uuid.not_in(others)
        )
        return {run_id for (run_id,) in self._rows(query)}

    def _rows(self, query: Any) -> list[Any]:
        def read() -> list[Any]:
            with self.engine.connect() as connection:
                return list(connection.execute(query))

        return call_with_retry(self.store, read)


def _has(table: Any, run_id: Any, key: str) -> ColumnElement[bool]:
    """Return the condition that a row of tags or metrics is that of a run, under this key."""
    return and_(table.run_uuid == run_id, table.key == key)
