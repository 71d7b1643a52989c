"""Sweeps that are broken off somewhere, for the tests of how they go on."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from pyarrow import parquet

from linfit.engine.dispatch import fit_as_completed
from linfit.sweeps.run import block_pipeline, sweep_run
from linfit.tracking.schema import mlflow_names
from linfit.tracking.write import database
from tests.conftest import Ran
from tests.faults.harness import recorded

Linfit = Callable[..., Ran]
SWEEP = (
    "run",
    "-m",
    "seed=range(0,9)",
    "optimizer=sgd,adam",
    "steps=20",
    "hydra.sweep.dir=outputs/sweeps/one",
)
FOLDER = Path("outputs/sweeps/one")
NUM_FITS = 18


@pytest.fixture
def blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    """Four fits at a time are recorded."""
    monkeypatch.setattr(block_pipeline, "BLOCK", 4)


@pytest.fixture
def break_off(
    monkeypatch: pytest.MonkeyPatch, blocks: None
) -> Callable[[int, BaseException], None]:
    """Makes the next sweep raise before its fit number so-and-so."""

    def arrange(before: int, error: BaseException) -> None:
        def broken(configs: Any, report: Any) -> Any:
            for number, (place, fit) in enumerate(fit_as_completed(configs)):
                if number == before:
                    monkeypatch.setattr(
                        "linfit.sweeps.executors.executor.fit_as_completed", fit_as_completed
                    )
                    raise error
                yield place, fit

        monkeypatch.setattr("linfit.sweeps.executors.executor.fit_as_completed", broken)

    return arrange


def kill(monkeypatch: pytest.MonkeyPatch) -> None:
    """From now on an interrupted sweep ends as a killed process: nothing is put in order."""

    def dead(sweep: sweep_run.SweepRun, *_: object) -> None:
        if isinstance(sweep.recorder, database.DatabaseRecorder):
            sweep.recorder._worker.wait_until_idle()  # it would end with this process
        sweep.folder.release_lock()

    monkeypatch.setattr(sweep_run.SweepRun, "kill", dead)


def tables(folder: Path = FOLDER) -> list[list[dict[str, Any]]]:
    """Results and curves by row, without the ids of runs and measured times."""
    results = (mlflow_names.RESULTS, ["run_id", "step_seconds"])
    found = [
        parquet.read_table(folder / name).drop_columns(columns).to_pylist()
        for name, columns in (results, (mlflow_names.CURVES, []))
    ]
    return [sorted(rows, key=lambda row: int(row["row"])) for rows in found]


@dataclass(frozen=True)
class Reference:
    """The same sweep, not interrupted: its tables, and its runs in the store."""

    tables: str
    runs: str


@pytest.fixture(scope="session")
def reference(migrated_store: Path, tmp_path_factory: pytest.TempPathFactory) -> Reference:
    from linfit.sweeps.run.hydra_app import execute

    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(tmp_path_factory.mktemp("reference"))
        Path("outputs").mkdir()
        shutil.copy(migrated_store, "outputs/mlflow.db")
        execute(list(SWEEP[1:]))
        return Reference(repr(tables()), recorded(Path()))


def found(client: Any) -> tuple[Any, list[Any]]:
    """The parent, and its children in order of their rows."""
    runs = client.search_runs(
        [experiment.experiment_id for experiment in client.search_experiments()], run_view_type=3
    )
    [parent] = [run for run in runs if mlflow_names.PARENT not in run.data.tags]
    return parent, sorted(
        (run for run in runs if mlflow_names.PARENT in run.data.tags),
        key=lambda run: int(run.data.tags[mlflow_names.ROW]),
    )
