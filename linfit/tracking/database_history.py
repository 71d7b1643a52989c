"""The same read from MLflow's tables, where a sweep has too many fits to read each of them whole."""

from __future__ import annotations

from typing import Any

from mlflow.store.tracking.dbmodels.models import SqlLatestMetric, SqlRun, SqlTag
from sqlalchemy import Engine, and_, select
from sqlalchemy.orm import aliased

from linfit.tracking import layout
from linfit.tracking.history import NOT_THE_SAME, Child, History, final_losses
from linfit.tracking.patience import persist


class DatabaseHistory(History):
    """Asks the tables themselves for what is asked of every fit; everything else through MLflow's client."""

    def __init__(self, history: History, engine: Engine) -> None:
        super().__init__(history.store, history.client, history.experiment_id)
        self.engine = engine

    def children(self, parent: str) -> list[Child]:
        of, row, retries = aliased(SqlTag), aliased(SqlTag), aliased(SqlTag)
        query = (
            select(SqlRun.run_uuid, row.value, SqlRun.status, retries.value)
            .select_from(of)
            .join(SqlRun, SqlRun.run_uuid == of.run_uuid)
            .join(row, and_(row.run_uuid == of.run_uuid, row.key == layout.ROW))
            .outerjoin(
                retries, and_(retries.run_uuid == of.run_uuid, retries.key == layout.RETRIES)
            )
            .where(of.key == layout.PARENT, of.value == parent, SqlRun.lifecycle_stage == "active")
            .order_by(SqlRun.start_time)
        )
        return [
            Child(run_id, layout.row_number(number), status, earlier or "")
            for run_id, number, status, earlier in self._rows(query)
        ]

    def finished(self, code: str) -> dict[str, dict[str, float]]:
        fingerprint, parent, row, status = (
            aliased(SqlTag),
            aliased(SqlTag),
            aliased(SqlTag),
            aliased(SqlTag),
        )
        losses = {key: aliased(SqlLatestMetric) for key in layout.LOSSES}
        query = (
            select(
                SqlRun.run_uuid,
                fingerprint.value,
                parent.value,
                status.value,
                *(loss.value for loss in losses.values()),
            )
            .select_from(SqlRun)
            .join(
                fingerprint,
                and_(
                    fingerprint.run_uuid == SqlRun.run_uuid, fingerprint.key == layout.FINGERPRINT
                ),
            )
            .outerjoin(row, and_(row.run_uuid == SqlRun.run_uuid, row.key == layout.ROW))
            .outerjoin(parent, and_(parent.run_uuid == row.run_uuid, parent.key == layout.PARENT))
            .outerjoin(
                status, and_(status.run_uuid == SqlRun.run_uuid, status.key == layout.STATUS)
            )
            .where(
                SqlRun.experiment_id == int(self.experiment_id),
                SqlRun.lifecycle_stage == "active",
                SqlRun.status == "FINISHED",
            )
        )
        for key, loss in losses.items():
            query = query.outerjoin(loss, and_(loss.run_uuid == SqlRun.run_uuid, loss.key == key))
        same = self._of_code(code)
        return {
            found: final_losses(ended, dict(zip(losses, values, strict=True)))
            for run_id, found, above, ended, *values in self._rows(query)
            if (above or run_id) in same
        }

    def _of_code(self, code: str) -> set[str]:
        """The single runs and sweeps that were computed by this code alone."""
        others = select(SqlTag.run_uuid).where(SqlTag.key.in_(NOT_THE_SAME))
        query = select(SqlTag.run_uuid).where(
            SqlTag.key == layout.CODE, SqlTag.value == code, SqlTag.run_uuid.not_in(others)
        )
        return {run_id for (run_id,) in self._rows(query)}

    def _rows(self, query: Any) -> list[Any]:
        def read() -> list[Any]:
            with self.engine.connect() as connection:
                return list(connection.execute(query))

        return persist(self.store, read)
