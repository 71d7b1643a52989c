"""Models of text columns, classes and counts: they answer with what the data had."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from mlflow import pyfunc

from linfit.config import FitConfig
from linfit.problem import linfit_model_1, linfit_model_2
from linfit.problem.problem import Problem
from linfit.tracking.model import ModelFiles, TrainedFit, find_link, save_model

STREAM = np.random.default_rng(4)
COLORS = np.array(["red", "green", "blue"])[STREAM.integers(0, 3, 30)]
SPECIES = np.array(["owl", "cat", "ant"])[STREAM.integers(0, 3, 30)]
FRAME = pd.DataFrame(
    {
        "color": COLORS,
        "size": STREAM.standard_normal(30),
        "species": SPECIES,
        "is_owl": np.where(SPECIES == "owl", "yes", "no"),
        "code": np.where(SPECIES == "owl", 7, 3),
        "count": STREAM.integers(0, 5, 30),
    }
)


def problem_of(folder: Path, target: str, loss: str) -> Problem:
    FRAME.to_csv(folder / "data.csv", index=False)
    dataset = {
        "name": "csv",
        "path": str(folder / "data.csv"),
        "features": ["color", "size"],
        "target": target,
    }
    features = {"name": "polynomial", "degree": 2, "scaling": "standardize"}
    config = FitConfig.model_validate({"dataset": dataset, "features": features, "loss": loss})
    return config.problem()


def trained_of(problem: Problem, loss: str) -> TrainedFit:
    """A fit with weights of random numbers."""
    _, p, q = problem.shape
    return TrainedFit(
        STREAM.standard_normal((p, q)),
        np.array([0]),
        np.array([1.0]),
        problem.features,
        problem.targets,
        problem.expansion,
        "completed",
        "f" * 64,
        problem.classes,
        find_link(FitConfig(loss=loss).loss),  # type: ignore[arg-type]
    )


def save(trained: TrainedFit, folder: Path) -> Any:
    trained.write(folder / "weights.safetensors")
    files = ModelFiles.from_trained(trained, folder / "weights.safetensors")
    (folder / "model").mkdir()
    save_model(files, folder / "model", "0" * 32, "m-0", str(folder))
    return pyfunc.load_model(str(folder / "model"))


CASES = [
    ("species", "cross_entropy", "species", ("ant", "cat", "owl")),
    ("is_owl", "logistic", "is_owl", ("no", "yes")),
    ("code", "logistic", "code", (3.0, 7.0)),
    ("code", "cross_entropy", "code", (3.0, 7.0)),
    ("is_owl", "squared_hinge", "is_owl", ("no", "yes")),
]


@pytest.mark.parametrize(("target", "loss", "name", "classes"), CASES, ids=str)
def test_a_model_answers_with_labels_and_probabilities(
    target: str, loss: str, name: str, classes: tuple[Any, ...], tmp_path: Path
) -> None:
    problem = problem_of(tmp_path, target, loss)
    assert problem.classes == classes
    trained = trained_of(problem, loss)
    assert TrainedFit.read(write(trained, tmp_path)).classes == classes
    model = save(trained, tmp_path)
    eta = problem.X @ trained.weights
    label = eta.argmax(axis=1) if eta.shape[1] > 1 else (eta[:, 0] > 0).astype(int)
    expected = np.array(classes, dtype=object)[label]
    predicted = model.predict(FRAME)
    assert list(predicted) == [name]
    assert predicted[name].tolist() == expected.tolist()

    asked = {"probabilities": True}
    if loss == "squared_hinge":
        with pytest.raises(ValueError, match="this model has no probabilities"):
            predictor_of(trained).predict(FRAME, asked)
        return
    found = model.predict(FRAME, params=asked)
    assert list(found) == [f"{name}={linfit_model_2.name_label(one)}" for one in classes]
    if eta.shape[1] == 1:
        eta = np.hstack([np.zeros_like(eta), eta])
    shares = np.exp(eta) / np.exp(eta).sum(axis=1, keepdims=True)
    np.testing.assert_allclose(found.to_numpy(), shares, rtol=1e-12)
    extreme = replace(trained, weights=trained.weights * 1e8)
    certain = predictor_of(extreme).predict(FRAME, asked).to_numpy()
    assert np.isfinite(certain).all()
    np.testing.assert_allclose(certain.sum(axis=1), 1)


def write(trained: TrainedFit, folder: Path) -> Path:
    file = folder / "again.safetensors"
    trained.write(file)
    return file


def predictor_of(trained: TrainedFit) -> linfit_model_2.TablePredictor:
    predictor = trained.create_predictor()
    assert isinstance(predictor, linfit_model_2.TablePredictor)
    return predictor


def test_a_model_of_counts_answers_with_means(tmp_path: Path) -> None:
    problem = problem_of(tmp_path, "count", "poisson")
    trained = trained_of(problem, "poisson")
    found = save(trained, tmp_path).predict(FRAME)["count"]
    np.testing.assert_allclose(found, np.exp(problem.X @ trained.weights)[:, 0], rtol=1e-12)


def test_missing_cells_have_no_label(tmp_path: Path) -> None:
    trained = trained_of(problem_of(tmp_path, "species", "cross_entropy"), "cross_entropy")
    frame = FRAME.assign(color=[None, *COLORS[1:]], size=[*FRAME["size"][:-1], np.nan])
    labels = save(trained, tmp_path).predict(frame)["species"]
    assert np.flatnonzero(labels.isna()).tolist() == [0, 29]
    shares = predictor_of(trained).predict(frame, {"probabilities": True})
    assert np.flatnonzero(shares.isna().any(axis=1)).tolist() == [0, 29]


ALONE = """
import json, sys
import numpy as np, pandas as pd
sys.modules["linfit"] = None
import mlflow
model = mlflow.pyfunc.load_model(sys.argv[1])
frame = pd.read_csv(sys.argv[2])
print(json.dumps([model.predict(frame)["species"].tolist(),
                  model.predict(frame, params={"probabilities": True}).to_numpy().tolist()]))
"""


@pytest.mark.slow
def test_a_model_of_classes_needs_no_linfit(tmp_path: Path) -> None:
    trained = trained_of(problem_of(tmp_path, "species", "cross_entropy"), "cross_entropy")
    here = save(trained, tmp_path)
    assert sorted(file.name for file in (tmp_path / "model/code").glob("*.py")) == [
        "linfit_model_1.py",
        "linfit_model_2.py",
    ]
    done = subprocess.run(
        [sys.executable, "-c", ALONE, str(tmp_path / "model"), str(tmp_path / "data.csv")],
        capture_output=True,
        text=True,
        check=True,
    )
    labels, shares = json.loads(done.stdout)
    assert labels == here.predict(FRAME)["species"].tolist()
    there = here.predict(FRAME, params={"probabilities": True}).to_numpy()
    np.testing.assert_allclose(shares, there, rtol=1e-12)


def test_models_of_numbers_are_as_they_were(tmp_path: Path) -> None:
    FRAME.to_csv(tmp_path / "data.csv", index=False)
    dataset = {
        "name": "csv",
        "path": str(tmp_path / "data.csv"),
        "features": "size",
        "target": "count",
    }
    trained = trained_of(FitConfig(dataset=dataset).problem(), "sse")  # type: ignore[arg-type]
    assert isinstance(trained.create_predictor(), linfit_model_1.LinearPredictor)
    save(trained, tmp_path)
    assert [file.name for file in (tmp_path / "model/code").iterdir()] == ["linfit_model_1.py"]
    described = (tmp_path / "model/MLmodel").read_text()
    assert "probabilities" not in described
