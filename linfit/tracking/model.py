"""Write a fit as an MLflow model: safetensors, loaded without a pickle and without linfit.

A model folder has the file of `write_weights`, and linfit/problem/linfit_model_1.py as its code:
`mlflow.pyfunc.load_model` imports that copy. linfit itself loads no model: nothing stored is
executed.

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
from safetensors.numpy import save as as_safetensors

from linfit.config import canonical_json
from linfit.engine.fit import Fit
from linfit.errors import LinfitError, shorten
from linfit.problem import linfit_model_1
from linfit.problem.datasets.readers.opened import measure_size, open_regular, require_memory
from linfit.problem.features import FeatureMap, Features
from linfit.system.atomic_files import name_file_in_errors
from linfit.tracking.schema.mlflow_names import WEIGHTS_FILE

#: The loader of models whose features are of a plug-in, and of those that linfit logged before
#: models had code of their own.
LOADER_OF_PLUGINS = "linfit.tracking.model"
#: Packages that a model's own code needs where MLflow serves it: `mlflow` has the server and
#: pandas.
MODEL_PACKAGES = ("mlflow", "numpy")


def write_weights(fit: Fit, file: Path) -> None:
    """Write a fit's final weights W `[p, q]` and its curve.

    The weights have the fit's dtype. A later fit is compared with these. The file's header has the
    names of features and targets, the expansion that makes the features where they are not the
    data's columns, the status of the fit, and the hash of all of it.
    """
    assert fit.problem is not None
    tensors = {
        "weight": np.ascontiguousarray(fit.weights),
        "steps": fit.steps,
        "losses": fit.losses,
    }
    header = {
        "features": json.dumps(fit.problem.features),
        "targets": json.dumps(fit.problem.targets),
        "status": fit.status.value,
        "fingerprint": fit.config.fingerprint(),
    }
    if fit.problem.expansion is not None:
        plain, learnt = fit.problem.expansion.to_parts()
        header["expansion"] = canonical_json(plain)
        for name, array in learnt.items():
            tensors[linfit_model_1.LEARNT + name] = np.ascontiguousarray(array)
    content = as_safetensors(tensors, metadata={**header, "sha256": _hash(tensors, header)})
    with name_file_in_errors(file):  # `save_file` raises an error of its own where the disk is full
        file.write_bytes(content)


def read_weights(file: Path) -> tuple[dict[str, NDArray[Any]], dict[str, str]]:
    """Return the tensors and the header of a file of `write_weights`.

    LinfitError, which names it, if it was changed after it was written.
    """
    try:
        with open_regular(file) as opened:
            require_memory(measure_size(opened), f"reading {file}")
        with safe_open(file, framework="numpy") as stored:
            header = dict(stored.metadata() or {})
            names = stored.keys()
            tensors = {name: stored.get_tensor(name) for name in names}
    except (SafetensorError, OSError, ValueError, TypeError) as error:
        raise LinfitError(f"{file} cannot be read: {' '.join(str(error).split())}") from error
    is_same = header.pop("sha256", None) == _hash(tensors, header)
    if not is_same or not tensors.keys() >= {"weight", "steps", "losses"}:
        raise LinfitError(f"{file} was changed after it was written: its hash does not fit")
    return tensors, header


def _hash(tensors: dict[str, NDArray[Any]], header: dict[str, str]) -> str:
    shapes = {name: [str(array.dtype), array.shape] for name, array in tensors.items()}
    found = hashlib.sha256(canonical_json([header, shapes]).encode())
    for name in sorted(tensors):
        found.update(np.ascontiguousarray(tensors[name]).tobytes())
    return found.hexdigest()


def _load_pyfunc(path: str) -> linfit_model_1.LinearPredictor:
    """Return the predictor of a weights file, with features of imported plug-ins."""
    with safe_open(path, framework="numpy") as stored:
        expansion = json.loads(stored.metadata().get("expansion", "null"))
    name = None if expansion is None else expansion["features"]["name"]
    if name is None or name in linfit_model_1.FUNCTIONS:
        return linfit_model_1._load_pyfunc(path)
    if name not in Features.choices:
        raise LinfitError(
            f"the features {shorten(repr(name))} of this model are a plug-in's: "
            "import the plug-in's module, then load the model"
        )
    linfit_model_1._let_server_read_csv()
    header, tensors = linfit_model_1.read_tensors(Path(path))
    expand = FeatureMap.from_parts(expansion, linfit_model_1.cut_prefix(tensors))
    return linfit_model_1.LinearPredictor(
        tensors["weight"], list(expand.columns), json.loads(header["targets"]), expand
    )


@dataclass(frozen=True)
class ModelFiles:
    """An MLflow model: a weights file, its input columns and targets."""

    weights: Path
    columns: tuple[str, ...]
    targets: tuple[str, ...]
    of_plugin: bool = False
    """True where a plug-in makes the features: the model needs linfit and the plug-in."""

    @staticmethod
    def from_fit(fit: Fit, weights: Path) -> ModelFiles:
        """Return the model of a fit whose weights are in `weights`."""
        assert fit.problem is not None
        expansion = fit.problem.expansion
        of_plugin = (
            expansion is not None and expansion.features.name not in linfit_model_1.FUNCTIONS
        )
        return ModelFiles(
            weights, tuple(fit.problem.columns), tuple(fit.problem.targets), of_plugin
        )


def save_model(
    predictor: ModelFiles, folder: Path, run_id: str, model_id: str, location: str
) -> None:
    """Write the MLflow model folder of a run's logged model.

    `mlflow.pyfunc.save_model` writes the same, but searches every file of every installed package
    for the requirements of the model.
    """
    from mlflow.models import Model, ModelSignature
    from mlflow.types import ColSpec, Schema
    from mlflow.types.schema import AnyType

    # a double would refuse integers, an integer fractions
    inputs = Schema([ColSpec(AnyType(), name) for name in predictor.columns])
    outputs = Schema([ColSpec("double", name) for name in predictor.targets])
    model = Model(location, run_id, signature=ModelSignature(inputs, outputs), model_id=model_id)
    model.add_flavor("python_function", **_write_parts(predictor, folder))
    sizes = [file.stat().st_size for file in folder.rglob("*") if file.is_file()]
    model.model_size_bytes = sum(sizes)
    model.save(str(folder / "MLmodel"))


def _write_parts(predictor: ModelFiles, folder: Path) -> dict[str, Any]:
    """Write the weights, the code and the requirements of a model; return the path of each."""
    data = Path("data", WEIGHTS_FILE)
    (folder / data).parent.mkdir(parents=True)
    shutil.copyfile(predictor.weights, folder / data)
    packages: tuple[str, ...] = MODEL_PACKAGES
    if predictor.of_plugin:
        packages += ("linfit-lab", "safetensors")
    for name, text in _environment(packages).items():
        (folder / name).write_text(text, encoding="utf-8")
    parts = {
        "python_version": python_version(),
        "data": data.as_posix(),
        "env": {"conda": "conda.yaml", "virtualenv": "python_env.yaml"},
    }
    if predictor.of_plugin:
        return {"loader_module": LOADER_OF_PLUGINS, **parts}
    code = Path(linfit_model_1.__file__)
    (folder / "code").mkdir()
    shutil.copyfile(code, folder / "code" / code.name)
    return {"loader_module": code.stem, "code": "code", **parts}


def _environment(names: tuple[str, ...]) -> dict[str, str]:
    """Return the files that list the packages of a model, as MLflow lays them out."""
    packages = [f"{name}=={version(name)}" for name in names]
    conda = [
        "name: mlflow-env",
        "channels:",
        "- conda-forge",
        "dependencies:",
        f"- python={python_version()}",
        "- pip",
        "- pip:",
        *[f"  - {package}" for package in packages],
    ]
    python = [
        f"python: {python_version()}",
        "build_dependencies:",
        "- pip",
        "- setuptools",
        "- wheel",
        "dependencies:",
        "- -r requirements.txt",
    ]
    texts = {
        "conda.yaml": conda,
        "python_env.yaml": python,
        "requirements.txt": packages,
    }
    return {name: "\n".join(lines) + "\n" for name, lines in texts.items()}
