"""MLflow serves, predicts and evaluates a fit from the file that it was fitted to.

The file has columns of integers and of truth values. The tests run here, and in an environment made
of nothing but what the model says it needs.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import venv
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any
from urllib.error import HTTPError
from urllib.request import Request, urlopen

import mlflow
import numpy as np
import pandas as pd
import pytest
from mlflow import pyfunc

import linfit
from linfit.engine.dispatch import fit
from linfit.tracking.model import ModelFiles, save_model, write_weights
from tests.faults.conftest import answers, free_port, running, wait_until
from tests.faults.harness import missing
from tests.helpers import config, label

pytestmark = [
    pytest.mark.skipif(sys.platform != "linux", reason="real servers, on Linux"),
]

FILE = "a,b,y\n1,1,5\n2,0,4\n3,1,9\n4,0,8\n"
SPLIT = {"columns": ["a", "b"], "data": [[1, True], [2, False]]}
WANTED = pytest.approx([5, 4, 9, 8], rel=1e-12)
#: Bodies of requests, and what is predicted.
REQUESTS = {
    "integers": (
        "application/json",
        json.dumps({"dataframe_split": {**SPLIT, "data": [[1, 1], [2, 0]]}}),
        [5, 4],
    ),
    "truth values": ("application/json", json.dumps({"dataframe_split": SPLIT}), [5, 4]),
    "fractions": (
        "application/json",
        json.dumps({"dataframe_split": {**SPLIT, "data": [[1, 1.0], [2, 0.5]]}}),
        [5, 5.5],
    ),
    "missing": (
        "application/json",
        json.dumps({"dataframe_split": {**SPLIT, "data": [[1, None], [2, 0]]}}),
        [None, 4],
    ),
    "records": ("application/json", json.dumps({"dataframe_records": [{"b": 1, "a": 1}]}), [5]),
    "inputs": ("application/json", json.dumps({"inputs": {"a": [1, 2], "b": [1, 0]}}), [5, 4]),
    "the file": ("text/csv", FILE, [5, 4, 9, 8]),
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of a model y = 2a + 3b, fitted to the file's columns."""
    folder = tmp_path_factory.mktemp("model")
    (folder / "x.csv").write_text(FILE)
    asked = [
        "dataset=csv",
        f"dataset.path={folder / 'x.csv'}",
        "dataset.features=[a,b]",
        "dataset.target=y",
    ]
    done = fit(linfit.compose([*asked, "optimizer=closed_form", "dtype=float64", "steps=1"]))
    write_weights(done, folder / "weights.safetensors")
    save_model(
        ModelFiles.from_fit(done, folder / "weights.safetensors"),
        folder / "model",
        "0" * 32,
        "m-0",
        str(folder),
    )
    return folder


@pytest.fixture(scope="module")
def alone(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the Python of an environment with all that the model requires.

    It has neither linfit nor torch.
    """
    environment = tmp_path_factory.mktemp("alone")
    venv.create(environment, with_pip=False)
    python = environment / "bin" / "python"
    requirements = str(folder / "model" / "requirements.txt")
    pip = [
        sys.executable,
        "-m",
        "pip",
        "--python",
        str(python),
        "install",
        "--quiet",
        "-r",
        requirements,
    ]
    installed = subprocess.run(pip, capture_output=True, text=True)
    if installed.returncode:
        missing(
            "what a model requires cannot be installed: "
            f"{installed.stderr.strip().splitlines()[-1]}"
        )
    for name in ("linfit", "torch", "safetensors"):
        assert (
            subprocess.run(
                [python, "-c", f"import {name}"], capture_output=True, cwd="/"
            ).returncode
            == 1
        )
    return python


@contextmanager
def serve(model: Path, python: Path) -> Iterator[str]:
    """Where MLflow's own server answers, which it begins by the name of its program."""
    port = free_port()
    options = ["--env-manager", "local", "--port", str(port), "--workers", "1"]
    with pytest.MonkeyPatch.context() as patch, ExitStack() as stack:
        patch.setenv("PATH", str(python.parent), prepend=os.pathsep)
        stack.enter_context(
            running(str(python), "-m", "mlflow", "models", "serve", "-m", str(model), *options)
        )
        wait_until(lambda: answers(port))
        yield f"http://127.0.0.1:{port}/invocations"


@pytest.fixture(scope="module", params=["here", "alone"])
def served(request: pytest.FixtureRequest, folder: Path) -> Iterator[str]:
    python = request.getfixturevalue("alone") if request.param == "alone" else Path(sys.executable)
    with serve(folder / "model", python) as address:
        yield address


@pytest.mark.parametrize(("kind", "body", "predicted"), REQUESTS.values(), ids=REQUESTS)
def test_a_served_model_answers(
    kind: str, body: str, predicted: list[float | None], served: str
) -> None:
    try:
        with urlopen(Request(served, body.encode(), {"Content-Type": kind})) as answer:
            found = json.load(answer)["predictions"]
    except HTTPError as error:
        pytest.fail(error.read().decode())
    expected = [float("nan") if number is None else number for number in predicted]
    got = [float("nan") if row["y"] is None else row["y"] for row in found]
    np.testing.assert_allclose(got, expected, rtol=1e-12)


def test_a_served_model_refuses_text(served: str) -> None:
    body = json.dumps({"dataframe_split": {**SPLIT, "data": [[1, "five"]]}})
    with pytest.raises(HTTPError) as refusal:
        urlopen(Request(served, body.encode(), {"Content-Type": "application/json"}))
    with refusal.value as answer:
        assert b"column 'b'" in answer.read()


@pytest.mark.filterwarnings("ignore:Hint. Inferred schema contains integer:UserWarning")
@pytest.mark.filterwarnings("ignore::pandas.errors.Pandas4Warning")  # MLflow's own
def test_mlflow_predicts_and_evaluates_from_the_file(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(folder)
    frame = pd.read_csv("x.csv")
    assert (
        pyfunc.load_model(str(folder / "model")).predict(frame[["a", "b"]])["y"].tolist() == WANTED
    )
    mlflow.models.predict(
        str(folder / "model"),
        input_data=frame[["a", "b"]],
        env_manager="local",
        output_path="predicted.json",
    )
    assert [
        row["y"] for row in json.loads(Path("predicted.json").read_text())["predictions"]
    ] == WANTED
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{folder}/mlflow.db")
    with mlflow.start_run():
        found = mlflow.models.evaluate(
            str(folder / "model"), frame, targets="y", model_type="regressor", evaluators="default"
        )
    assert found.metrics["mean_absolute_error"] < 1e-12


#: Features of models that MLflow's own command predicts with, and the dtypes of their fits.
FEATURES = [
    ({"name": "raw"}, "float32"),
    ({"name": "polynomial", "basis": "legendre", "scaling": "whiten"}, "float64"),
    ({"name": "fourier", "domain": [-1.0, 9.0]}, "float32"),
    ({"name": "rbf", "centers": 4, "scaling": "standardize"}, "float64"),
]


@pytest.mark.parametrize(("features", "dtype"), FEATURES, ids=label)
def test_mlflow_predicts_in_an_environment_of_the_models_own(
    features: dict[str, Any], dtype: str, alone: Path, tmp_path: Path
) -> None:
    frame = pd.DataFrame(
        np.random.default_rng(1).uniform(0, 4, (20, 4)), columns=["a", "b", "y", "z"]
    )
    data: Any = linfit.arrays(frame, target=["y", "z"])
    done = fit(config(dataset=data, features=features, dtype=dtype, steps=5))
    assert done.problem is not None
    write_weights(done, tmp_path / "weights.safetensors")
    save_model(
        ModelFiles.from_fit(done, tmp_path / "weights.safetensors"),
        tmp_path / "model",
        "0" * 32,
        "m-0",
        str(tmp_path),
    )
    frame.to_csv(tmp_path / "x.csv", index=False)
    asked = [
        "models",
        "predict",
        "-m",
        "model",
        "--env-manager",
        "local",
        "-i",
        "x.csv",
        "-t",
        "csv",
        "-o",
        "predicted.json",
    ]
    ran = subprocess.run(
        [alone, "-m", "mlflow", *asked], cwd=tmp_path, capture_output=True, text=True
    )
    assert ran.returncode == 0, ran.stderr
    rows = json.loads((tmp_path / "predicted.json").read_text())["predictions"]
    predicted = np.array([[row["y"], row["z"]] for row in rows])
    np.testing.assert_allclose(
        predicted,
        done.problem.X.astype(dtype) @ done.weights,
        rtol=1e-5 if dtype == "float32" else 1e-12,
    )
