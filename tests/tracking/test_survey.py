"""A SQLite store knows how its rows are spread when a sweep has ended, so that MLflow's UI sorts it quickly."""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

from linfit.tracking.database import SURVEY, survey

#: How MLflow sorts runs by a metric.
SORTED = """
EXPLAIN QUERY PLAN SELECT runs.run_uuid FROM runs LEFT OUTER JOIN
    (SELECT value, run_uuid FROM latest_metrics WHERE key = 'excess_loss') AS found ON runs.run_uuid = found.run_uuid
ORDER BY found.value LIMIT 100
"""


def plan(file: Path) -> str:
    with closing(sqlite3.connect(file)) as connection:
        return "\n".join(row[-1] for row in connection.execute(SORTED))


def test_after_a_sweep_no_run_is_compared_with_every_other(linfit: Callable[..., Any], workdir: Path) -> None:
    file = workdir / "outputs" / "mlflow.db"
    assert linfit("run", "-m", "seed=range(0,200)", "steps=2").code == 0
    with closing(sqlite3.connect(file)) as connection:
        assert connection.execute("SELECT count(*) FROM sqlite_stat1 WHERE tbl = 'latest_metrics'").fetchone() > (0,)
    assert "SCAN found" not in plan(file)


def test_somebody_elses_lock_is_not_waited_for(workdir: Path) -> None:
    file = workdir / "outputs" / "mlflow.db"
    with closing(sqlite3.connect(file)) as other:
        other.execute("BEGIN IMMEDIATE")
        began = time.monotonic()
        survey(file)
        assert time.monotonic() - began < 10 * SURVEY + 2
