"""Hydra's other launchers: each job is a single run in a folder of its own."""

from __future__ import annotations

import json
import os
import pickle
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from linfit.sweeps.run.block_pipeline import CompletedFit
from linfit.sweeps.run.hydra_task import HydraTask
from linfit.sweeps.run.options import RunOptions
from linfit.sweeps.run.session import RunSession
from linfit.tracking.schema import mlflow_names
from tests.conftest import Ran

Linfit = Callable[..., Ran]

PLUGIN = """
from typing import Literal
from linfit.method.optimizers import SGD

class Raises(SGD):
    name: Literal["raises"] = "raises"
    def build(self, *arguments):
        raise RuntimeError("no such luck")
"""


@pytest.fixture
def own_components(monkeypatch: pytest.MonkeyPatch, workdir: Path) -> None:
    """A plug-in in the working directory, for child processes too, and temporary files below it.

    The optimizers are afterwards as they were.
    """
    from linfit.method.optimizers import Optimizer

    (workdir / "misfortune.py").write_text(PLUGIN)
    (workdir / "conf" / "optimizer").mkdir(parents=True)
    (workdir / "conf" / "optimizer" / "raises.yaml").write_text("name: raises\nlr: 0.001\n")
    (workdir / "temporary").mkdir()
    monkeypatch.setenv(
        "PYTHONPATH", os.pathsep.join([str(workdir), os.environ.get("PYTHONPATH", "")])
    )
    monkeypatch.syspath_prepend(str(workdir))
    monkeypatch.setattr(Optimizer, "choices", dict(Optimizer.choices))
    monkeypatch.delitem(
        sys.modules, "misfortune", raising=False
    )  # another test's is of another folder
    monkeypatch.setattr(tempfile, "tempdir", str(workdir / "temporary"))
    monkeypatch.setattr("linfit.system.scratch._Scratch.folder", None)


@pytest.mark.filterwarnings("default")  # of joblib's processes and their semaphores
@pytest.mark.parametrize("launcher", ["basic", pytest.param("joblib", marks=pytest.mark.slow)])
def test_each_job_is_a_run_of_its_own(
    launcher: str, linfit: Linfit, workdir: Path, client: Any, own_components: None
) -> None:
    if launcher == "joblib":
        pytest.importorskip(
            "hydra_plugins.hydra_joblib_launcher", reason="needs hydra-joblib-launcher"
        )
    more = ["hydra.launcher.n_jobs=2"] if launcher == "joblib" else []
    sweep = [
        "plugins=[misfortune]",
        "name=own",
        "optimizer=sgd,raises",
        "seed=0,1",
        "steps=3",
        "hydra.sweep.dir=outputs/sweeps/one",
        "hydra.job.chdir=true",
    ]
    ran = linfit("run", "-m", f"hydra/launcher={launcher}", *more, *sweep, "--json")
    assert ran.code == 1, ran.err
    rows = json.loads(ran.out)
    assert [row["status"] for row in rows] == ["completed", "completed", "failed", "failed"]
    assert (
        ran.err.count("RuntimeError: no such luck") == 3 and "linfit: 2 of 4 fits failed" in ran.err
    )  # each whole, and in the sum
    [experiment] = client.search_experiments(filter_string="name = 'own'")
    runs = {run.info.run_id: run for run in client.search_runs([experiment.experiment_id])}
    assert [runs[row["run_id"]].info.status for row in rows] == ["FINISHED"] * 2 + [
        "FAILED"
    ] * 2 and len(runs) == 4
    assert (
        len(client.search_runs([found.experiment_id for found in client.search_experiments()])) == 4
    )
    configs = [
        json.loads((workdir / f"outputs/sweeps/one/{job}" / mlflow_names.CONFIG_FILE).read_text())[
            "config"
        ]
        for job in range(4)
    ]
    assert [(config["optimizer"]["name"], config["seed"]) for config in configs] == [
        ("sgd", 0),
        ("sgd", 1),
        ("raises", 0),
        ("raises", 1),
    ]
    assert list((workdir / "temporary").glob("linfit-*")) == []


def test_what_is_finished_is_left_out_by_every_launcher(
    linfit: Linfit, workdir: Path, client: Any
) -> None:
    sweep = ["run", "-m", "hydra/launcher=basic", "seed=0,1", "steps=3", "--skip-done", "--json"]
    assert len(json.loads(linfit(*sweep).out)) == 2
    again = linfit(*sweep)
    assert (again.code, json.loads(again.out)) == (0, [])
    assert again.err.count("1 of 1 fits are finished already") == 2


def test_a_task_in_another_process_says_what_came_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    monkeypatch.setattr("linfit.system.scratch._Scratch.folder", None)
    task = HydraTask(RunOptions(skip_done=True, question="why?"), RunSession())
    task.session.observer = lambda: None  # type: ignore[assignment]
    there: HydraTask = pickle.loads(pickle.dumps(task))
    assert (there.options, there._results) == (task.options, [])
    assert there._directory is not None
    for job in (10, 9):
        came_out = {"status": "completed", "loss": float("inf")}
        there._directory.write_result(job, CompletedFit(f"job {job}", "", came_out), "there")
    task.session = RunSession()
    result = task.finish()
    assert [(done.name, done.result["loss"]) for done in result.completed] == [
        ("job 9", float("inf")),
        ("job 10", float("inf")),
    ]
    assert result.where == "there"
    assert list(tmp_path.iterdir()) == []
