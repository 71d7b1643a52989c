"""After a sweep a SQLite store knows how its rows are spread: MLflow's UI sorts it quickly."""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

from mlflow import MlflowClient
from mlflow.tracking._tracking_service.utils import _get_store
from sqlalchemy import event

from linfit.tracking.write.database import ANALYZE_TIMEOUT, analyze


def plan(file: Path) -> list[str]:
    """How SQLite goes about what MLflow asks for where its UI sorts the fits by a metric."""
    asked: list[tuple[str, Any]] = []
    engine = _get_store(f"sqlite:///{file}").engine

    def hear(
        connection: Any, cursor: Any, statement: str, parameters: Any, context: Any, many: bool
    ) -> None:
        asked.append((statement, parameters))

    event.listen(engine, "before_cursor_execute", hear)
    client = MlflowClient(f"sqlite:///{file}")
    client.search_runs(["1"], "tags.`linfit.kind` = 'fit'", order_by=["metrics.`excess_loss`"])
    event.remove(engine, "before_cursor_execute", hear)
    [(statement, parameters)] = [
        one for one in asked if "ORDER BY" in one[0] and "latest_metrics" in one[0]
    ]
    with closing(sqlite3.connect(file)) as connection:
        return [
            row[-1] for row in connection.execute(f"EXPLAIN QUERY PLAN {statement}", parameters)
        ]


def test_after_a_sweep_no_run_is_compared_with_every_other(
    linfit: Callable[..., Any], workdir: Path
) -> None:
    assert linfit("run", "-m", "seed=range(0,200)", "steps=2").code == 0
    made = plan(workdir / "outputs" / "mlflow.db")
    assert any("latest_metrics" in step for step in made)
    assert [
        step for step in made if step.startswith("SCAN") and step.endswith("LEFT-JOIN")
    ] == []  # all metrics, for each run


def test_somebody_elses_lock_is_not_waited_for(workdir: Path) -> None:
    file = workdir / "outputs" / "mlflow.db"
    with closing(sqlite3.connect(file)) as other:
        other.execute("BEGIN IMMEDIATE")
        began = time.monotonic()
        analyze(file)
        assert time.monotonic() - began < 10 * ANALYZE_TIMEOUT + 2
