"""Relative paths begin where linfit was started; nothing that a run has left is written over."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hydra._internal.core_plugins import basic_launcher
from hydra.core.utils import run_job

import linfit as package
from linfit.sweeps.executors.processes import pack_fits, run_packed_fits
from tests.conftest import Ran
from tests.helpers import config

Linfit = Callable[..., Ran]

DATA = ["dataset=csv", "dataset.path=points.csv", "dataset.features=[x]", "dataset.target=y"]
STORE = ["tracking.uri=sqlite:///kept/runs.db", "tracking.artifacts=files"]
QUICK = ["steps=3", "pictures=false"]
CHDIR = "hydra.job.chdir=true"


@pytest.fixture
def points(workdir: Path) -> Path:
    (workdir / "points.csv").write_text("x,y\n1,2\n2,4.1\n3,5.9\n")
    (workdir / "kept").mkdir()
    (workdir / "outputs" / "mlflow.db").rename(workdir / "kept" / "runs.db")
    return workdir


def files(folder: Path, pattern: str) -> list[str]:
    return sorted(file.relative_to(folder).parent.as_posix() for file in folder.rglob(pattern))


def require_one_place(points: Path, folders: list[str]) -> None:
    """One store, the artifacts and the jobs' folders are all below where linfit was started."""
    assert files(points, "*.db") == ["kept"]
    runs = [folder for folder in files(points, "config.json") if folder.startswith("files/")]
    assert len(runs) == len(folders)
    assert [folder for folder in files(points, "config.json") if folder not in runs] == folders
    assert Path.cwd() == points


def test_jobs_of_other_launchers_share_what_linfit_was_started_with(
    linfit: Linfit, points: Path
) -> None:
    ran = linfit(
        "run",
        "-m",
        "seed=0,1",
        "hydra/launcher=basic",
        "hydra.sweep.dir=there",
        CHDIR,
        *DATA,
        *STORE,
        *QUICK,
    )
    assert ran.code == 0, ran.err
    require_one_place(points, ["there/0", "there/1"])


def test_so_does_a_job_whose_process_works_elsewhere(
    linfit: Linfit, points: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    elsewhere = points / "elsewhere"
    elsewhere.mkdir()

    def run_elsewhere(**arguments: Any) -> Any:
        os.chdir(elsewhere)
        try:
            return run_job(**arguments)
        finally:
            os.chdir(points)

    monkeypatch.setattr(basic_launcher, "run_job", run_elsewhere)
    ran = linfit(
        "run",
        "-m",
        "seed=0,1",
        "hydra/launcher=basic",
        "hydra.sweep.dir=there",
        *DATA,
        *STORE,
        *QUICK,
    )
    assert ran.code == 0, ran.err
    require_one_place(points, ["there/0", "there/1"])


@pytest.mark.parametrize("chdir", [[], [CHDIR]])
def test_so_does_a_fit_alone(chdir: list[str], linfit: Linfit, points: Path) -> None:
    ran = linfit("run", *chdir, "hydra.run.dir=here", *DATA, *STORE, *QUICK)
    assert ran.code == 0, ran.err
    require_one_place(points, ["here"])


def test_so_does_a_sweep_in_python(points: Path) -> None:
    results = package.sweep([CHDIR, "seed=0,1", "hydra.sweep.dir=here", *DATA, *STORE, *QUICK])
    assert results.table["status"].tolist() == ["completed"] * 2
    assert (points / "here" / "results.parquet").is_file()
    require_one_place(points, [])


def test_so_does_a_process_of_a_cluster(
    points: Path, tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    dataset = {"name": "csv", "path": "points.csv", "features": ["x"], "target": "y"}
    sent = pack_fits([config(dataset=dataset, steps=3)])
    monkeypatch.chdir(tmp_path_factory.mktemp("elsewhere"))
    [(_, fitted)] = run_packed_fits(*sent)
    assert fitted["status"] == "completed"
    assert Path.cwd() != points


def contents(folder: Path) -> dict[str, bytes]:
    """All files of a folder, but for what only says that it was looked at."""
    kept = (file for file in folder.rglob("*") if file.is_file() and file.name != ".lock")
    return {str(file.relative_to(folder)): file.read_bytes() for file in kept}


ALONE, SWEEP = ["hydra.run.dir=one"], ["-m", "seed=0,1", "hydra.sweep.dir=one"]
#: What runs first in the folder, and what is refused there.
TWICE = {
    "a fit": (
        ALONE,
        ALONE,
        "one holds config.json, which would be written over: choose another hydra.run.dir",
    ),
    "a sweep": (
        SWEEP,
        SWEEP,
        "one holds another sweep: choose another hydra.sweep.dir, "
        "or go on with it by linfit resume one",
    ),
    "a sweep in batches": (SWEEP, [*SWEEP, "hydra/sweeper=basic"], "one holds another sweep"),
    "a fit in a sweep's": (SWEEP, ALONE, "one holds another sweep: choose another hydra.run.dir"),
    "a sweep in a fit's": (
        ALONE,
        SWEEP,
        "one holds config.json, which would be written over: choose another hydra.sweep.dir",
    ),
    "jobs": (
        [*SWEEP, "hydra/launcher=basic"],
        [*SWEEP, "hydra/launcher=basic"],
        "one holds multirun.yaml",
    ),
    "a sweep where jobs ran": ([*SWEEP, "hydra/launcher=basic"], SWEEP, "one holds multirun.yaml"),
    "a job's": (
        [*SWEEP, "hydra/launcher=basic"],
        ["hydra.run.dir=one/1"],
        "one/1 holds config.json",
    ),
}


@pytest.mark.parametrize(("first", "then", "why"), TWICE.values(), ids=TWICE)
def test_what_a_run_has_left_is_not_written_over(
    first: list[str], then: list[str], why: str, linfit: Linfit, workdir: Path, client: Any
) -> None:
    assert linfit("run", *first, *QUICK, "tracking=none").code == 0
    before = contents(workdir / "one")
    again = linfit("run", *then, "steps=4", "pictures=false")
    assert again.code == 2 and again.err.startswith(f"linfit: {why}") and again.err.count("\n") == 1
    assert contents(workdir / "one") == before
    assert [experiment.name for experiment in client.search_experiments()] == ["Default"]


@pytest.mark.parametrize(
    "name", ["config.json", "weights.safetensors", "environment.json", ".hydra", "pictures"]
)
def test_nor_what_somebody_else_has_left(name: str, linfit: Linfit, workdir: Path) -> None:
    (workdir / name).mkdir()
    ran = linfit("run", "hydra.run.dir=.", *QUICK)
    assert ran.code == 2 and f"holds {name}, which would be written over" in ran.err
    assert not (workdir / "linfit.log").exists()


def test_a_folder_with_other_files_is_as_good_as_any(linfit: Linfit, workdir: Path) -> None:
    (workdir / "one").mkdir()
    (workdir / "one" / "notes.txt").write_text("mine")
    for arguments in (ALONE, ["-m", "seed=0,1", "hydra.sweep.dir=outputs"]):
        assert linfit("run", *arguments, *QUICK).code == 0
    assert (workdir / "one" / "notes.txt").read_text() == "mine" and (
        workdir / "one" / "config.json"
    ).is_file()


def test_jobs_that_share_a_folder_do_not_write_over_each_other(
    linfit: Linfit, workdir: Path
) -> None:
    ran = linfit(
        "run",
        "-m",
        "seed=0,1",
        "hydra/launcher=basic",
        "hydra.sweep.dir=one",
        "hydra.sweep.subdir=same",
        *QUICK,
    )
    assert (
        ran.code == 2
        and "one/same holds config.json" in ran.err
        and "choose another hydra.sweep.subdir" in ran.err
    )
    assert json.loads((workdir / "one/same/config.json").read_text())["config"]["seed"] == 0
