"""Write a fit as an MLflow model: safetensors, loaded without a pickle and without linfit.

A model folder has the file of `TrainedFit.write`, and linfit/problem/linfit_model_1.py as its code
(linfit_model_2.py too, of text and classes): `mlflow.pyfunc.load_model` imports that copy. linfit
itself loads no model: nothing stored is executed.

n samples, c columns, p features, q targets.
"""

from __future__ import annotations

import hashlib
import json
import shutil
from dataclasses import dataclass, replace
from importlib.metadata import version
from pathlib import Path
from platform import python_version
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save as as_safetensors

from linfit.config import canonical_json
from linfit.engine.fit import Fit
from linfit.errors import LinfitError, shorten
from linfit.problem import linfit_model_1, linfit_model_2
from linfit.problem.categories import NO_CATEGORIES, Categories
from linfit.problem.datasets.readers.opened import measure_size, open_regular, require_memory
from linfit.problem.datasets.targets import TargetClass
from linfit.problem.features import FeatureMap, Features
from linfit.problem.losses import Loss
from linfit.problem.types import Array
from linfit.system.atomic_files import name_file_in_errors
from linfit.tracking.schema.mlflow_names import MODEL, OWN_MODEL, WEIGHTS_FILE
from linfit.tracking.schema.short_names import name_model

if TYPE_CHECKING:
    from mlflow.entities import LoggedModel

#: The loader of models whose features are of a plug-in, and of those that linfit logged before
#: models had code of their own.
LOADER_OF_PLUGINS = "linfit.tracking.model"
#: Packages that a model's own code needs where MLflow serves it: `mlflow` has the server and
#: pandas.
MODEL_PACKAGES = ("mlflow", "numpy")
#: What is made of a predictor, by what the targets of its loss are.
LINKS = {"binary": "logistic", "sign": "sign", "classes": "softmax", "count": "exp"}


@dataclass(frozen=True, eq=False)
class TrainedFit:
    """What a fit has learnt, without its data: enough to predict, and to compare a later fit."""

    weights: NDArray[Any]
    """The final weights W `[p, q]` in the fit's dtype."""
    steps: NDArray[np.int64]
    losses: Array
    """The curve: the losses at the recorded steps."""
    features: tuple[str, ...]
    targets: tuple[str, ...]
    expansion: FeatureMap | None
    """The map from the data's columns to the features; None if the features are the columns."""
    status: str
    fingerprint: str
    classes: tuple[TargetClass, ...] = ()
    """Classes of the target, sorted."""
    link: str | None = None
    """What is made of a predictor that is no prediction (linfit_model_2.py)."""

    @staticmethod
    def from_fit(fit: Fit) -> TrainedFit:
        """Return what a fit of this process has learnt."""
        assert fit.problem is not None
        return TrainedFit(
            fit.weights,
            fit.steps,
            fit.losses,
            fit.problem.features,
            fit.problem.targets,
            fit.problem.expansion,
            fit.status.value,
            fit.config.fingerprint(),
            fit.problem.classes,
            find_link(fit.config.loss),
        )

    @staticmethod
    def read(file: Path) -> TrainedFit:
        """Read a file of `write`; LinfitError if it was changed after it was written."""
        tensors, header = read_weights(file)
        try:
            expansion = None
            if "expansion" in header:
                plain = json.loads(header["expansion"])
                require_features(plain["features"]["name"])
                expansion = FeatureMap.from_parts(plain, linfit_model_1.cut_prefix(tensors))
            features, targets = (tuple(json.loads(header[key])) for key in ("features", "targets"))
            status, fingerprint = header["status"], header["fingerprint"]
            classes = tuple(json.loads(header.get("classes", "[]")))
            if tensors["weight"].shape != (len(features), len(targets)):
                raise ValueError("it has not a weight for each feature and target")
        except (ValueError, LookupError, TypeError, RecursionError) as error:
            raise LinfitError(f"{file} is no file of weights: {shorten(str(error))}") from error
        return TrainedFit(
            tensors["weight"],
            tensors["steps"],
            tensors["losses"],
            features,
            targets,
            expansion,
            status,
            fingerprint,
            classes,
            header.get("link"),
        )

    @property
    def columns(self) -> tuple[str, ...]:
        """Names of the data's own columns, from which the features are made."""
        return self.features if self.expansion is None else self.expansion.columns

    @property
    def is_of_plugin(self) -> bool:
        """True if a plug-in makes the features."""
        name = "raw" if self.expansion is None else self.expansion.features.name
        return name not in linfit_model_1.FUNCTIONS

    @property
    def categories(self) -> Categories:
        """Levels of the columns of text."""
        return NO_CATEGORIES if self.expansion is None else self.expansion.categories

    @property
    def is_plain(self) -> bool:
        """True if predictors are predictions, of columns of numbers: linfit_model_1 makes them."""
        return self.link is None and not self.categories

    def create_predictor(self) -> linfit_model_1.LinearPredictor | linfit_model_2.TablePredictor:
        """Return the predictor that the fit's MLflow model has."""
        parts = (self.weights, list(self.columns), list(self.targets))
        expand = self.expansion or (lambda columns: columns)
        if self.is_plain:
            return linfit_model_1.LinearPredictor(*parts, expand)
        levels = self.categories.levels
        return linfit_model_2.TablePredictor(*parts, expand, levels, self.classes, self.link)

    def write(self, file: Path) -> None:
        """Write weights and curve.

        The file's header has the names of features and targets, the expansion that makes the
        features where they are not the data's columns, the status of the fit, and the hash of all
        of it.
        """
        tensors = {
            "weight": np.ascontiguousarray(self.weights),
            "steps": self.steps,
            "losses": self.losses,
        }
        header = {
            "features": json.dumps(self.features),
            "targets": json.dumps(self.targets),
            "status": self.status,
            "fingerprint": self.fingerprint,
        }
        if self.classes:
            header["classes"] = json.dumps(self.classes)
        if self.link is not None:
            header["link"] = self.link
        if self.expansion is not None:
            plain, learnt = self.expansion.to_parts()
            header["expansion"] = canonical_json(plain)
            for name, array in learnt.items():
                tensors[linfit_model_1.LEARNT + name] = np.ascontiguousarray(array)
        content = as_safetensors(tensors, metadata={**header, "sha256": _hash(tensors, header)})
        with name_file_in_errors(file):  # `save_file` has an error of its own for a full disk
            file.write_bytes(content)


def find_link(loss: Loss) -> str | None:
    """Return what is made of a loss's predictor, None where it is the prediction."""
    return LINKS.get(loss.target_kind)


def write_weights(fit: Fit, file: Path) -> None:
    """Write the final weights of a fit, and its curve, with which a later fit is compared."""
    TrainedFit.from_fit(fit).write(file)


def read_weights(file: Path) -> tuple[dict[str, NDArray[Any]], dict[str, str]]:
    """Return the tensors and the header of a file of `TrainedFit.write`.

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


def _load_pyfunc(path: str) -> linfit_model_1.LinearPredictor | linfit_model_2.TablePredictor:
    """Return the predictor of a weights file, with features of imported plug-ins."""
    with safe_open(path, framework="numpy") as stored:
        expansion = json.loads(stored.metadata().get("expansion", "null"))
    name = None if expansion is None else expansion["features"]["name"]
    if name is None or name in linfit_model_1.FUNCTIONS:
        return linfit_model_1._load_pyfunc(path)
    require_features(name)
    linfit_model_1._let_server_read_csv()
    header, tensors = linfit_model_1.read_tensors(Path(path))
    expand = FeatureMap.from_parts(expansion, linfit_model_1.cut_prefix(tensors))
    parts = (tensors["weight"], list(expand.columns), json.loads(header["targets"]), expand)
    if "link" not in header and not expand.categories:
        return linfit_model_1.LinearPredictor(*parts)
    classes = tuple(json.loads(header.get("classes", "[]")))
    return linfit_model_2.TablePredictor(
        *parts, expand.categories.levels, classes, header.get("link")
    )


def require_features(name: Any) -> None:
    """Raise LinfitError if the features with this name are of a plug-in that is not imported."""
    if name not in Features.choices:
        raise LinfitError(
            f"the features {shorten(repr(name))} of this model are a plug-in's: "
            "import the plug-in's module, then load the model"
        )


@dataclass(frozen=True)
class ModelFiles:
    """The parts of an MLflow model: a weights file, its input columns and its targets."""

    weights: Path
    columns: tuple[str, ...]
    targets: tuple[str, ...]
    name: str
    """The model's name in MLflow."""
    of_plugin: bool = False
    """True where a plug-in makes the features: the model needs linfit and the plug-in."""
    code: tuple[str, ...] = (linfit_model_1.__file__,)
    """Files of the modules that predict, the first of which MLflow loads."""
    label: tuple[str, str] | None = None
    """Name and MLflow's type of the classes that are predicted, None if numbers are."""
    has_probabilities: bool = False

    @staticmethod
    def from_fit(fit: Fit, weights: Path, name: str = "") -> ModelFiles:
        """Return the model of a fit of that name, whose weights are in that file."""
        return ModelFiles.from_trained(TrainedFit.from_fit(fit), weights, name)

    @staticmethod
    def from_trained(trained: TrainedFit, weights: Path, name: str = "") -> ModelFiles:
        """Return the model of what a fit of that name has learnt, which is in that file."""
        plain = ModelFiles(
            weights, trained.columns, trained.targets, name_model(name), trained.is_of_plugin
        )
        predictor = trained.create_predictor()
        if isinstance(predictor, linfit_model_1.LinearPredictor):
            return plain
        label = None
        if predictor.classes:
            kind = "string" if isinstance(predictor.classes[0], str) else "double"
            label = (predictor.label_name, kind)
        return replace(
            plain,
            code=(linfit_model_2.__file__, linfit_model_1.__file__),
            label=label,
            has_probabilities=trained.link in ("logistic", "softmax"),
        )


def is_own_model(logged: LoggedModel) -> bool:
    """Return True if linfit has logged this model of a run, which may have others."""
    return OWN_MODEL in logged.tags or logged.name == MODEL


def save_model(
    predictor: ModelFiles, folder: Path, run_id: str, model_id: str, location: str
) -> None:
    """Write the MLflow model folder of a run and of a logged model.

    `mlflow.pyfunc.save_model` writes the same, but searches every file of every installed package
    for the requirements of the model.
    """
    from mlflow.models import Model, ModelSignature
    from mlflow.types import ColSpec, ParamSchema, ParamSpec, Schema
    from mlflow.types.schema import AnyType

    # a double would refuse integers, an integer fractions
    inputs = Schema([ColSpec(AnyType(), name) for name in predictor.columns])
    outputs = Schema([ColSpec("double", name) for name in predictor.targets])
    if predictor.label is not None:
        name, kind = predictor.label
        outputs = Schema([ColSpec(kind, name)])
    params = None
    if predictor.has_probabilities:
        params = ParamSchema([ParamSpec(linfit_model_2.PROBABILITIES, "boolean", False)])
    signature = ModelSignature(inputs, outputs, params)
    model = Model(location, run_id, signature=signature, model_id=model_id)
    model.add_flavor("python_function", **_write_parts(predictor, folder))
    files = [file for file in folder.rglob("*") if file.is_file()]
    model.model_size_bytes = sum(file.stat().st_size for file in files)
    model.save(str(folder / "MLmodel"))


def _write_parts(predictor: ModelFiles, folder: Path) -> dict[str, Any]:
    """Write the weights, the code and the requirements of a model; return the path of each."""
    data = Path("data", WEIGHTS_FILE)
    (folder / data).parent.mkdir(parents=True)
    shutil.copyfile(predictor.weights, folder / data)
    packages = (
        (*MODEL_PACKAGES, "linfit-lab", "safetensors") if predictor.of_plugin else MODEL_PACKAGES
    )
    for name, text in _environment(packages).items():
        (folder / name).write_text(text, encoding="utf-8")
    parts = {
        "python_version": python_version(),
        "data": data.as_posix(),
        "env": {"conda": "conda.yaml", "virtualenv": "python_env.yaml"},
    }
    if predictor.of_plugin:
        return {"loader_module": LOADER_OF_PLUGINS, **parts}
    files = list(map(Path, predictor.code))
    (folder / "code").mkdir()
    for file in files:
        shutil.copyfile(file, folder / "code" / file.name)
    return {"loader_module": files[0].stem, "code": "code", **parts}


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
