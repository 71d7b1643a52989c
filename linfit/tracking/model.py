"""A fit as an MLflow model: weights in safetensors, loaded by this module, without a pickle anywhere.

`mlflow.pyfunc.load_model` imports this module and calls `_load_pyfunc`; the model predicts the targets' columns from the
features' columns, in the order they have by name.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from safetensors import safe_open
from safetensors.numpy import save_file

from linfit.engine.fit import Fit
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
    """The final weights W `[p, q]` in the fit's dtype, with the names of features and targets in the file's header."""
    assert fit.problem is not None
    names = {"features": json.dumps(fit.problem.features), "targets": json.dumps(fit.problem.targets)}
    save_file({"weight": np.ascontiguousarray(fit.weights)}, file, metadata=names)


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
