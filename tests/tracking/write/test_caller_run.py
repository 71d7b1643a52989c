"""linfit called by a script that uses MLflow itself: its run, experiment and autologging."""

from __future__ import annotations

import os
import pickle
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import mlflow
import pytest
from mlflow import MlflowClient
from mlflow.tracking import fluent
from mlflow.tracking._tracking_service import utils

import linfit as package
from linfit.sweeps.run.hydra_task import HydraTask
from linfit.tracking.schema import mlflow_names
from linfit.tracking.write.caller_run import find_caller_run, use_caller_run

Linfit = Callable[..., Any]
QUICK = ["steps=2", "pictures=false"]
SWEEP = [*QUICK, "optimizer=adam,sgd"]


@pytest.fixture(params=["database", "client"])
def recorder(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """Both ways into a store."""
    if request.param == "client":
        monkeypatch.setattr(
            "linfit.tracking.write.database.best_recorder_for", lambda client, parent=None: client
        )
    return str(request.param)


@pytest.fixture
def caller(workdir: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[MlflowClient]:
    """Choose linfit's store and the experiment `mine`; afterwards MLflow is as before."""
    for name in ("MLFLOW_TRACKING_URI", "MLFLOW_EXPERIMENT_ID", "MLFLOW_RUN_ID"):
        monkeypatch.setenv(name, "")
        monkeypatch.delenv(name)
    monkeypatch.setattr(utils, "_tracking_uri", None)
    monkeypatch.setattr(fluent, "_active_experiment_id", None)
    mlflow.set_tracking_uri(
        f"sqlite:///{workdir}/outputs/mlflow.db"
    )  # absolute: MLflow remembers stores by their address
    client = MlflowClient()
    client.create_experiment(
        "mine", f"{workdir}/artifacts"
    )  # the empty store's own experiment keeps its files nowhere
    mlflow.set_experiment("mine")
    yield client
    while mlflow.active_run() is not None:
        mlflow.end_run()


def state(client: MlflowClient, run_id: str) -> tuple[Any, ...]:
    run = client.get_run(run_id)
    return (
        run.info.status,
        run.info.end_time,
        run.data.tags,
        run.data.params,
        run.data.metrics,
        run.inputs.dataset_inputs,
    )


def parent_of(client: MlflowClient, run_id: str) -> str | None:
    parent: str | None = client.get_run(run_id).data.tags.get(mlflow_names.PARENT)
    return parent


def newest(client: MlflowClient, experiment: str) -> Any:
    found = client.get_experiment_by_name(experiment)
    return client.search_runs(
        [found.experiment_id], f"tags.`{mlflow_names.CODE}` LIKE '%'", max_results=1
    )[0]


def test_the_active_run_is_the_parent_and_stays_as_it_is(
    linfit: Linfit, caller: MlflowClient, recorder: str
) -> None:
    outer = mlflow.start_run()
    mlflow.log_metric("own", 1.0)
    before = state(caller, outer.info.run_id)

    swept = package.sweep(SWEEP)
    ran = linfit("run", *QUICK)
    single = newest(caller, "mine").info.run_id
    repeated = package.reproduce(single)
    again = package.reproduce(swept.run_id)

    assert ran.code == 0, ran.err
    assert (repeated.verdict.value, again.verdict.value) == ("identical", "identical")
    for run_id in (swept.run_id, single, repeated.run_id, again.run_id):
        assert parent_of(caller, run_id) == outer.info.run_id
    assert {parent_of(caller, run_id) for run_id in swept.table["run_id"]} == {swept.run_id}
    assert state(caller, outer.info.run_id) == before
    assert mlflow.active_run().info.run_id == outer.info.run_id
    # who reads takes neither for a fit of a sweep
    assert len(package.load(swept.run_id).table) == 2
    assert linfit("show", single).code == 0
    assert linfit("diff", single, repeated.run_id).code == 0
    assert "1 of 1 fits are finished already" in linfit("run", *QUICK, "--skip-done").err


def test_runs_that_the_caller_nests_below_a_sweep_are_none_of_its_fits(
    linfit: Linfit, caller: MlflowClient
) -> None:
    swept = package.sweep(SWEEP)
    with mlflow.start_run(
        experiment_id=caller.get_run(swept.run_id).info.experiment_id,
        tags={mlflow_names.PARENT: swept.run_id},
    ):
        pass
    assert linfit("show", swept.run_id).code == 0
    assert linfit("verify", swept.run_id).code == 0


#: What is run, whether a run is active in the experiment `mine`, and the experiment that it is
#: recorded in.
EXPERIMENTS = {
    "chosen": ([], False, "mine"),
    "chosen, a file": (["asked"], False, "asked"),
    "active": ([], True, "mine"),
    "active, a file": (["asked"], True, "mine"),
    "named": (["name=other"], False, "other"),
    "active, named": (["name=other"], True, "other"),
    "active, named in its file": (["plain"], True, "adhoc"),
}


@pytest.mark.parametrize(("arguments", "active", "name"), EXPERIMENTS.values(), ids=EXPERIMENTS)
def test_the_callers_experiment_is_that_of_what_nobody_names(
    arguments: list[str],
    active: bool,
    name: str,
    workdir: Path,
    caller: MlflowClient,
    capsys: pytest.CaptureFixture[str],
) -> None:
    (workdir / "experiments").mkdir()
    for experiment, text in {"asked": "", "plain": "name: adhoc\n"}.items():
        (workdir / "experiments" / f"{experiment}.yaml").write_text(
            f"defaults: [/linfit, _self_]\n{text}"
        )
    outer = mlflow.start_run() if active else None
    swept = package.sweep([*arguments, *SWEEP])
    assert newest(caller, name).info.run_id == swept.run_id
    assert parent_of(caller, swept.run_id) == (None if outer is None else outer.info.run_id)
    apart = f"is in the experiment 'mine', and this in '{name}': name=mine puts them on one page"
    assert (apart in capsys.readouterr().err) == (active and name != "mine")


def test_a_run_in_another_store_is_no_parent_and_a_note_says_so(
    workdir: Path, caller: MlflowClient, capsys: pytest.CaptureFixture[str]
) -> None:
    other = f"sqlite:///{workdir}/elsewhere.db"
    outer = mlflow.start_run()
    swept = package.sweep([*SWEEP, f"tracking.uri={other}"])
    said = capsys.readouterr().err
    assert f"nothing is nested below the active MLflow run {outer.info.run_id}: sqlite:///" in said
    assert (
        "elsewhere.db has no such run, or it was deleted there; name its store with tracking.uri"
        in said
    )
    assert parent_of(MlflowClient(other), swept.run_id) is None
    package.sweep([*SWEEP, "tracking=none"])
    assert "nested" not in capsys.readouterr().err


def test_the_active_run_is_that_of_the_thread_or_else_of_the_environment(
    caller: MlflowClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    with mlflow.start_run() as outer:
        seen: list[str] = []
        thread = threading.Thread(target=lambda: seen.append(find_caller_run()))
        thread.start()
        thread.join()
        assert (find_caller_run(), seen) == (outer.info.run_id, [""])
        task = HydraTask()
    handed = pickle.loads(pickle.dumps(task))  # as a launcher does, in whatever thread
    assert handed.options.caller == outer.info.run_id and find_caller_run() == ""
    with use_caller_run(handed.options.caller):
        assert find_caller_run() == outer.info.run_id
    monkeypatch.setenv("MLFLOW_RUN_ID", outer.info.run_id)
    assert parent_of(caller, package.sweep(SWEEP).run_id) == outer.info.run_id


def test_without_mlflow_nothing_is_imported_to_know_the_caller(
    caller: MlflowClient, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(sys.modules, "mlflow", None)  # the experiment stands in the environment
    assert package.compose().name == "mine"
    monkeypatch.setenv("MLFLOW_EXPERIMENT_ID", "99")
    assert [package.compose().name for _ in range(2)] == ["adhoc", "adhoc"]
    assert (
        capsys.readouterr().err.count("MLFLOW_EXPERIMENT_ID=99 is no experiment of the store") == 1
    )


AUTOLOG = """
import warnings, mlflow, sklearn.linear_model, torch, linfit
mlflow.set_tracking_uri("sqlite:///outputs/mlflow.db")
mlflow.set_experiment("mine")
mlflow.autolog()
mlflow.sklearn.autolog()
mlflow.pytorch.autolog()
mlflow.search_experiments()  # which warns by itself
warnings.simplefilter("error")
with mlflow.start_run() as run:
    linfit.sweep(["steps=2", "pictures=false", "optimizer=adam,sgd", "engine=single"])
runs = mlflow.search_runs(search_all_experiments=True, output_format="list")
[outer] = [one for one in runs if one.info.run_id == run.info.run_id]
assert len(runs) == 4, runs
assert not (outer.data.params or outer.data.metrics or outer.inputs.dataset_inputs), outer
assert not {tag for tag in outer.data.tags if not tag.startswith("mlflow.")}, outer
"""


@pytest.mark.slow
def test_autologging_adds_nothing(workdir: Path) -> None:
    environment = {key: value for key, value in os.environ.items() if not key.startswith("MLFLOW_")}
    done = subprocess.run(
        [sys.executable, "-c", AUTOLOG],
        cwd=workdir,
        env=environment,
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
