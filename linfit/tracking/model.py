"""A fit as an MLflow model: weights in safetensors, loaded without a pickle and without linfit.

A model folder holds `write_weights`' file, and linfit/problem/linfit_model_1.py as its code: `mlflow.pyfunc.load_model` imports that
copy. linfit itself loads no model: what is stored is never executed.

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

from linfit.config import canonical
from linfit.engine.fit import Fit
from linfit.errors import LinfitError, brief
from linfit.problem import linfit_model_1
from linfit.problem.features import Expansion, Features
from linfit.problem.opened import open_regular, require_memory, size_of
from linfit.tracking.layout import WEIGHTS_FILE
from linfit.writing import naming

#: Loads a model whose features are of a plug-in, and those that linfit logged before models had code of their own.
LOADER_OF_PLUGINS = "linfit.tracking.model"
#: Packages that a model's own code needs where MLflow serves it: `mlflow` has the server, and brings pandas.
PACKAGES = ("mlflow", "numpy")


def write_weights(fit: Fit, file: Path) -> None:
    """The final weights W `[p, q]` in the fit's dtype, and its curve: all that a later fit is compared with.

    The file's header has the names of features and targets, what makes the features where they are not the data's columns, how the
    fit ended, and the hash of all of it.
    """
    assert fit.problem is not None
    tensors = {
        "weight": np.ascontiguousarray(fit.weights),
        "steps": fit.steps,
        "losses": fit.losses,
    }
    expansion = fit.problem.expansion
    plain, learnt = (None, {}) if expansion is None else expansion.as_parts()
    tensors |= {
        linfit_model_1.LEARNT + name: np.ascontiguousarray(array) for name, array in learnt.items()
    }
    header = {
        "features": json.dumps(fit.problem.features),
        "targets": json.dumps(fit.problem.targets),
        "status": fit.status.value,
    }
    header |= {
        "fingerprint": fit.config.fingerprint(),
        **({} if plain is None else {"expansion": canonical(plain)}),
    }
    with naming(file):  # `save_file` raises an error of its own where the disk is full
        file.write_bytes(
            as_safetensors(tensors, metadata={**header, "sha256": _hash(tensors, header)})
        )


def read_weights(file: Path) -> tuple[dict[str, NDArray[Any]], dict[str, str]]:
    """The tensors of a file that `write_weights` wrote, and its header; LinfitError, which names it, if it was changed since."""
    try:
        with open_regular(file) as opened:
            require_memory(size_of(opened), f"reading {file}")
        with safe_open(file, framework="numpy") as stored:
            header = dict(stored.metadata() or {})
            tensors = {name: stored.get_tensor(name) for name in stored.keys()}  # noqa: SIM118 (it is no mapping)
    except (SafetensorError, OSError, ValueError, TypeError) as error:
        raise LinfitError(f"{file} cannot be read: {' '.join(str(error).split())}") from error
    if header.pop("sha256", None) != _hash(tensors, header) or not tensors.keys() >= {
        "weight",
        "steps",
        "losses",
    }:
        raise LinfitError(f"{file} was changed after it was written: its hash does not fit")
    return tensors, header


def _hash(tensors: dict[str, NDArray[Any]], header: dict[str, str]) -> str:
    found = hashlib.sha256(
        canonical(
            [header, {name: [str(array.dtype), array.shape] for name, array in tensors.items()}]
        ).encode()
    )
    for name in sorted(tensors):
        found.update(np.ascontiguousarray(tensors[name]).tobytes())
    return found.hexdigest()


def _load_pyfunc(path: str) -> linfit_model_1.LinearPredictor:
    """Return the predictor of a weights file, with the features of the plug-ins that this process has imported."""
    with safe_open(path, framework="numpy") as stored:
        expansion = json.loads(stored.metadata().get("expansion", "null"))
    if expansion is None or expansion["features"]["name"] in linfit_model_1.FUNCTIONS:
        return linfit_model_1._load_pyfunc(path)
    if expansion["features"]["name"] not in Features.choices:
        name = brief(repr(expansion["features"]["name"]))
        raise LinfitError(
            f"the features {name} of this model are a plug-in's: import the plug-in's module, then load the model"
        )
    linfit_model_1._let_server_read_csv()
    header, tensors = linfit_model_1.read_tensors(Path(path))
    expand = Expansion.of_parts(expansion, linfit_model_1.cut_prefix(tensors))
    return linfit_model_1.LinearPredictor(
        tensors["weight"], list(expand.columns), json.loads(header["targets"]), expand
    )


@dataclass(frozen=True)
class Predictor:
    """What becomes an MLflow model: the file that `write_weights` wrote, the columns it takes and the targets it predicts."""

    weights: Path
    columns: tuple[str, ...]
    targets: tuple[str, ...]
    of_plugin: bool = False
    """True where a plug-in makes the features: the model then needs linfit and the plug-in."""

    @staticmethod
    def of(fit: Fit, weights: Path) -> Predictor:
        """The fit's, whose weights are in that file."""
        assert fit.problem is not None
        expansion = fit.problem.expansion
        of_plugin = (
            expansion is not None and expansion.features.name not in linfit_model_1.FUNCTIONS
        )
        return Predictor(weights, tuple(fit.problem.columns), tuple(fit.problem.targets), of_plugin)


def save(predictor: Predictor, folder: Path, run_id: str, model_id: str, location: str) -> None:
    """Writes an MLflow model folder that belongs to a run and to a logged model.

    What `mlflow.pyfunc.save_model` writes, without its look through every file of every installed package for what a model may need.
    """
    from mlflow.models import Model, ModelSignature
    from mlflow.types import ColSpec, Schema
    from mlflow.types.schema import AnyType

    inputs = Schema(
        [ColSpec(AnyType(), name) for name in predictor.columns]
    )  # double would refuse integers, integers fractions
    outputs = Schema([ColSpec("double", name) for name in predictor.targets])
    model = Model(location, run_id, signature=ModelSignature(inputs, outputs), model_id=model_id)
    model.add_flavor("python_function", **_write_parts(predictor, folder))
    model.model_size_bytes = sum(
        file.stat().st_size for file in folder.rglob("*") if file.is_file()
    )
    model.save(str(folder / "MLmodel"))


def _write_parts(predictor: Predictor, folder: Path) -> dict[str, Any]:
    """Write the weights, the code and what they need, and return where each is."""
    data = Path("data", WEIGHTS_FILE)
    (folder / data).parent.mkdir(parents=True)
    shutil.copyfile(predictor.weights, folder / data)
    packages = (*PACKAGES, "linfit-lab", "safetensors") if predictor.of_plugin else PACKAGES
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
    """The files that say which packages a model needs, as MLflow lays them out."""
    packages = [f"{name}=={version(name)}" for name in names]
    conda = [
        "name: mlflow-env",
        "channels:",
        "- conda-forge",
        "dependencies:",
        f"- python={python_version()}",
        "- pip",
        "- pip:",
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
        "conda.yaml": conda + [f"  - {package}" for package in packages],
        "python_env.yaml": python,
        "requirements.txt": packages,
    }
    return {name: "\n".join(lines) + "\n" for name, lines in texts.items()}
