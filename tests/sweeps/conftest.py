"""Sweeps that are broken off somewhere, for the tests of how they go on."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from pyarrow import parquet

from linfit.engine.dispatch import fits_as_done
from linfit.sweeps import recording
from linfit.tracking import database, layout
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


#: How blocks are recorded: by this process, or by another one.
AT_ONCE, IN_THE_BACKGROUND = WAYS = ("at once", "in the background")


@pytest.fixture
def blocks(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Record four fits at a time, by this process unless a test asks for the other way."""
    way = getattr(request, "param", AT_ONCE)
    monkeypatch.setattr(recording, "BLOCK", 4)
    monkeypatch.setattr(database, "LARGE", 1 if way == IN_THE_BACKGROUND else 200)


@pytest.fixture
def break_off(
    monkeypatch: pytest.MonkeyPatch, blocks: None
) -> Callable[[int, BaseException], None]:
    """Makes the next sweep raise before its fit number so-and-so."""

    def arrange(before: int, error: BaseException) -> None:
        def broken(configs: Any, report: Any) -> Any:
            for number, (place, fit) in enumerate(fits_as_done(configs)):
                if number == before:
                    monkeypatch.setattr("linfit.sweeps.running.fits_as_done", fits_as_done)
                    raise error
                yield place, fit

        monkeypatch.setattr("linfit.sweeps.running.fits_as_done", broken)

    return arrange


def kill(monkeypatch: pytest.MonkeyPatch) -> None:
    """From now on an interrupted sweep ends as a killed process: nothing is put in order."""

    def dead(sweep: recording.Sweep, *_: object) -> None:
        if (
            isinstance(sweep.recorder, database.DatabaseRecorder)
            and sweep.recorder._background is not None
        ):
            sweep.recorder._background.close()  # it would end with this process
        sweep._own.release()

    monkeypatch.setattr(recording.Sweep, "kill", dead)


def tables(folder: Path = FOLDER) -> list[list[dict[str, Any]]]:
    """Results and curves by row, without the ids of runs."""
    found = [
        parquet.read_table(folder / name).drop_columns(columns).to_pylist()
        for name, columns in ((layout.RESULTS, ["run_id"]), (layout.CURVES, []))
    ]
    return [sorted(rows, key=lambda row: int(row["row"])) for rows in found]


@dataclass(frozen=True)
class Reference:
    """The same sweep, not interrupted: its tables, and its runs in the store."""

    tables: str
    runs: str


@pytest.fixture(scope="session")
def reference(migrated_store: Path, tmp_path_factory: pytest.TempPathFactory) -> Reference:
    from linfit.sweeps.app import execute
    from linfit.sweeps.runner import Runner

    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(tmp_path_factory.mktemp("reference"))
        Path("outputs").mkdir()
        shutil.copy(migrated_store, "outputs/mlflow.db")
        execute(list(SWEEP[1:]), Runner())
        return Reference(repr(tables()), recorded(Path()))


def found(client: Any) -> tuple[Any, list[Any]]:
    """The parent, and its children in order of their rows."""
    runs = client.search_runs(
        [experiment.experiment_id for experiment in client.search_experiments()], run_view_type=3
    )
    [parent] = [run for run in runs if layout.PARENT not in run.data.tags]
    return parent, sorted(
        (run for run in runs if layout.PARENT in run.data.tags),
        key=lambda run: int(run.data.tags[layout.ROW]),
    )
