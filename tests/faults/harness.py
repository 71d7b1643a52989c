"""Real `linfit` processes that can be killed.

They start quickly: each is forked from a process that has imported torch and MLflow already.
"""

from __future__ import annotations

import atexit
import importlib
import json
import multiprocessing
import os
import shutil
import signal
import sqlite3
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import closing
from multiprocessing import forkserver
from multiprocessing.context import ForkServerContext
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any, NoReturn

import pytest
from pyarrow import parquet

from linfit.tracking.schema import mlflow_names
from tests.helpers import end_with_parent

FOLDER = "outputs/sweeps/one"
#: A sweep of so many fits.
FITS, PAIRS = (
    (
        "run",
        "-m",
        "seed=range(0,50)",
        "optimizer=sgd,adam",
        "steps=20",
        "pictures=false",
        f"hydra.sweep.dir={FOLDER}",
    ),
    100,
)
ROOT = Path(__file__).parents[2]


def missing(reason: str) -> NoReturn:
    """Skip a test that cannot run here. With LINFIT_NO_SKIPS=1, fail instead."""
    (pytest.fail if os.environ.get("LINFIT_NO_SKIPS") == "1" else pytest.skip)(reason)
    raise AssertionError


def need(*programs: str) -> None:
    """The programs that a test runs."""
    if absent := [program for program in programs if shutil.which(program) is None]:
        missing(f"not installed: {', '.join(absent)}")


def need_package(name: str, extra: str) -> Any:
    """The package that a test imports."""
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError:
        missing(f"needs linfit-lab[{extra}]")


def context() -> ForkServerContext:
    """Return the context of a server that has imported linfit, from wherever the tests run."""
    server = multiprocessing.get_context("forkserver")
    server.set_forkserver_preload(["tests.faults.preloaded"])
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYTHONPATH", str(ROOT))
        forkserver.ensure_running()
    return server


def main(
    workdir: str,
    arguments: Sequence[str],
    block: int,
    desk: bool,
    doom: tuple[str, int | str] | None,
    environment: dict[str, str],
) -> None:
    """Run the command line in the child, with its output in a file, and `block` fits a transaction.

    With `desk`, MLflow lives in another process, as for a user. `doom` is the process that is
    killed and the moment, as in `killing.arrange`. The process leads a group of its own.
    """
    end_with_parent()  # the server of forks, which ends with the tests
    os.setpgrp()
    os.chdir(workdir)
    os.environ.update(environment)
    tempfile.tempdir = None
    log = os.open("log", os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    os.dup2(log, 1)
    os.dup2(log, 2)
    signal.signal(signal.SIGINT, signal.default_int_handler)
    from linfit import cli
    from linfit.sweeps.run import block_pipeline
    from tests.faults.killing import arrange

    block_pipeline.BLOCK = block
    if desk:
        begin_desk()
    if doom is not None:
        arrange(*doom, workdir)
    sys.argv = ["linfit", *arguments]
    try:
        cli.main()
    finally:
        atexit._run_exitfuncs()  # which multiprocessing leaves out


def begin_desk() -> None:
    """Start the process for the recorder, and wait until it has imported MLflow.

    Otherwise most kills would meet its imports.
    """
    from linfit.tracking.write.background import prestart

    prestart.start_process(elsewhere=False)
    [child] = prestart._waiting
    child.send(("nothing", ()))
    child.receive()


def start(
    workdir: Path,
    *arguments: str,
    block: int = 20,
    desk: bool = False,
    doom: tuple[str, int | str] | None = None,
    **environment: str,
) -> BaseProcess:
    given = {"LINFIT_GRACE": "30", **environment}
    process = context().Process(
        target=main, args=(str(workdir), arguments, block, desk, doom, given)
    )
    process.start()
    return process


def end(process: BaseProcess, seconds: float = 120) -> int:
    """The exit code, negative for a signal."""
    process.join(seconds)
    if process.exitcode is None:
        process.kill()
        process.join()
        raise AssertionError("the process did not end")
    return process.exitcode


def run(workdir: Path, *arguments: str, **more: Any) -> int:
    return end(start(workdir, *arguments, **more))


def until(
    condition: Callable[[], bool], process: BaseProcess, workdir: Path, seconds: float = 120
) -> None:
    """Waits for something that the process does; it is killed where it does not."""
    deadline = time.monotonic() + seconds
    while not condition():
        if process.exitcode is not None or time.monotonic() > deadline:
            process.kill()
            raise AssertionError(f"it ended, or never came so far:\n{log(workdir)}")
        time.sleep(0.002)


def tables(workdir: Path) -> str:
    """Results and curves by row, but ids of runs and measured times: equal texts are equal bits."""
    columns = {mlflow_names.RESULTS: ["run_id", "step_seconds"], mlflow_names.CURVES: []}
    found = [
        parquet.read_table(workdir / FOLDER / name).drop_columns(dropped).sort_by("row")
        for name, dropped in columns.items()
    ]
    return repr([table.to_pylist() for table in found])


def recorded(workdir: Path, database: Path | None = None) -> str:
    """Return what MLflow has of the sweep's fits, by row: equal texts are equal bits.

    Ids, times, and the fields that say where and as what they are tracked are left out.
    """
    return repr([fit for _, fit in recorded_fits(workdir, database)])


def recorded_fits(workdir: Path, database: Path | None = None) -> list[tuple[str, tuple[Any, ...]]]:
    """Return the ids of the sweep's runs with what MLflow has of each, its row first."""
    queries = (
        "SELECT key, step, value, is_nan FROM metrics WHERE run_uuid = ? ORDER BY key, step, value",
        "SELECT key, step, value, is_nan FROM latest_metrics WHERE run_uuid = ? ORDER BY key",
        "SELECT key, value FROM params WHERE run_uuid = ? ORDER BY key",
        "SELECT name, digest FROM inputs JOIN datasets ON dataset_uuid = source_id "
        "WHERE destination_id = ? ORDER BY name",
    )
    with closing(sqlite3.connect(database or workdir / "outputs" / "mlflow.db")) as store:
        fits = store.execute(
            "SELECT CAST(r.value AS INTEGER), runs.run_uuid, name, status FROM runs "
            "JOIN tags r USING (run_uuid) JOIN tags p USING (run_uuid) "
            "JOIN tags f ON f.run_uuid = p.value WHERE lifecycle_stage = 'active' "
            "AND r.key = ? AND p.key = ? AND f.key = ? AND f.value = ?",
            (
                mlflow_names.ROW,
                mlflow_names.PARENT,
                mlflow_names.FOLDER,
                str((workdir / FOLDER).absolute()),
            ),
        ).fetchall()
        return [
            (
                run,
                (
                    row,
                    name,
                    status,
                    _tags(store, run),
                    *(store.execute(query, (run,)).fetchall() for query in queries),
                ),
            )
            for row, run, name, status in sorted(fits)
        ]


def _tags(store: sqlite3.Connection, run: str) -> dict[str, Any]:
    tags = dict(
        store.execute("SELECT key, value FROM tags WHERE run_uuid = ? ORDER BY key", (run,))
    )
    config = {**json.loads(tags[mlflow_names.CONFIG])["config"], "tracking": None, "name": None}
    return {**tags, mlflow_names.CONFIG: config, mlflow_names.PARENT: None}


def contents(workdir: Path, database: Path | None = None) -> str:
    """Tables and runs of the sweep."""
    return f"{tables(workdir)}\n{recorded(workdir, database)}"


def assert_whole(workdir: Path, num_fits: int, reference: str) -> None:
    """Assert that each fit is there once and finished, with its own numbers.

    Nothing else is there, and the database is sound.
    """
    assert contents(workdir) == reference, log(workdir)
    results = parquet.read_table(
        workdir / FOLDER / mlflow_names.RESULTS, columns=["row", "run_id", "loss"]
    ).to_pylist()
    with closing(sqlite3.connect(workdir / "outputs" / "mlflow.db")) as store:
        assert store.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
        assert store.execute("PRAGMA foreign_key_check").fetchall() == []
        statuses = Counter(status for (status,) in store.execute("SELECT status FROM runs"))
        assert statuses == {"FINISHED": num_fits + 1}, log(workdir)
        rows = dict(
            store.execute("SELECT run_uuid, value FROM tags WHERE key = ?", (mlflow_names.ROW,))
        )
        losses = dict(
            store.execute("SELECT run_uuid, value FROM latest_metrics WHERE key = 'loss'")
        )
        assert sorted(map(int, rows.values())) == list(range(num_fits))
        assert [(rows[result["run_id"]], losses[result["run_id"]]) for result in results] == [
            (str(r["row"]), r["loss"]) for r in results
        ]
        twice = (
            "SELECT run_uuid, key, step FROM metrics "
            "GROUP BY run_uuid, key, step HAVING count(*) > 1"
        )
        assert store.execute(twice).fetchall() == []


def log(workdir: Path) -> str:
    return (workdir / "log").read_text()[-3000:]


def one_line(workdir: Path, name: str) -> None:
    assert "Traceback" not in log(workdir), log(workdir)
    lines = [
        line for line in log(workdir).splitlines() if line.startswith("linfit: ") and name in line
    ]
    assert len(lines) >= 1, log(workdir)
