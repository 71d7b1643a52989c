"""Saved models: they predict from the user's own columns, with the bits of the fit, and no pickle is read."""

from __future__ import annotations

import tarfile
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import yaml
from mlflow import pyfunc
from mlflow.models import Model
from safetensors.numpy import load_file, save_file

import linfit
from linfit.engine.dispatch import fit
from linfit.engine.fit import Fit
from linfit.errors import LinfitError
from linfit.problem.arrays import Arrays
from linfit.tracking.model import Predictor, read_weights, save, write_weights
from tests.helpers import DTYPES, FEATURES, config, forbid_pickles, label

STREAM = np.random.default_rng(3)
FRAME = pd.DataFrame({"length": STREAM.uniform(1, 5, 30), "unused": "text", "mass": STREAM.uniform(100, 900, 30)})
FRAME["force"] = FRAME["length"] * 2 - 0.01 * FRAME["mass"] + 0.1 * STREAM.standard_normal(30)
STORE = Path(__file__).parents[1] / "stores" / "v1.tar.xz"


@pytest.fixture(autouse=True)
def _no_pickle(monkeypatch: pytest.MonkeyPatch) -> None:
    forbid_pickles(monkeypatch)


def fitted(features: dict[str, Any], dtype: str = "float64", **parts: Any) -> Fit:
    data: Arrays = linfit.arrays(FRAME, features=["mass", "length"], target="force")
    return fit(config(dataset=data, features=features, dtype=dtype, steps=5, optimizer={"name": "adam", "lr": 0.1}, **parts))


def model_of(done: Fit, folder: Path) -> Any:
    write_weights(done, folder / "weights.safetensors")
    save(Predictor.of(done, folder / "weights.safetensors"), folder / "model", "0" * 32, "m-0", str(folder))
    return pyfunc.load_model(str(folder / "model"))


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("features", [given for row in FEATURES for given in row.settings() if "domain" not in given], ids=label)
def test_a_model_predicts_from_the_users_columns(features: dict[str, Any], dtype: str, tmp_path: Path) -> None:
    done = fitted(features, dtype)
    assert done.problem is not None
    model = model_of(done, tmp_path)
    assert model.metadata.signature.inputs.input_names() == ["mass", "length"]
    assert model.metadata.signature.outputs.input_names() == ["force"]
    predicted = model.predict(FRAME)
    expected = done.problem.X.astype(dtype) @ done.weights
    assert predicted["force"].to_numpy().tobytes() == expected.tobytes()
    assert model.predict(FRAME[4:5])["force"].item() == pytest.approx(expected[4, 0], rel=1e-5)


@pytest.mark.parametrize("gradient", ["autograd", "gram"])
def test_a_scaling_learnt_of_the_training_samples_is_the_models(gradient: str, tmp_path: Path) -> None:
    features = {"name": "polynomial", "degree": 2, "basis": "legendre", "scaling": "whiten"}
    done = fitted(features, split={"validation": 0.3}, gradient=gradient)
    assert done.problem is not None and done.problem.expansion is not None
    columns = FRAME[["mass", "length"]].to_numpy()
    predicted = model_of(done, tmp_path).predict(FRAME)["force"]
    np.testing.assert_allclose(predicted, (done.problem.expansion(columns) @ done.weights).ravel(), rtol=1e-12)


def test_what_features_have_learnt_cannot_be_changed_unseen(tmp_path: Path) -> None:
    file = tmp_path / "weights.safetensors"
    write_weights(fitted({"name": "raw", "scaling": "standardize"}), file)
    tensors, header = read_weights(file)
    assert set(tensors) == {"weight", "steps", "losses", "features/bounds", "features/shift", "features/mix"}
    changed = {**load_file(file), "features/mix": 2 * tensors["features/mix"]}
    save_file(changed, file, metadata=header)
    with pytest.raises(LinfitError, match="was changed after it was written"):
        read_weights(file)


def test_a_model_is_laid_out_as_mlflow_lays_it_out(tmp_path: Path) -> None:
    done = fitted({"name": "raw"})
    ours, theirs, weights = tmp_path / "model", tmp_path / "theirs", tmp_path / "weights.safetensors"
    write_weights(done, weights)
    save(Predictor.of(done, weights), ours, "0" * 32, "m-0", "somewhere")
    packages = (ours / "requirements.txt").read_text().split()
    pyfunc.save_model(
        theirs, loader_module="linfit.tracking.model", data_path=str(ours / "data/weights.safetensors"), pip_requirements=packages
    )
    assert {file.relative_to(ours) for file in ours.rglob("*")} == {file.relative_to(theirs) for file in theirs.rglob("*")}
    assert (ours / "requirements.txt").read_text().split() == (theirs / "requirements.txt").read_text().split()
    for name, pinned in (("conda.yaml", ("dependencies", 1)), ("python_env.yaml", ("build_dependencies",))):
        one, other = (yaml.safe_load((folder / name).read_text()) for folder in (ours, theirs))
        for read in (one, other):  # MLflow names the versions of pip and setuptools that are installed
            place = read
            for key in pinned[:-1]:
                place = place[key]
            place[pinned[-1]] = None
        assert one == other
    assert Model.load(str(ours)).flavors == {
        "python_function": {
            key: value for key, value in Model.load(str(theirs)).flavors["python_function"].items() if key not in ("code", "streamable")
        }
    }
    assert pyfunc.get_model_dependencies(str(ours)) == str(ours / "requirements.txt")


def test_models_of_earlier_versions_predict_as_they_did(tmp_path: Path) -> None:
    with tarfile.open(STORE) as archive:
        files = [member for member in archive.getmembers() if "/models/" in member.name]
        archive.extractall(tmp_path, files, filter="data")
    folders = [file.parent for file in sorted(tmp_path.rglob("MLmodel"))]
    assert folders
    for folder in folders:
        model = pyfunc.load_model(str(folder))
        [weights] = folder.rglob("*.safetensors")
        stored, names = load_file(weights)["weight"], model.metadata.signature.inputs.input_names()
        unit = pd.DataFrame(np.eye(len(names)), columns=names)
        assert model.predict(unit).to_numpy().tolist() == stored.tolist()
