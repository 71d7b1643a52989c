"""What `linfit run` leaves in MLflow, read back through MLflow."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from mlflow.entities import Run
from safetensors.numpy import load_file

import linfit as package
from linfit.config import FitConfig, hash_data
from linfit.tracking.schema import mlflow_names
from tests.helpers import forbid_pickles

Linfit = Callable[..., Any]
TABLES = (mlflow_names.MANIFEST, mlflow_names.RESULTS, mlflow_names.CURVES)


def runs(client: Any, experiment: str) -> list[Run]:
    found = client.get_experiment_by_name(experiment)
    return list(client.search_runs([found.experiment_id], order_by=["attributes.start_time ASC"]))


@pytest.fixture
def article(linfit: Linfit, client: Any) -> Run:
    assert linfit("run", "article/linear_adam").code == 0
    [run] = runs(client, "article")
    return run


def test_a_single_run_has_its_name_status_and_tags(article: Run) -> None:
    assert article.info.run_name == "linear_adam"
    assert article.info.status == "FINISHED"
    tags = article.data.tags
    assert tags[mlflow_names.KIND] == "fit"
    assert tags[mlflow_names.STATUS] == "completed"
    assert tags[mlflow_names.VERSION] == package.__version__
    assert len(tags[mlflow_names.CODE]) == len(tags[mlflow_names.FINGERPRINT]) == 64
    assert json.loads(tags[mlflow_names.ENVIRONMENT])["torch"].startswith("2.")
    assert mlflow_names.PARENT not in tags


def test_params_are_every_key_that_decides_the_numbers(article: Run) -> None:
    params = article.data.params
    assert params["optimizer"] == "adam"
    assert params["optimizer.lr"] == "0.01"
    assert params["optimizer.betas"] == "[0.9, 0.999]"
    assert params["dataset.path"] == "linfit:article.csv"
    assert params["seed"] == "0"
    assert not [key for key in params if key.startswith(("tracking", "record", "name"))]


@pytest.mark.matrix
def test_curves_have_their_steps_and_everything_else_stands_at_step_0(
    article: Run, client: Any
) -> None:
    fit = package.fit(package.compose(["article/linear_adam"]))
    for key, values in ((mlflow_names.LOSS, fit.losses), (mlflow_names.EXCESS, fit.excess_losses)):
        history = sorted(
            (point.step, point.value)
            for point in client.get_metric_history(article.info.run_id, key)
        )
        assert history == list(zip(fit.steps.tolist(), values.tolist(), strict=True))
    others = {
        key for key in article.data.metrics if key not in (mlflow_names.LOSS, mlflow_names.EXCESS)
    }
    assert {"distance_to_optimum", "weight/0", "weight/1", "r2", "rmse", "mae"} <= others
    assert {key: article.data.metrics[key] for key in fit.measures} == fit.measures
    assert all(
        point.step == 0
        for key in others
        for point in client.get_metric_history(article.info.run_id, key)
    )
    assert [article.data.metrics[f"weight/{i}"] for i in (0, 1)] == fit.weights.ravel().tolist()


@pytest.mark.matrix
def test_files_hold_the_whole_config_and_the_exact_weights(
    article: Run, client: Any, tmp_path: Path
) -> None:
    stored = json.loads(
        Path(
            client.download_artifacts(article.info.run_id, "config.json", str(tmp_path))
        ).read_text()
    )
    assert stored["sha256"] == hash_data(stored["config"])
    config = FitConfig.model_validate(stored["config"])
    assert config.fingerprint() == article.data.tags[mlflow_names.FINGERPRINT]
    weights = load_file(
        client.download_artifacts(article.info.run_id, "weights.safetensors", str(tmp_path))
    )["weight"]
    assert weights.tobytes() == package.fit(config).weights.tobytes()


@pytest.mark.matrix
def test_the_dataset_is_an_input_with_its_digest(article: Run) -> None:
    [used] = article.inputs.dataset_inputs
    assert used.dataset.name == "csv"
    problem = package.compose(["article/linear_adam"]).dataset.load(0)
    assert problem.digest.startswith(used.dataset.digest)
    assert [column["name"] for column in json.loads(used.dataset.schema)["mlflow_colspec"]] == [
        "x_squared",
        "one",
        "y",
    ]


@pytest.mark.matrix
def test_the_model_predicts_without_a_pickle(
    article: Run, workdir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import mlflow
    import pandas as pd

    forbid_pickles(monkeypatch)
    mlflow.set_tracking_uri(f"sqlite:///{workdir}/outputs/mlflow.db")
    try:
        model = mlflow.pyfunc.load_model(f"runs:/{article.info.run_id}/linear_adam")
    finally:
        mlflow.set_tracking_uri(None)
    predicted = model.predict(
        pd.DataFrame({"one": [1.0, 1.0], "x_squared": [0.0, 4.0]})
    )  # by name, not by place
    w0, w1 = (article.data.metrics[f"weight/{i}"] for i in (0, 1))
    assert list(predicted.columns) == ["y"]
    np.testing.assert_allclose(predicted["y"], [w1, 4 * w0 + w1], rtol=1e-6)
    names = [file.name for file in (workdir / "outputs" / "artifacts").rglob("*") if file.is_file()]
    assert not [name for name in names if name.endswith((".pkl", ".pickle", ".pt", ".pth"))]


@pytest.mark.matrix
def test_a_sweep_is_one_parent_with_a_child_for_each_fit(linfit: Linfit, client: Any) -> None:
    done = linfit("run", "-m", "optimizer=adam,manual_sgd", "optimizer.lr=0.001,0.1", "steps=50")
    assert done.code == 0, done.err
    found = runs(client, "adhoc")
    [parent] = [run for run in found if run.data.tags[mlflow_names.KIND] == "sweep"]
    children = [run for run in found if run.data.tags[mlflow_names.KIND] == "fit"]
    assert {run.info.run_name for run in children} == {
        "adam lr=0.001",
        "adam lr=0.1",
        "manual_sgd lr=0.001",
        "manual_sgd lr=0.1",
    }
    assert {run.data.tags[mlflow_names.PARENT] for run in children} == {parent.info.run_id}
    assert {run.info.status for run in found} == {"FINISHED"}
    assert parent.data.metrics["num_completed"] == 3
    assert parent.data.metrics["num_diverged"] == 1
    assert parent.data.metrics["best_loss"] == min(run.data.metrics["loss"] for run in children)
    assert json.loads(parent.data.tags[mlflow_names.VARYING]) == ["optimizer", "optimizer.lr"]
    assert "optimizer" not in parent.data.params
    assert parent.data.params["dataset"] == "parabola"
    assert {run.data.metrics["hparam/optimizer.lr"] for run in children} == {0.001, 0.1}


def test_a_child_keeps_its_config_in_a_tag_and_no_files(linfit: Linfit, client: Any) -> None:
    assert linfit("run", "-m", "seed=0,1", "steps=5").code == 0
    for child in [run for run in runs(client, "adhoc") if mlflow_names.PARENT in run.data.tags]:
        stored = json.loads(child.data.tags[mlflow_names.CONFIG])
        assert stored["sha256"] == hash_data(stored["config"])
        assert (
            FitConfig.model_validate(stored["config"]).fingerprint()
            == child.data.tags[mlflow_names.FINGERPRINT]
        )
        assert client.list_artifacts(child.info.run_id) == []
        assert mlflow_names.CODE not in child.data.tags  # the parent has it


def test_with_child_artifacts_each_fit_has_its_own_files(linfit: Linfit, client: Any) -> None:
    assert linfit("run", "-m", "seed=0,1", "steps=5", "tracking.child_artifacts=true").code == 0
    for child in [run for run in runs(client, "adhoc") if mlflow_names.PARENT in run.data.tags]:
        assert {file.path for file in client.list_artifacts(child.info.run_id)} == {
            "config.json",
            "weights.safetensors",
        }


def test_of_the_best_alone_each_fit_has_its_own_files(linfit: Linfit, client: Any) -> None:
    assert (
        linfit(
            "run",
            "-m",
            "seed=0,1,2",
            "steps=5",
            "tracking.child_artifacts=true",
            "tracking.runs=best:1",
        ).code
        == 0
    )
    [best] = [run for run in runs(client, "adhoc") if mlflow_names.PARENT in run.data.tags]
    assert {file.path for file in client.list_artifacts(best.info.run_id)} == {
        "config.json",
        "weights.safetensors",
    }


def test_the_parent_has_the_tables_and_the_best_model(
    linfit: Linfit, client: Any, tmp_path: Path
) -> None:
    import mlflow
    import pandas as pd

    assert linfit("run", "-m", "seed=0,1,2", "steps=300", "optimizer.lr=0.1").code == 0
    found = runs(client, "adhoc")
    [parent] = [run for run in found if run.data.tags[mlflow_names.KIND] == "sweep"]
    assert {file.path for file in client.list_artifacts(parent.info.run_id)} == {
        *TABLES,
        mlflow_names.ENVIRONMENT_FILE,
    }
    results = pd.read_parquet(
        client.download_artifacts(parent.info.run_id, mlflow_names.RESULTS, str(tmp_path))
    )
    by_id = {run.info.run_id: run for run in found}
    for row in results.itertuples():
        metrics = by_id[row.run_id].data.metrics
        assert list(row.weights) == [metrics["weight/0"], metrics["weight/1"]]
        assert row.loss == metrics["loss"]
    mlflow.set_tracking_uri(str(client.tracking_uri))
    try:
        shown = linfit("show", parent.info.run_id).out.splitlines()[-1].split()
        model = mlflow.pyfunc.load_model(shown[1])
    finally:
        mlflow.set_tracking_uri(None)
    best = results.loc[results["excess_loss"].idxmin()]
    [logged] = client.search_logged_models([parent.info.experiment_id])
    assert (shown[0], logged.name) == ("model", best["name"])
    assert parent.info.run_name == "seed, 3 fits"
    assert model.predict(pd.DataFrame({"x^2": [0.0], "1": [1.0]}))["y"][0] == pytest.approx(
        best["weights"][1]
    )


def test_show_tells_the_theory_of_runs_and_of_a_sweeps_fits(linfit: Linfit, client: Any) -> None:
    one = ["optimizer=sgd", "optimizer.lr=0.005", "steps=2"]
    assert linfit("run", *one).code == linfit("run", "-m", *one, "seed=0,1").code == 0
    kept = [
        run for run in runs(client, "adhoc") if run.data.tags[mlflow_names.KIND] == mlflow_names.FIT
    ]
    assert len(kept) == 3
    theories = [json.loads(linfit("show", run.info.run_id, "--json").out)["theory"] for run in kept]
    assert all(
        theory["condition"] == pytest.approx(11.267, rel=1e-4) and theory["steps_to_tolerance"] > 1
        for theory in theories
    )
    for theory in theories:
        assert (theory["curvature/0"], theory["curvature/1"]) == (
            theory["largest_curvature"],
            theory["smallest_curvature"],
        )
        assert {"minimal_loss", "optimum/0", "optimum/1"} < set(theory)
    shown = [linfit("show", run.info.run_id).out for run in kept]
    assert all(
        "theory" in text and "exact optimum  " in text and "smallest eigenvalue 22.749" in text
        for text in shown
    )
    assert {run.data.metrics["theory/largest_stable_lr"] for run in kept} == {
        theories[0]["largest_stable_lr"]
    }


def test_a_diverged_fit_is_finished_and_no_infinity_reaches_mlflow(
    linfit: Linfit, client: Any
) -> None:
    assert linfit("run", "optimizer=sgd", "optimizer.lr=1e30").code == 0
    [run] = runs(client, "adhoc")
    assert (run.info.status, run.data.tags[mlflow_names.STATUS]) == ("FINISHED", "diverged")
    assert run.data.metrics["diverged_at_step"] >= 1
    history = [
        point.value
        for key in run.data.metrics
        for point in client.get_metric_history(run.info.run_id, key)
    ]
    assert np.isfinite(history).all()
    assert max(history) < 1e300


def test_nothing_is_logged_step_by_step(
    linfit: Linfit, workdir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from mlflow import MlflowClient

    calls: list[str] = []
    original = MlflowClient.log_batch

    def counted(self: MlflowClient, *arguments: Any, **keywords: Any) -> Any:
        calls.append("batch")
        return original(self, *arguments, **keywords)

    monkeypatch.setattr(MlflowClient, "log_batch", counted)
    monkeypatch.setattr(MlflowClient, "log_metric", lambda *_, **__: calls.append("single"))
    assert linfit("run", "record.every=1", "steps=400").code == 0
    assert calls.count("single") == 0
    assert len(calls) <= 4  # params, tags, and 800 points in one batch


#: What is run, and the MLflow experiment that it belongs to where MLFLOW_EXPERIMENT_NAME is mine.
NAMES = {
    "nothing named": ([], "mine"),
    "a sweep": (["-m", "seed=0,1"], "mine"),
    "another launcher": (["-m", "seed=0,1", "hydra/launcher=basic"], "mine"),
    "named null": (["name=null"], "mine"),
    "named adhoc": (["name=adhoc"], "adhoc"),
    "a sweep named adhoc": (["-m", "seed=0,1", "name=adhoc"], "adhoc"),
    "named otherwise": (["name=other"], "other"),
    "an experiment": (["asked"], "asked"),
    "an experiment named adhoc": (["plain"], "adhoc"),
    "an experiment's name replaced": (["plain", "name=other"], "other"),
    "an experiment's name taken back": (["plain", "name=null"], "plain"),
}


@pytest.mark.parametrize(("arguments", "name"), NAMES.values(), ids=NAMES)
def test_what_somebody_names_wins_over_the_environment(
    arguments: list[str],
    name: str,
    linfit: Linfit,
    workdir: Path,
    client: Any,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("MLFLOW_EXPERIMENT_NAME", "mine")
    (workdir / "experiments").mkdir()
    for experiment, text in {"asked": "", "plain": "name: adhoc\n"}.items():
        (workdir / "experiments" / f"{experiment}.yaml").write_text(
            f"defaults: [/linfit, _self_]\n{text}"
        )
    ran = linfit("run", *arguments, "steps=2", "pictures=false")
    assert ran.code == 0, ran.err
    assert {found.name for found in client.search_experiments()} == {"Default", name}
    assert {
        json.loads(run.data.tags[mlflow_names.CONFIG])["config"]["name"]
        for run in runs(client, name)
        if mlflow_names.CONFIG in run.data.tags
    } <= {name}
    assert f"experiment     {name}\n" in linfit("show").out
    assert "-m" in arguments or f"in MLflow experiment '{name}'" in ran.out
    [config] = [
        json.loads(file.read_text())["config"]
        for file in (workdir / "outputs" / "runs").rglob("config.json")
    ] or [{"name": name}]
    assert config["name"] == name


def test_without_the_environment_nobody_means_adhoc(
    linfit: Linfit, client: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MLFLOW_EXPERIMENT_NAME", "")
    assert linfit("run", "steps=2").code == 0
    assert len(runs(client, "adhoc")) == 1
