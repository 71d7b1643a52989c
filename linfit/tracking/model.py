"""A fit as an MLflow model: weights in safetensors, loaded by this module, without a pickle anywhere.

`mlflow.pyfunc.load_model` imports this module and calls `_load_pyfunc`; the model predicts the targets' columns from the columns
of the data, in the order they have by name. What makes features of columns stands beside the weights; a file without it is of a fit
whose features are the columns.

n samples, c columns, p features, q targets.
"""

from __future__ import annotations

import hashlib
import json
import shutil
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from platform import python_version
from typing import Any

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save_file

from linfit.config import canonical
from linfit.engine.fit import Fit
from linfit.errors import LinfitError
from linfit.problem.features import Expansion
from linfit.problem.problem import Array
from linfit.tracking.layout import WEIGHTS_FILE

#: What the names of the arrays begin with that features have learnt.
LEARNT = "features/"


class LinearPredictor:
    """ŷ `[n, q]` = X `[n, p]` W `[p, q]`, computed in the dtype of the fit; X is made of the columns in float64, as for the fit."""

    def __init__(self, weights: NDArray[Any], columns: list[str], targets: list[str], expansion: Expansion | None = None) -> None:
        self.weights, self.columns, self.targets, self.expansion = weights, columns, targets, expansion

    def predict(self, model_input: Any, params: Any = None) -> Any:
        """A frame of the targets for a frame of the columns, an array `[n, q]` for an array `[n, c]`."""
        import pandas as pd

        if isinstance(model_input, pd.DataFrame):
            predicted = self._predict(np.ascontiguousarray(model_input[self.columns].to_numpy(np.float64)))
            return pd.DataFrame(predicted, columns=self.targets, index=model_input.index)
        return self._predict(np.asarray(model_input, np.float64))

    def _predict(self, columns: Array) -> NDArray[Any]:
        X = columns if self.expansion is None else self.expansion(columns)
        predicted: NDArray[Any] = X.astype(self.weights.dtype) @ self.weights
        return predicted


def write_weights(fit: Fit, file: Path) -> None:
    """The final weights W `[p, q]` in the fit's dtype, and its curve: all that a later fit is compared with.

    The file's header has the names of features and targets, what makes the features where they are not the data's columns, how the
    fit ended, and the hash of all of it.
    """
    assert fit.problem is not None
    tensors = {"weight": np.ascontiguousarray(fit.weights), "steps": fit.steps, "losses": fit.losses}
    expansion = fit.problem.expansion
    plain, learnt = (None, {}) if expansion is None else expansion.as_parts()
    tensors |= {LEARNT + name: np.ascontiguousarray(array) for name, array in learnt.items()}
    header = {"features": json.dumps(fit.problem.features), "targets": json.dumps(fit.problem.targets), "status": fit.status.value}
    header |= {"fingerprint": fit.config.fingerprint(), **({} if plain is None else {"expansion": canonical(plain)})}
    save_file(tensors, file, metadata={**header, "sha256": _hash(tensors, header)})


def read_weights(file: Path) -> tuple[dict[str, NDArray[Any]], dict[str, str]]:
    """The tensors of a file that `write_weights` wrote, and its header; LinfitError, which names it, if it was changed since."""
    try:
        with safe_open(file, framework="numpy") as stored:
            header = dict(stored.metadata() or {})
            tensors = {name: stored.get_tensor(name) for name in stored.keys()}  # noqa: SIM118 (it is no mapping)
    except (SafetensorError, OSError, ValueError, TypeError) as error:
        raise LinfitError(f"{file} cannot be read: {' '.join(str(error).split())}") from error
    if header.pop("sha256", None) != _hash(tensors, header) or not tensors.keys() >= {"weight", "steps", "losses"}:
        raise LinfitError(f"{file} was changed after it was written: its hash does not fit")
    return tensors, header


def _hash(tensors: dict[str, NDArray[Any]], header: dict[str, str]) -> str:
    found = hashlib.sha256(canonical([header, {name: [str(array.dtype), array.shape] for name, array in tensors.items()}]).encode())
    for name in sorted(tensors):
        found.update(np.ascontiguousarray(tensors[name]).tobytes())
    return found.hexdigest()


def _load_pyfunc(path: str) -> LinearPredictor:
    with safe_open(path, framework="numpy") as stored:
        header = stored.metadata()
        expansion, columns = None, json.loads(header["features"])
        if "expansion" in header:
            learnt = {name.removeprefix(LEARNT): stored.get_tensor(name) for name in stored.keys() if name.startswith(LEARNT)}  # noqa: SIM118
            expansion = Expansion.of_parts(json.loads(header["expansion"]), learnt)
            columns = list(expansion.columns)
        return LinearPredictor(stored.get_tensor("weight"), columns, json.loads(header["targets"]), expansion)


@dataclass(frozen=True)
class Predictor:
    """What becomes an MLflow model: the file that `write_weights` wrote, the columns it takes and the targets it predicts."""

    weights: Path
    columns: tuple[str, ...]
    targets: tuple[str, ...]

    @staticmethod
    def of(fit: Fit, weights: Path) -> Predictor:
        """The fit's, whose weights are in that file."""
        assert fit.problem is not None
        return Predictor(weights, tuple(fit.problem.columns), tuple(fit.problem.targets))


def save(predictor: Predictor, folder: Path, run_id: str, model_id: str, location: str) -> None:
    """Writes an MLflow model folder that belongs to a run and to a logged model.

    What `mlflow.pyfunc.save_model` writes, without its look through every file of every installed package for what a model may need.
    """
    from mlflow.models import Model, ModelSignature
    from mlflow.types import ColSpec, Schema

    data = Path("data", WEIGHTS_FILE)
    (folder / data).parent.mkdir(parents=True)
    shutil.copyfile(predictor.weights, folder / data)
    inputs, outputs = (Schema([ColSpec("double", name) for name in names]) for names in (predictor.columns, predictor.targets))
    model = Model(location, run_id, signature=ModelSignature(inputs, outputs), model_id=model_id)
    environment = {"conda": "conda.yaml", "virtualenv": "python_env.yaml"}
    model.add_flavor("python_function", loader_module=__name__, python_version=python_version(), data=data.as_posix(), env=environment)
    for name, text in _environment().items():
        (folder / name).write_text(text)
    model.model_size_bytes = sum(file.stat().st_size for file in folder.rglob("*") if file.is_file())
    model.save(str(folder / "MLmodel"))


def _environment() -> dict[str, str]:
    """The files that say what a model needs, as MLflow lays them out."""
    packages = [f"{name}=={version(name)}" for name in ("mlflow", "linfit-lab", "numpy", "safetensors")]
    conda = ["name: mlflow-env", "channels:", "- conda-forge", "dependencies:", f"- python={python_version()}", "- pip", "- pip:"]
    python = [
        f"python: {python_version()}",
        "build_dependencies:",
        "- pip",
        "- setuptools",
        "- wheel",
        "dependencies:",
        "- -r requirements.txt",
    ]
    texts = {"conda.yaml": conda + [f"  - {package}" for package in packages], "python_env.yaml": python, "requirements.txt": packages}
    return {name: "\n".join(lines) + "\n" for name, lines in texts.items()}
