"""Columns of text become indicators of their levels, learnt from the training samples."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import mlflow
import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from pyarrow import parquet

import linfit
from linfit.engine.dispatch import fit
from linfit.errors import ConfigError
from linfit.problem.datasets.arrays import Arrays
from linfit.problem.datasets.readers import tables, text_codes
from linfit.problem.datasets.synthetic import Dataset
from linfit.problem.features import FeatureMap
from linfit.problem.problem import Problem
from linfit.sweeps.preflight.checks import resolve_configs
from tests.conftest import Ran
from tests.helpers import config

Linfit = Callable[..., Ran]
STREAM = np.random.default_rng(2)
COLORS = np.array(["red", "green", "blue"])[STREAM.integers(0, 3, 40)]
FRAME = pd.DataFrame(
    {
        "color": COLORS,
        "size": STREAM.standard_normal(40),
        "new": STREAM.integers(0, 2, 40).astype(bool),
        "count": STREAM.integers(0, 9, 40),
        "y": STREAM.standard_normal(40),
    }
)
FEATURES = ["color", "size", "new", "count"]
#: The features of FRAME, made by hand: numbers first, then the indicators.
NUMBERS = FRAME[["size", "new", "count"]].to_numpy(np.float64)
INDICATORS = np.stack([level == COLORS for level in ("blue", "green", "red")], axis=1) * 1.0
NAMES = ("size", "new", "count", "color=blue", "color=green", "color=red")


def write_csv(folder: Path, frame: pd.DataFrame) -> dict[str, Any]:
    frame.to_csv(folder / "data.csv", index=False)
    return {"name": "csv", "path": str(folder / "data.csv"), "features": FEATURES, "target": "y"}


def write_parquet(folder: Path, frame: pd.DataFrame) -> dict[str, Any]:
    parquet.write_table(pa.Table.from_pandas(frame), folder / "data.parquet", row_group_size=9)
    path = str(folder / "data.parquet")
    return {"name": "parquet", "path": path, "features": FEATURES, "target": "y"}


def write_categories(folder: Path, frame: pd.DataFrame) -> dict[str, Any]:
    levels = ["unused", *reversed(np.unique(frame["color"]))]
    return write_parquet(
        folder, frame.assign(color=pd.Categorical(frame["color"], categories=levels))
    )


HELD: list[Arrays] = []


def hold_frame(folder: Path, frame: pd.DataFrame) -> dict[str, Any]:
    HELD.append(linfit.arrays(frame, target="y"))
    return HELD[-1].model_dump(mode="json")


KINDS = {
    "csv": write_csv,
    "parquet": write_parquet,
    "categories": write_categories,
    "arrays": hold_frame,
}


@pytest.fixture(params=["small", "large"])
def any_size(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """As if the file were large: read in blocks, a CSV file by pyarrow."""
    if request.param == "large":
        monkeypatch.setattr(tables, "ROWS", 8)
        monkeypatch.setattr(tables, "SMALL_FILE", 0)


def problem_of(dataset: dict[str, Any], **parts: Any) -> Problem:
    return config(dataset=dataset, **parts).problem()


@pytest.mark.usefixtures("any_size")
@pytest.mark.parametrize("kind", KINDS)
def test_levels_are_indicators_whatever_holds_them(kind: str, tmp_path: Path) -> None:
    dataset = KINDS[kind](tmp_path, FRAME)
    problem = problem_of(dataset)
    assert problem.features == NAMES
    assert np.array_equal(problem.X, np.hstack([NUMBERS, INDICATORS]))
    assert problem.columns == tuple(FEATURES)
    [note] = [note for note in problem.notes if "is text" in note]
    assert note.endswith(
        "column 'color' is text, with indicators of its levels: 'blue', 'green', 'red'"
    )

    problem = problem_of(dataset, features={"name": "raw", "intercept": True})
    assert problem.features == (*NAMES[:3], *NAMES[4:], "1")
    assert np.array_equal(problem.X[:, :-1], np.hstack([NUMBERS, INDICATORS[:, 1:]]))
    assert problem.notes[-1].endswith("; 'blue', the first, is where all of them are 0")


@pytest.mark.parametrize("kind", KINDS)
def test_a_summary_of_them_has_their_products(kind: str, tmp_path: Path) -> None:
    dataset = KINDS[kind](tmp_path, FRAME)
    whole = problem_of(dataset)
    summary = problem_of(dataset, gradient="gram", dtype="float64")
    assert summary.features == whole.features
    np.testing.assert_allclose(summary.X.T @ summary.X, whole.X.T @ whole.X, rtol=1e-12, atol=1e-9)


@pytest.mark.parametrize("scaling", ["none", "standardize", "whiten"])
@pytest.mark.parametrize(
    ("features", "functions"),
    [
        ({"name": "raw", "intercept": True}, ("size", "count")),
        ({"name": "polynomial", "degree": 2}, ("size^2", "size", "count^2", "count")),
        ({"name": "rbf", "centers": 2}, ("rbf0(size)", "rbf1(size)", "rbf0(count)", "rbf1(count)")),
    ],
    ids=lambda value: str(value),
)
def test_indicators_are_features_like_others(
    features: dict[str, Any], functions: tuple[str, ...], scaling: str, tmp_path: Path
) -> None:
    """Functions are of numbers alone; scaling and the user's own terms are of all."""
    dataset = {**write_csv(tmp_path, FRAME), "features": ["color", "size", "count"]}
    problem = problem_of(dataset, features={**features, "scaling": scaling})
    assert problem.features == (*functions, "color=green", "color=red", "1")
    if scaling != "none":
        np.testing.assert_allclose(problem.X[:, :-1].mean(axis=0), 0, atol=1e-12)
        np.testing.assert_allclose(problem.X[:, :-1].std(axis=0), 1)

    expansion = problem.expansion
    assert expansion is not None
    columns = np.column_stack([INDICATORS.argmax(axis=1), FRAME["size"], FRAME["count"]])
    plain, learnt = expansion.to_parts()
    again = FeatureMap.from_parts(json.loads(json.dumps(plain)), learnt)
    assert np.array_equal(again(columns), problem.X)
    names, matrix = expansion.in_user_terms()
    bounds = {"bounds": learnt["bounds"]}
    bare = FeatureMap.from_parts({**plain, "features": {**features, "scaling": "none"}}, bounds)
    terms, own = bare.in_user_terms()
    assert terms == names
    W = STREAM.standard_normal((matrix.shape[1], 1))
    # T W are weights of the functions: those of the same prediction without scaling.
    weights = np.linalg.lstsq(own, matrix @ W, rcond=None)[0]
    np.testing.assert_allclose(bare(columns) @ weights, problem.X @ W, atol=1e-9)


def test_a_fit_is_that_of_the_indicators(tmp_path: Path) -> None:
    parts = {"optimizer": "adam", "steps": 20, "features": {"name": "raw", "intercept": True}}
    by_name = fit(config(dataset=write_csv(tmp_path, FRAME), **parts))
    table = np.hstack([NUMBERS, INDICATORS[:, 1:]])
    by_hand = fit(config(dataset=linfit.arrays(table, FRAME["y"]), **parts))
    assert by_name.weights.tobytes() == by_hand.weights.tobytes()


@pytest.mark.usefixtures("any_size")
@pytest.mark.parametrize("kind", KINDS)
def test_levels_are_those_of_training_samples(kind: str, tmp_path: Path) -> None:
    """A level that only held-out samples have is refused, before anything runs."""
    split = {"validation": 0.25, "seed": 1}
    held_out = fit(config(dataset={"name": "parabola", "n": 40}, split=split, steps=0)).held_out
    colors = COLORS.astype(object)
    colors[held_out[2]] = "mauve"
    given = config(dataset=KINDS[kind](tmp_path, FRAME.assign(color=colors)), split=split)
    for attempt in (given.problem, lambda: resolve_configs([given])):
        with pytest.raises(ValueError, match="'color': no training sample has 'mauve': they have"):
            attempt()


BAD = [
    ("color,y\nred,1\n5,2\n", "line 3, column 'color': '5' is a number, and the column begins"),
    ("color,y\nred,1\n2.5,2\n", "line 3, column 'color': '2.5' is a number"),
    ("color,y\n5,1\nred,2\n", "line 3, column 'color': 'red' is not a finite number"),
    ("color,y\n1 000,1\nred,2\n", "line 2, column 'color': '1 000' is not a finite number"),
    ("color,y\nred,1\nnull,2\n", "line 3, column 'color': a cell is missing: fill it in"),
    ("color,y\nTrue,1\nmaybe,2\n", "line 3, column 'color': 'maybe' is neither true nor false"),
    ("color,y\na,1\nb,1\nc,2\nd,2\n", "column 'color' has more than 3 different texts, the last"),
    ("color,y\nred,1\ngreen\n", "line 3: 1 cells below a header of 2"),
]


@pytest.mark.usefixtures("any_size")
@pytest.mark.parametrize(("content", "words"), BAD, ids=range(len(BAD)))
def test_a_column_is_text_or_numbers(
    content: str, words: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(text_codes, "MAX_LEVELS", 3)
    file = tmp_path / "data.csv"
    file.write_text(content)
    with pytest.raises(ValueError) as refusal:  # noqa: PT011
        problem_of({"name": "csv", "path": str(file), "features": "color", "target": "y"})
    assert str(refusal.value).startswith(str(file))
    assert words in str(refusal.value)


@pytest.mark.usefixtures("any_size")
@pytest.mark.parametrize(
    ("cells", "features", "column"),
    [
        (["a", " b ", "a"], ("x=a", "x=b"), [[1, 0], [0, 1], [1, 0]]),
        (["18-25", "<18", "18-25"], ("x=18-25", "x=<18"), [[1, 0], [0, 1], [1, 0]]),
        (["", "b", "a"], ("x=a", "x=b"), [[0, 1], [1, 0]]),
        (["TRUE", "False", "true"], ("x",), [[1], [0], [1]]),
        (["NA", "true", "false"], ("x",), [[1], [0]]),
        (["1", "0", "1"], ("x",), [[1], [0], [1]]),
        (["große", "Straße", "große"], ("x=Straße", "x=große"), [[0, 1], [1, 0], [0, 1]]),
    ],
    ids=str,
)
def test_cells_are_levels_truth_values_or_numbers(
    cells: list[str], features: tuple[str, ...], column: Any, tmp_path: Path
) -> None:
    file = tmp_path / "data.csv"
    file.write_text("x,y\n" + "".join(f'"{cell}",1\n' for cell in cells), encoding="utf-8")
    dataset = {"name": "csv", "path": str(file), "features": "x", "target": "y", "missing": "drop"}
    problem = problem_of(dataset)
    assert (problem.features, problem.X.tolist()) == (features, column)


def test_a_weight_is_a_number(tmp_path: Path) -> None:
    dataset = {**write_csv(tmp_path, FRAME), "features": ["size"], "weight": "color"}
    with pytest.raises(ValueError, match=r"column 'color': '\w+' is not a finite number"):
        problem_of(dataset)


def test_initial_weights_may_be_given_for_indicators(tmp_path: Path) -> None:
    dataset = write_csv(tmp_path, FRAME)
    given = {"name": "given", "weights": [[float(i)] for i in range(6)]}
    done = fit(config(dataset=dataset, init=given, steps=0))
    assert done.weights[:, 0].tolist() == list(range(6))
    wrong = config(dataset=dataset, init={"name": "given", "weights": [[1.0], [2.0]]})
    with pytest.raises(ConfigError, match=r"init\.weights has 2 rows.*needs 6 rows"):
        resolve_configs([wrong])
    with pytest.raises(ValueError, match=r"init\.weights has 2 rows"):
        config(
            dataset={**dataset, "features": ["size"]},
            init={"name": "given", "weights": [[1.0], [2.0]]},
        )


@pytest.mark.parametrize(
    "column",
    [
        pd.Series(["a", "b", "a"], dtype="string"),
        pd.Series(["a", "b", "a"], dtype="category"),
        pd.Series(["a", "b", "a"], dtype=object),
        pd.Series(["a", "b", "a"], dtype="string[pyarrow]"),
    ],
    ids=lambda column: str(column.dtype),
)
def test_pandas_columns_of_text_are_levels(column: Any) -> None:
    data = linfit.arrays(pd.DataFrame({"x": column, "y": [1, 2, 3]}), target="y")
    assert data.levels == (("x", ("a", "b")),)
    assert problem_of(data.model_dump(mode="json")).X.tolist() == [[1, 0], [0, 1], [1, 0]]
    assert Dataset.choose(json.loads(data.model_dump_json())) == data


def test_polars_columns_are_those_of_pandas() -> None:
    polars = pytest.importorskip("polars")
    frame = polars.from_pandas(FRAME)
    for color in (frame["color"], frame["color"].cast(polars.Categorical)):
        assert linfit.arrays(frame.with_columns(color), target="y") == linfit.arrays(
            FRAME, target="y"
        )


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (
            lambda: linfit.arrays(pd.DataFrame({"a": ["u", None], "y": [1, 2]}), target="y"),
            r"row 1 .*, column 'a': a cell is missing",
        ),
        (
            lambda: linfit.arrays(pd.DataFrame({"a": ["u", 1], "y": [1, 2]}), target="y"),
            r"row 0 .*, column 'a': 'u' is not a number",
        ),
        (
            lambda: linfit.arrays(
                pd.DataFrame({"a": [1, 2], "y": [1, 2], "w": ["1", "2"]}), target="y", weight="w"
            ),
            r"column 'w' is not made of numbers|row 0 .*, column 'w': '1' is not a number",
        ),
        (
            lambda: linfit.arrays(
                pd.DataFrame({"a": [f"{i}" for i in range(1001)], "y": range(1001)}), target="y"
            ),
            "column 'a' has 1,001 different texts, and 1,000 are the most",
        ),
    ],
)
def test_frames_that_are_no_data_are_refused(call: Any, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        call()


def test_arrays_whose_numbers_are_no_levels_are_refused() -> None:
    data = linfit.arrays(FRAME, target="y")
    wrong = data.model_copy(update={"levels": (("color", ("red",)),)})
    with pytest.raises(ValueError, match=r"column 'color': 2\.0 is no index of its levels"):
        wrong.load(0)


def test_fingerprints_of_numbers_stay() -> None:
    assert "levels" in linfit.arrays([[1.0]], [1.0]).list_neutral_fields()


# ---- as a user meets them ----


def test_a_run_tells_its_levels_and_predicts(linfit: Linfit, workdir: Path) -> None:
    FRAME.to_csv("data.csv", index=False)
    data = ["dataset=csv", "dataset.path=data.csv", "dataset.features=[color,size,new,count]"]
    features = ["features=polynomial", "features.degree=2", "features.scaling=standardize"]
    done = linfit("run", *data, "dataset.target=y", *features, "optimizer=adam", "pictures=false")
    assert done.code == 0, done.err
    assert "note: data.csv: column 'color' is text" in done.err
    assert "color=green" in done.out

    predicted = linfit("predict", "last", "data.csv")
    assert predicted.code == 0, predicted.err
    by_file = np.array([float(line) for line in predicted.out.split()[1:]])
    mlflow.set_tracking_uri(f"sqlite:///{workdir}/outputs/mlflow.db")
    try:
        [uri] = linfit("model", "last").out.split()
        model = mlflow.pyfunc.load_model(uri)
    finally:
        mlflow.set_tracking_uri(None)
    np.testing.assert_allclose(model.predict(FRAME)["y"], by_file, rtol=1e-6)
    assert "linfit_model_2" in sys.modules
    with pytest.raises(ValueError, match="column 'color': no training sample has 'mauve'"):
        model.predict(FRAME.assign(color="mauve"))

    missing = FRAME.assign(color=[None, *COLORS[1:]])
    assert np.flatnonzero(np.isnan(model.predict(missing)["y"])).tolist() == [0]
    missing.to_csv("missing.csv", index=False)
    lines = linfit("predict", "last", "missing.csv").out.splitlines()
    assert lines[1] in ("", '""')
    assert lines[2:] == predicted.out.splitlines()[2:]

    FRAME.assign(color="mauve").to_csv("other.csv", index=False)
    refused = linfit("predict", "last", "other.csv")
    advice = "leave such rows out, or name them alike"
    words = "other.csv, column 'color': no training sample has 'mauve': they have 'blue', "
    assert (refused.code, refused.err) == (2, f"linfit: {words}'green', 'red': {advice}\n")
    again = linfit("reproduce", "last")
    assert again.code == 0, again.err
