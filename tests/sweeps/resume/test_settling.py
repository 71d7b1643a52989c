"""What varies is right at the end of a sweep, in however many batches its jobs came."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
from mlflow import MlflowClient
from pyarrow import parquet

from linfit.engine.dispatch import fit_as_completed
from linfit.sweeps.folder.sweep_folder import SweepInfo
from linfit.sweeps.run.hydra_app import execute
from linfit.sweeps.search_space.run_names import find_varying_keys
from linfit.tracking.schema import mlflow_names
from tests.conftest import Ran
from tests.sweeps.conftest import kill

Linfit = Callable[..., Ran]
Seen = dict[str, Any]

SWEEPS = {
    "a number later": ["optimizer.lr=0.01,0.1", "seed=0,1"],
    "a component later": ["optimizer=adam,sgd", "optimizer.lr=0.001,0.01"],
    "keys that end alike": ["dataset.seed=0,1", "seed=0,1"],
    "something fixed": ["optimizer=sgd", "optimizer.lr=0.01,0.02,0.03", "seed=5"],
    "one job": ["seed=3", "optimizer.lr=0.2"],
}
THREE = ["stop.excess_loss=0.1,0.2", "dtype=float32,float64", "seed=3,4"]
FOLDER = Path("outputs/sweeps/one")
COMMON = ["steps=4", "pictures=false", "name=one", f"hydra.sweep.dir={FOLDER}"]


def in_batches(size: int) -> list[str]:
    """Choose Hydra's own sweeper, which hands over `size` jobs at a time, as Optuna's does."""
    return ["hydra/sweeper=basic", f"hydra.sweeper.max_batch_size={size}"]


def runs_of(client: Any) -> tuple[Any, list[Any]]:
    """The parent, and its children in order of their rows."""
    experiment = client.get_experiment_by_name("one")
    runs = client.search_runs([experiment.experiment_id])
    [parent] = [run for run in runs if mlflow_names.PARENT not in run.data.tags]
    children = [run for run in runs if run is not parent]
    return parent, sorted(children, key=lambda run: int(run.data.tags[mlflow_names.ROW]))


def seen(client: Any) -> Seen:
    """Everything of the sweep that goes by what varies, wherever it stands."""
    parent, children = runs_of(client)
    names = [run.info.run_name for run in children]
    assert names == [run.data.tags["mlflow.runName"] for run in children]
    tables = [
        parquet.read_table(FOLDER / file) for file in (mlflow_names.RESULTS, mlflow_names.MANIFEST)
    ]
    assert [table["name"].to_pylist() for table in tables] == [names, names]
    varying = json.loads(parent.data.tags[mlflow_names.VARYING])
    assert list(SweepInfo.read_manifest(FOLDER).varying) == varying
    assert [parent.info.status, *{run.info.status for run in children}] == ["FINISHED"] * 2
    for run in children:
        for key in run.data.metrics:
            points = client.get_metric_history(run.info.run_id, key)
            assert {point.timestamp for point in points} == {run.info.end_time}
            assert len({point.step for point in points}) == len(points)
    return {
        "names": names,
        "numbers": [
            {
                key: value
                for key, value in run.data.metrics.items()
                if key.startswith(mlflow_names.HPARAM)
            }
            for run in children
        ],
        "params": parent.data.params,
        "varying": varying,
    }


@pytest.fixture(scope="module")
def whole(migrated_store: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Seen]:
    """The same sweeps in one batch."""
    ended: dict[str, Seen] = {}
    for name, jobs in SWEEPS.items():
        with pytest.MonkeyPatch.context() as patch:
            patch.chdir(tmp_path_factory.mktemp("whole"))
            Path("outputs").mkdir()
            shutil.copy(migrated_store, "outputs/mlflow.db")
            execute(["-m", *jobs, *COMMON])
            client = MlflowClient(tracking_uri=f"sqlite:///{Path.cwd()}/outputs/mlflow.db")
            ended[name] = seen(client)
    assert ended["a number later"] == {
        "names": [f"lr={lr} seed={seed}" for lr in (0.01, 0.1) for seed in (0, 1)],
        "numbers": [
            {"hparam/optimizer.lr": lr, "hparam/seed": seed}
            for lr in (0.01, 0.1)
            for seed in (0, 1)
        ],
        "params": ended["a number later"]["params"],
        "varying": ["optimizer.lr", "seed"],
    }
    return ended


def of_one(found: Seen) -> Seen:
    return {
        **found,
        "varying": sorted(found["varying"]),
        "names": [sorted(name.split()) for name in found["names"]],
    }


@pytest.mark.parametrize(
    ("name", "size", "by_client"),
    [
        *(
            pytest.param(name, 1, False, marks=[pytest.mark.slow] if number % 2 else [])
            for number, name in enumerate(SWEEPS)
        ),
        ("a number later", 2, False),
        ("one job", 2, True),
        ("a number later", 1, True),
    ],
)
def test_a_sweep_in_batches_ends_as_one_in_one(
    name: str,
    size: int,
    by_client: bool,
    linfit: Linfit,
    whole: dict[str, Seen],
    client: Any,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    if by_client:
        monkeypatch.setattr(
            "linfit.tracking.write.database.best_recorder_for", lambda opened, parent=None: opened
        )
    ran = linfit("run", "-m", *in_batches(size), *SWEEPS[name], *COMMON, "--json")
    assert ran.code == 0, ran.err
    ended = seen(client)
    assert of_one(ended) == of_one(whole[name])
    assert len(set(ended["names"])) == len(ended["names"])
    assert [row["name"] for row in json.loads(ran.out)] == ended["names"]


@pytest.mark.parametrize(("before", "dies"), [(2, True), (3, False), (7, True)])
@pytest.mark.slow
def test_a_sweep_broken_off_between_batches_says_the_same_when_it_is_resumed(
    before: int,
    dies: bool,
    linfit: Linfit,
    client: Any,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    made: list[Any] = []

    def broken(configs: Any, report: Any) -> Any:
        for place, fit in fit_as_completed(configs):
            if len(made) == before:
                raise KeyboardInterrupt
            made.append(fit)
            yield place, fit

    with monkeypatch.context() as patch:
        patch.setattr("linfit.sweeps.executors.executor.fit_as_completed", broken)
        if dies:
            kill(patch)
        assert linfit("run", "-m", *in_batches(2), *THREE, *COMMON).code == 130
    if not dies:
        parent, children = runs_of(client)
        assert parent.info.status == "KILLED" and len(children) == before
        assert len({run.info.run_name for run in children}) == before
        assert parent.data.params["steps"] == "4" and "seed" not in parent.data.params
    assert linfit("resume", str(FOLDER)).code == 0
    resumed = seen(client)
    planned = before // 2 * 2 + 2
    assert len(resumed["names"]) == len(set(resumed["names"])) == planned
    keys = ["seed", "dtype", "stop.excess_loss"][: {4: 2, 8: 3}[planned]]
    assert sorted(resumed["varying"]) == sorted(keys)
    assert not {*keys} & {*resumed["params"]} and resumed["params"]["steps"] == "4"
    numbers = {f"hparam/{key}" for key in keys if key != "dtype"}
    assert all(numbers == {*row} for row in resumed["numbers"])


@pytest.mark.parametrize(
    ("jobs", "more", "varying"),
    [
        ([["seed=0"]], False, ["seed"]),
        ([["seed=0"]], True, []),
        ([["seed=0", "steps=3"], ["seed=1", "steps=3"]], True, ["seed"]),
        ([["seed=0"], ["seed=0"]], True, []),
        (
            [["+seed=0", "steps=3"], ["seed=1"]],
            False,
            ["seed", "steps"],
        ),  # not all jobs say how many
        (
            [["optimizer=sgd", "optimizer.lr=1"], ["optimizer=adam"]],
            False,
            ["optimizer", "optimizer.lr"],
        ),
        ([], True, []),
    ],
)
def test_a_key_varies_where_jobs_differ_in_it(
    jobs: Sequence[Sequence[str]], more: bool, varying: list[str]
) -> None:
    assert list(find_varying_keys(jobs, more)) == varying
