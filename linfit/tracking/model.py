"""A fit as an MLflow model: weights in safetensors, loaded by this module, without a pickle anywhere.

`mlflow.pyfunc.load_model` imports this module and calls `_load_pyfunc`; the model predicts the targets' columns from the
features' columns, in the order they have by name.
"""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save_file

from linfit.config import canonical
from linfit.engine.fit import Fit
from linfit.errors import LinfitError
from linfit.tracking.layout import WEIGHTS_FILE


class LinearPredictor:
    """ŷ `[n, q]` = X `[n, p]` W `[p, q]`, computed in the dtype of the fit."""

    def __init__(self, weights: NDArray[Any], features: list[str], targets: list[str]) -> None:
        self.weights, self.features, self.targets = weights, features, targets

    def predict(self, model_input: Any, params: Any = None) -> Any:
        """A frame of the targets for a frame of the features, an array `[n, q]` for an array `[n, p]`."""
        import pandas as pd

        if isinstance(model_input, pd.DataFrame):
            X = model_input[self.features].to_numpy(self.weights.dtype)
            return pd.DataFrame(X @ self.weights, columns=self.targets, index=model_input.index)
        return np.asarray(model_input, self.weights.dtype) @ self.weights


def write_weights(fit: Fit, file: Path) -> None:
    """The final weights W `[p, q]` in the fit's dtype, and its curve: all that a later fit is compared with.

    The file's header has the names of features and targets, how the fit ended, and the hash of all of it.
    """
    assert fit.problem is not None
    tensors = {"weight": np.ascontiguousarray(fit.weights), "steps": fit.steps, "losses": fit.losses}
    header = {"features": json.dumps(fit.problem.features), "targets": json.dumps(fit.problem.targets), "status": fit.status.value}
    header["fingerprint"] = fit.config.fingerprint()
    save_file(tensors, file, metadata={**header, "sha256": _hash(tensors, header)})


def read_weights(file: Path) -> tuple[dict[str, NDArray[Any]], dict[str, str]]:
    """The tensors of a file that `write_weights` wrote, and its header; LinfitError, which names it, if it was changed since."""
    try:
        with safe_open(file, framework="numpy") as stored:
            header = dict(stored.metadata() or {})
            tensors = {name: stored.get_tensor(name) for name in stored.keys()}  # noqa: SIM118 (it is no mapping)
    except (SafetensorError, OSError, ValueError, TypeError) as error:
        raise LinfitError(f"{file} cannot be read: {' '.join(str(error).split())}") from error
    if header.pop("sha256", None) != _hash(tensors, header) or set(tensors) != {"weight", "steps", "losses"}:
        raise LinfitError(f"{file} was changed after it was written: its hash does not fit")
    return tensors, header


def _hash(tensors: dict[str, NDArray[Any]], header: dict[str, str]) -> str:
    found = hashlib.sha256(canonical([header, {name: [str(array.dtype), array.shape] for name, array in tensors.items()}]).encode())
    for name in sorted(tensors):
        found.update(np.ascontiguousarray(tensors[name]).tobytes())
    return found.hexdigest()


def _load_pyfunc(path: str) -> LinearPredictor:
    with safe_open(path, framework="numpy") as weights:
        names = weights.metadata()
        return LinearPredictor(weights.get_tensor("weight"), json.loads(names["features"]), json.loads(names["targets"]))


def save(fit: Fit, folder: Path, run_id: str, model_id: str, location: str) -> None:
    """Writes `fit` as an MLflow model folder that belongs to a run and to a logged model."""
    import warnings
    from importlib.metadata import version

    assert fit.problem is not None
    weights = folder.with_name(WEIGHTS_FILE)
    write_weights(fit, weights)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # MLflow's, about type hints of its own and an example that nobody needs
        from mlflow import pyfunc
        from mlflow.models import Model, ModelSignature
        from mlflow.types import ColSpec, Schema

        inputs, outputs = (Schema([ColSpec("double", name) for name in names]) for names in (fit.problem.features, fit.problem.targets))
        pyfunc.save_model(
            path=str(folder),
            loader_module=__name__,
            data_path=str(weights),
            mlflow_model=Model(run_id=run_id, model_id=model_id, artifact_path=location),
            signature=ModelSignature(inputs, outputs),
            # Given, so that MLflow does not find them out by importing everything, which takes seconds.
            pip_requirements=[f"{name}=={version(name)}" for name in ("linfit-lab", "numpy", "safetensors")],
        )
