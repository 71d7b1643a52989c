"""Saved models predict from the user's columns, with the fit's bits, and without a pickle."""

from __future__ import annotations

import hashlib
import shutil
import subprocess
import sys
import sysconfig
import tarfile
from decimal import Decimal
from itertools import product
from pathlib import Path
from typing import Any, Literal

import mlflow
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
from linfit.errors import LinfitError, RecordingError
from linfit.problem import linfit_model_1
from linfit.problem.datasets.arrays import Arrays
from linfit.problem.features import Features
from linfit.sweeps.run.block_pipeline import write_run_files
from linfit.tracking.model import ModelFiles, read_weights, save_model, write_weights
from tests.helpers import DTYPES, FEATURES, config, forbid_pickles, label

STREAM = np.random.default_rng(3)
FRAME = pd.DataFrame(
    {"length": STREAM.uniform(1, 5, 30), "unused": "text", "mass": STREAM.uniform(100, 900, 30)}
)
FRAME["force"] = FRAME["length"] * 2 - 0.01 * FRAME["mass"] + 0.1 * STREAM.standard_normal(30)
FRAME["work"], FRAME["heat"] = FRAME["force"] ** 2, 3 - FRAME["length"]
STORE = Path(__file__).parents[1] / "stores" / "v1.tar.xz"


@pytest.fixture(autouse=True)
def _no_pickle(monkeypatch: pytest.MonkeyPatch) -> None:
    forbid_pickles(monkeypatch)


def fitted(
    features: dict[str, Any],
    dtype: str = "float64",
    targets: list[str] | str = "force",
    **parts: Any,
) -> Fit:
    data: Arrays = linfit.arrays(FRAME, features=["mass", "length"], target=targets)
    return fit(
        config(
            dataset=data,
            features=features,
            dtype=dtype,
            steps=5,
            optimizer={"name": "adam", "lr": 0.1},
            **parts,
        )
    )


def model_of(done: Fit, folder: Path) -> Any:
    write_weights(done, folder / "weights.safetensors")
    save_model(
        ModelFiles.from_fit(done, folder / "weights.safetensors"),
        folder / "model",
        "0" * 32,
        "m-0",
        str(folder),
    )
    return pyfunc.load_model(str(folder / "model"))


@pytest.mark.parametrize(
    ("features", "dtype"),
    [
        (given, DTYPES[i % 2])
        for i, given in enumerate(
            given for row in FEATURES for given in row.settings() if "domain" not in given
        )
    ],
    ids=label,
)
def test_a_model_predicts_from_the_users_columns(
    features: dict[str, Any], dtype: str, tmp_path: Path
) -> None:
    done = fitted(features, dtype)
    assert done.problem is not None
    model = model_of(done, tmp_path)
    assert model.metadata.signature.inputs.input_names() == ["mass", "length"]
    assert model.metadata.signature.outputs.input_names() == ["force"]
    predicted = model.predict(FRAME)
    expected = done.problem.X.astype(dtype) @ done.weights
    assert predicted["force"].to_numpy().tobytes() == expected.tobytes()
    assert model.predict(FRAME[:0]).shape == (0, 1)  # a service is asked about no rows too
    assert model.predict(FRAME[4:5])["force"].item() == pytest.approx(expected[4, 0], rel=1e-5)


@pytest.mark.parametrize("gradient", ["autograd", "gram"])
def test_a_scaling_learnt_of_the_training_samples_is_the_models(
    gradient: str, tmp_path: Path
) -> None:
    features = {"name": "polynomial", "degree": 2, "basis": "legendre", "scaling": "whiten"}
    done = fitted(features, split={"validation": 0.3}, gradient=gradient)
    assert done.problem is not None and done.problem.expansion is not None
    columns = FRAME[["mass", "length"]].to_numpy()
    predicted = model_of(done, tmp_path).predict(FRAME)["force"]
    np.testing.assert_allclose(
        predicted, (done.problem.expansion(columns) @ done.weights).ravel(), rtol=1e-12
    )


@pytest.mark.skipif(sys.platform != "linux", reason="needs a device that is always full")
@pytest.mark.parametrize("name", ["config.json", "weights.safetensors"])
def test_a_full_disk_is_told_with_the_file(name: str, tmp_path: Path) -> None:
    (tmp_path / name).symlink_to("/dev/full")
    with pytest.raises(
        RecordingError, match=rf"{name} cannot be written: No space left on device$"
    ):
        write_run_files(tmp_path, fitted({"name": "raw"}))


def test_what_features_have_learnt_cannot_be_changed_unseen(tmp_path: Path) -> None:
    file = tmp_path / "weights.safetensors"
    write_weights(fitted({"name": "raw", "scaling": "standardize"}), file)
    tensors, header = read_weights(file)
    assert set(tensors) == {
        "weight",
        "steps",
        "losses",
        "features/bounds",
        "features/shift",
        "features/mix",
    }
    changed = {**load_file(file), "features/mix": 2 * tensors["features/mix"]}
    save_file(changed, file, metadata=header)
    with pytest.raises(LinfitError, match="was changed after it was written"):
        read_weights(file)


@pytest.mark.matrix
def test_a_model_is_laid_out_as_mlflow_lays_it_out(tmp_path: Path) -> None:
    done = fitted({"name": "raw"})
    ours, theirs, weights = (
        tmp_path / "model",
        tmp_path / "theirs",
        tmp_path / "weights.safetensors",
    )
    write_weights(done, weights)
    save_model(ModelFiles.from_fit(done, weights), ours, "0" * 32, "m-0", "somewhere")
    packages = (ours / "requirements.txt").read_text().split()
    pyfunc.save_model(
        theirs,
        loader_module="linfit_model_1",
        data_path=str(ours / "data/weights.safetensors"),
        code_paths=[linfit_model_1.__file__],
        pip_requirements=packages,
    )
    assert contents(ours).keys() == contents(theirs).keys()
    for name in ("requirements.txt", "code/linfit_model_1.py", "data/weights.safetensors"):
        assert contents(ours)[name].rstrip() == contents(theirs)[name].rstrip()
    for name, pinned in (
        ("conda.yaml", ("dependencies", 1)),
        ("python_env.yaml", ("build_dependencies",)),
    ):
        one, other = (yaml.safe_load((folder / name).read_text()) for folder in (ours, theirs))
        for read in (
            one,
            other,
        ):  # MLflow names the versions of pip and setuptools that are installed
            place = read
            for key in pinned[:-1]:
                place = place[key]
            place[pinned[-1]] = None
        assert one == other
    expected = dict(Model.load(str(theirs)).flavors["python_function"])
    del expected["streamable"]
    assert Model.load(str(ours)).flavors == {"python_function": expected}
    assert pyfunc.get_model_dependencies(str(ours)) == str(ours / "requirements.txt")


def contents(folder: Path) -> dict[str, bytes]:
    """The files of a model, without what Python keeps of its code."""
    files = [file for file in folder.rglob("*") if file.is_file() and file.suffix != ".pyc"]
    return {file.relative_to(folder).as_posix(): file.read_bytes() for file in files}


def test_a_model_needs_published_packages_and_little_code(tmp_path: Path) -> None:
    folder = tmp_path / "model"
    model_of(fitted({"name": "fourier"}), tmp_path)
    named = [line.split("==")[0] for line in (folder / "requirements.txt").read_text().split()]
    assert named == ["mlflow", "numpy"]
    assert len((folder / "code/linfit_model_1.py").read_bytes()) < 10_500


#: SHA-256 of the module that models carry.
CODE_OF_MODELS = "416f3fa0f649078672a69a18427f03591df96899486f46e5323b01c682f9890a"


def test_the_code_that_models_carry_never_changes() -> None:
    """One module of that name serves all models of a process: other code needs a new number."""
    code = Path(linfit_model_1.__file__).read_text(encoding="utf-8")
    assert hashlib.sha256(code.encode()).hexdigest() == CODE_OF_MODELS


#: Predicts with the model of every folder below argv[1], where neither linfit nor what it fits with
#: can be imported.
ALONE = """
import sys
from pathlib import Path

blocked = ("linfit", "torch", "safetensors", "hydra", "omegaconf")
sys.modules.update(dict.fromkeys(blocked))
sys.path += sys.argv[2:]
import numpy as np
import pandas as pd
from mlflow import pyfunc

for folder in sorted(Path(sys.argv[1]).iterdir()):
    frame = pd.DataFrame(np.load(folder / "columns.npy"), columns=["mass", "length"])
    model = pyfunc.load_model(str(folder / "model"))
    np.save(folder / "predicted.npy", model.predict(frame).to_numpy())
assert Path(sys.modules["linfit_model_1"].__file__).parts[-2:] == ("code", "linfit_model_1.py")
assert not [name for name in blocked if sys.modules[name] is not None]
"""
#: Features with all that they may be made with, and the targets of a fit in each dtype.
ALL_FEATURES = [
    *[given for row in FEATURES for given in row.settings() if "domain" not in given],
    *[
        {"name": name, "domain": [-1.0, 1000.0], "scaling": "standardize"}
        for name in ("fourier", "rbf")
    ],
    {
        "name": "polynomial",
        "basis": "chebyshev",
        "degree": 5,
        "domain": [-1.0, 1000.0],
        "intercept": False,
    },
    {"name": "raw", "intercept": True, "scaling": "whiten"},
]
TARGETS = (["force", "work", "heat"], ["force"])


def test_models_predict_the_same_without_linfit(tmp_path: Path) -> None:
    columns, expected = np.stack([np.linspace(50, 950, 40), np.linspace(6, 0, 40)], axis=1), {}
    for place, (features, (dtype, targets)) in enumerate(
        product(ALL_FEATURES, zip(DTYPES, TARGETS, strict=True))
    ):
        folder = tmp_path / f"{place:03}"
        folder.mkdir()
        done = fitted(features, dtype, targets)
        write_weights(done, folder / "weights.safetensors")
        save_model(
            ModelFiles.from_fit(done, folder / "weights.safetensors"),
            folder / "model",
            "0" * 32,
            "m-0",
            str(folder),
        )
        np.save(folder / "columns.npy", columns)
        assert done.problem is not None
        X = columns if done.problem.expansion is None else done.problem.expansion(columns)
        expected[folder] = X.astype(dtype) @ done.weights
    paths = sorted(
        {
            sysconfig.get_path("purelib"),
            str(Path(np.__file__).parents[1]),
            str(Path(mlflow.__file__).parents[1]),
        }
    )
    alone = subprocess.run(
        [sys.executable, "-I", "-S", "-c", ALONE, str(tmp_path), *paths],
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert alone.returncode == 0, alone.stderr
    assert len(expected) == 2 * len(ALL_FEATURES)
    for folder, wanted in expected.items():
        predicted = np.load(folder / "predicted.npy")
        assert predicted.dtype == wanted.dtype
        assert predicted.tobytes() == wanted.tobytes(), folder


def test_models_with_code_of_two_versions_load_in_one_process(tmp_path: Path) -> None:
    first = model_of(fitted({"name": "raw"}), tmp_path)
    later = tmp_path / "later"
    shutil.copytree(tmp_path / "model", later)
    code = (later / "code/linfit_model_1.py").read_text()
    assert "@ self.weights" in code
    (later / "code/linfit_model_9.py").write_text(
        code.replace("@ self.weights", "@ (2 * self.weights)")
    )
    (later / "code/linfit_model_1.py").unlink()
    described = (later / "MLmodel").read_text()
    (later / "MLmodel").write_text(described.replace("linfit_model_1", "linfit_model_9"))
    second = pyfunc.load_model(str(later))
    np.testing.assert_array_equal(second.predict(FRAME)["force"], 2 * first.predict(FRAME)["force"])
    again = pyfunc.load_model(str(tmp_path / "model"))
    np.testing.assert_array_equal(again.predict(FRAME)["force"], first.predict(FRAME)["force"])


class Roots(Features):
    """Features of a plug-in."""

    name: Literal["roots_of_a_test"] = "roots_of_a_test"

    def functions(self, columns: tuple[str, ...]) -> tuple[str, ...]:
        return tuple(f"√{name}" for name in columns)

    def expand(self, columns: Any, bounds: Any) -> Any:
        return np.sqrt(columns)


def test_a_model_of_a_plug_in_needs_linfit_and_says_so(tmp_path: Path) -> None:
    done = fitted({"name": "roots_of_a_test", "scaling": "standardize"})
    assert done.problem is not None
    model = model_of(done, tmp_path)
    assert (
        model.predict(FRAME)["force"].to_numpy().tobytes()
        == (done.problem.X @ done.weights).tobytes()
    )
    assert not (tmp_path / "model/code").exists()
    named = {
        line.split("==")[0] for line in (tmp_path / "model/requirements.txt").read_text().split()
    }
    assert named == {"mlflow", "numpy", "linfit-lab", "safetensors"}
    with pytest.MonkeyPatch.context() as patch:
        patch.delitem(Features.choices, "roots_of_a_test")
        with pytest.raises(LinfitError, match=r"roots_of_a_test.*import the plug-in"):
            pyfunc.load_model(str(tmp_path / "model"))


#: Columns of pandas frames that hold the numbers 1, 0, 1, 3 or some of them, as data are read.
KINDS: dict[str, Any] = {
    "int64": pd.Series([1, 0, 1, 3]),
    "int8": pd.Series([1, 0, 1, 3], dtype="int8"),
    "uint64": pd.Series([1, 0, 1, 3], dtype="uint64"),
    "float32": pd.Series([1, 0, 1, 3], dtype="float32"),
    "float64": pd.Series([1.0, 0.0, 1.0, 3.0]),
    "bool": pd.Series([True, False, True, True]),
    "nullable Int64": pd.Series([1, 0, None, 3], dtype="Int64"),
    "nullable Float64": pd.Series([1.0, 0.5, None, 3], dtype="Float64"),
    "nullable boolean": pd.Series([True, False, None, True], dtype="boolean"),
    "arrow": pd.Series([1, 0, None, 3], dtype="int64[pyarrow]"),
    "missing": pd.Series([1, 0, None, 3]),
    "Decimal": pd.Series([Decimal(1), Decimal("0.5"), Decimal(1), Decimal(3)]),
    "mixed": pd.Series([1, 0.5, True, np.float32(3)], dtype=object),
}


@pytest.mark.matrix
@pytest.mark.parametrize("column", KINDS.values(), ids=KINDS)
def test_a_model_takes_every_kind_of_number(column: Any, tmp_path: Path) -> None:
    done = fitted({"name": "raw"})
    frame = pd.DataFrame(
        {"length": column, "mass": column[::-1].to_numpy() if column.dtype != object else column}
    )
    plain = (
        frame.astype(object)
        .where(frame.notna(), np.nan)
        .astype(float)[["mass", "length"]]
        .to_numpy()
    )
    predicted = model_of(done, tmp_path).predict(frame)["force"]
    assert predicted.to_numpy().tobytes() == (plain @ done.weights).tobytes()


@pytest.mark.parametrize("cell", ["3", "2_0", "", 2**53 + 1])
def test_a_model_refuses_what_data_may_not_be(cell: Any, tmp_path: Path) -> None:
    frame = pd.DataFrame({"length": [1, 2], "mass": [1, cell]})
    with pytest.raises(
        ValueError,
        match=r"row 1 \(counted from 0\), column 'mass'|column 'mass' is not made of numbers",
    ):
        model_of(fitted({"name": "raw"}), tmp_path).predict(frame)


@pytest.mark.matrix
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
