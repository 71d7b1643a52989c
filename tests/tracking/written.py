"""Rows of every kind, stores that they are written to, and everything that a store has."""

from __future__ import annotations

import math
import re
import shutil
import sqlite3
from collections.abc import Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from mlflow import MlflowClient

from linfit.config import FitConfig
from linfit.engine.dispatch import fit
from linfit.engine.fit import Fit, Status
from linfit.engine.prediction.predict import largest_stable_lr_of_fit
from linfit.method.optimizers import SGD
from linfit.tracking.schema import run_records
from linfit.tracking.schema.config_record import record_config
from linfit.tracking.schema.run_records import DatasetRecord, RunRecord
from linfit.tracking.store.store import Store
from linfit.tracking.write.client import ClientRecorder
from linfit.tracking.write.database import DatabaseRecorder

NAME, START, END = "a block", 1_700_000_000_123, 1_700_000_000_456
PARENT = "0123456789abcdef0123456789abcdef"
DATA = DatasetRecord("parabola", "d" * 36, "linfit:parabola", ("x^2", "1"), ("y",), 30)


def row(name: str = "plain", **fields: Any) -> RunRecord:
    return RunRecord(
        **{"name": name, "start": START, "end": END, "status": "FINISHED", "tags": {}, **fields}
    )


def with_tag(row: RunRecord) -> RunRecord:
    """The row with a tag that is not linfit's, whose value is not ASCII."""
    return replace(row, tags={**row.tags, "more": "…"})


def children() -> list[RunRecord]:
    """What a sweep adds: fits that completed, diverged and failed."""
    configs = [
        FitConfig(seed=seed, steps=30, optimizer=SGD(lr=lr))
        for seed in (0, 1)
        for lr in (1e-3, 10.0)
    ]
    fits = [*map(fit, configs), Fit(configs[0], Status.FAILED, error="Traceback …\nValueError: ü")]
    assert {one.status for one in fits} == {Status.COMPLETED, Status.DIVERGED, Status.FAILED}
    varying = ("optimizer.lr", "seed")
    return [
        with_tag(
            run_records.record_child(
                one,
                record_config(one.config, varying),
                f"lr={i}",
                PARENT,
                i,
                (START + i, END + i),
                None,
                largest_stable_lr_of_fit(one),
            )
        )
        for i, one in enumerate(fits)
    ]


def numbers(*points: tuple[str, float, int]) -> RunRecord:
    return row("numbers", metrics=points)


#: Rows beyond what layout makes today: what the tables, and MLflow's rules for them, can hold.
ODD = [
    row(),
    row("killed ü 🎈" + "n" * 200, status="KILLED", tags={"k/e y.-_": "v" * 8000}),
    row(
        "long",
        params={f"p{i}": "v" * (5882 + i) for i in range(120)},
        tags={f"t{i}": str(i) for i in range(130)},
    ),
    row("empty values", params={"p": "", "q": "x\ny"}, tags={"t": ""}),
    row(
        "a user's own",
        tags={
            "mlflow.note.content": "# ü",
            "mlflow.user": "nobody",
            "mlflow.source.name": "elsewhere",
        },
    ),
    numbers(
        ("nan", math.nan, 0),
        ("inf", math.inf, 0),
        ("minus", -math.inf, 0),
        ("-0", -0.0, 0),
        ("tiny", 5e-324, 2**40),
    ),
    numbers(
        ("twice", 1.0, 3),
        ("twice", 1.0, 3),
        ("nan", math.nan, 3),
        ("nan", math.nan, 3),
        ("nan", 0.0, 3),
    ),
    numbers(
        ("back", 1.0, 5),
        ("back", 9.0, 2),
        ("tie", 1.0, 4),
        ("tie", 3.0, 4),
        ("tie", 2.0, 4),
        ("minus", 1.0, -2),
    ),
    numbers(
        ("nan first", math.nan, 1),
        ("nan first", -1.0, 1),
        ("nan last", 1.0, 1),
        ("nan last", math.nan, 2),
    ),
    numbers(*((f"weight/{i % 7}", float(i), i // 7) for i in range(2500))),
    row("data", dataset=DATA),
    row("the same data", dataset=replace(DATA, source="moved", rows=31)),
    row("other data", dataset=replace(DATA, digest="e")),
    row("same digest", dataset=replace(DATA, name="other")),
]


@dataclass(frozen=True)
class Written:
    """The same rows in two stores that were one before."""

    rows: list[RunRecord]
    by_client: Path
    client_ids: list[str]
    by_database: Path
    database_ids: list[str]

    def clients(self) -> tuple[MlflowClient, MlflowClient]:
        return MlflowClient(tracking_uri=uri(self.by_client)), MlflowClient(
            tracking_uri=uri(self.by_database)
        )


def uri(file: Path) -> str:
    return f"sqlite:///{file}"


def named(file: Path) -> Store:
    """Return the store in a copy, with the place of the original's artifacts named.

    Nothing is written elsewhere than where the user says.
    """
    with closing(sqlite3.connect(file)) as database:
        [(location,)] = database.execute(
            "SELECT artifact_location FROM experiments WHERE name = ?", (NAME,)
        )
    return Store(uri(file), location)


def write(rows: list[RunRecord], template: Path, folder: Path) -> Written:
    """Two blocks, so that the second finds datasets of the first."""
    files = [folder / "client.db", folder / "database.db"]
    for file in files:
        shutil.copy(template, file)
    client, base = (ClientRecorder(named(file), NAME) for file in files)
    by_block = DatabaseRecorder(base)
    half = len(rows) // 2
    return Written(
        rows,
        files[0],
        client.log_runs(rows),
        files[1],
        by_block.log_runs(rows[:half]) + by_block.log_runs(rows[half:]),
    )


def contents(file: Path, run_ids: Sequence[str]) -> dict[str, list[str]]:
    """Every row of every table; ids of runs by their number, other ids only as such."""
    with closing(sqlite3.connect(file)) as store:
        tables = [
            name
            for (name,) in store.execute(
                "SELECT name FROM sqlite_master WHERE type = 'table' ORDER BY name"
            )
        ]
        found = {
            table: [repr(record) for record in store.execute(f'SELECT * FROM "{table}"')]
            for table in tables
        }
    numbers = {run_id: f"run {number}" for number, run_id in enumerate(run_ids)}
    return {
        table: sorted(
            re.sub(r"\b[0-9a-f]{32}\b", lambda id_: numbers.get(id_[0], "an id"), record)
            for record in records
        )
        for table, records in found.items()
    }


def sound(file: Path) -> bool:
    with closing(sqlite3.connect(file)) as store:
        return (
            store.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
            and not store.execute("PRAGMA foreign_key_check").fetchall()
        )


def file_of(recorder: DatabaseRecorder) -> Path:
    assert recorder.store.file is not None
    return recorder.store.file


def run_count(file: Path) -> int:
    with closing(sqlite3.connect(file)) as store:
        return int(store.execute("SELECT count(*) FROM runs").fetchone()[0])
