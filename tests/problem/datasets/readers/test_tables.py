"""Tables of every kind: the same numbers from every file, large or small.

Errors name what is wrong, and notes count the rows that are left out.
"""

from __future__ import annotations

import json
import pickle
from decimal import Decimal
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
import torch
from hypothesis import given, strategies
from numpy.typing import NDArray
from pyarrow import parquet

import linfit
from linfit.config import FitConfig
from linfit.engine.dispatch import fit
from linfit.problem.datasets.arrays import Arrays
from linfit.problem.datasets.files import CSV, Npy
from linfit.problem.datasets.readers import npy as numpy_files
from linfit.problem.datasets.readers import tables
from linfit.problem.datasets.synthetic import Dataset
from tests.helpers import LAW, config

NUMBERS = np.random.default_rng(8).standard_normal((300, 4)) * np.logspace(-12, 12, 300)[:, None]
NAMES = ("a", "b", "y", "w")
ABSENT = "is missing: fill it in, or leave such rows out with dataset.missing=drop"


def table(kind: str, file: Path, **fields: Any) -> Dataset:
    return Dataset.choose({"name": kind, "path": str(file), **fields})


def written(folder: Path, kind: str, numbers: NDArray[np.float64] = NUMBERS) -> Dataset:
    """A file of that kind with these numbers, as a dataset of columns a, b and y."""
    file, fields = folder / f"data.{kind}", {"features": ["a", "b"], "target": "y"}
    if kind == "csv":
        rows = (
            ",".join("" if number != number else repr(number) for number in row)
            for row in numbers.tolist()
        )
        file.write_text("\n".join([",".join(NAMES), *rows]) + "\n")
        return table("csv", file, **fields)
    if kind == "parquet":
        columns = pa.table(
            {
                name: pa.array(column, from_pandas=True)
                for name, column in zip(NAMES, numbers.T, strict=True)
            }
        )
        parquet.write_table(columns, file, row_group_size=70)
        return table("parquet", file, **fields)
    if kind == "npz":
        np.savez(file, **dict(zip(NAMES, numbers.T, strict=True)))
        return table("npy", file, **fields)
    np.save(file, numbers)
    return table("npy", file, features="0:2", target="2")


KINDS = ("csv", "parquet", "npz", "npy")


@pytest.fixture(params=["in one block", "in many"])
def any_size(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """As if the file were large: read in blocks, a CSV file by pyarrow."""
    if request.param == "in many":
        for module in (tables, numpy_files):
            monkeypatch.setattr(module, "ROWS", 64)
        monkeypatch.setattr(tables, "SMALL_FILE", 0)


@pytest.mark.matrix
@pytest.mark.usefixtures("any_size")
@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_of_file_holds_the_same_numbers(kind: str, tmp_path: Path) -> None:
    problem = written(tmp_path, kind).load(0)
    assert problem.X.tobytes() == np.ascontiguousarray(NUMBERS[:, :2]).tobytes()
    assert problem.y.tobytes() == np.ascontiguousarray(NUMBERS[:, 2:3]).tobytes()


@pytest.mark.usefixtures("any_size")
@pytest.mark.parametrize("kind", KINDS)
def test_missing_cells_are_refused_or_left_out_and_counted(kind: str, tmp_path: Path) -> None:
    numbers = NUMBERS.copy()
    numbers[[100, 250], [1, 2]] = np.nan
    numbers[7, 3] = np.nan  # in a column that nobody asks for
    dataset = written(tmp_path, kind, numbers)
    column = "1" if kind == "npy" else "b"
    where = "line 102" if kind == "csv" else "row 100 (counted from 0)"
    with pytest.raises(ValueError) as refusal:  # noqa: PT011
        dataset.load(0)
    assert str(refusal.value).endswith(f"{where}, column {column!r}: a cell {ABSENT}")
    kept = Dataset.choose({**dataset.model_dump(), "missing": "drop"}).load(0)
    assert np.array_equal(kept.X, np.delete(NUMBERS, [100, 250], axis=0)[:, :2])
    assert kept.notes == (f"{kept.source}: 2 rows with missing cells left out",)


@pytest.mark.usefixtures("any_size")
@pytest.mark.parametrize("kind", KINDS)
def test_infinity_is_never_missing(kind: str, tmp_path: Path) -> None:
    numbers = NUMBERS.copy()
    numbers[200, 0] = -np.inf
    dataset = written(tmp_path, kind, numbers)
    for missing in ("error", "drop"):
        with pytest.raises(
            ValueError,
            match=r"(line 202|row 200 .*), column '(a|0)': '?-inf'? is not a finite number",
        ):
            Dataset.choose({**dataset.model_dump(), "missing": missing}).load(0)


@pytest.mark.parametrize("kind", KINDS)
def test_nothing_but_missing_cells_is_no_data(kind: str, tmp_path: Path) -> None:
    dataset = written(tmp_path, kind, np.full((3, 4), np.nan))
    with pytest.raises(ValueError, match="has no rows but such with missing cells"):
        Dataset.choose({**dataset.model_dump(), "missing": "drop"}).load(0)


def test_a_large_csv_file_is_refused_with_the_same_words_as_a_small_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "data.csv"
    good = "".join(f"{i},2,3\n" for i in range(200))
    for bad in (
        "4,five,6\n",
        "4,5\n",
        "1,2,3,4\n",
        "4,1e999,6\n",
        '4,"5\n',
        "4,,6\n",
        "4,inf,6\n",
        "4,-nan,6\n",
        "4,Nan,6\n",
    ):
        file.write_text(f"a,b,y\n{good}{bad}{good}")
        words = []
        for small in (2**20, 0):
            monkeypatch.setattr(tables, "SMALL_FILE", small)
            monkeypatch.setattr(tables, "ROWS", 64)
            with pytest.raises(ValueError) as refusal:  # noqa: PT011
                CSV(
                    path=str(file),
                    features=("a", "b"),
                    target=("y",),
                    missing="error" if ",," in bad else "drop",
                ).load(0)
            words.append(str(refusal.value))
        assert words[0] == words[1]


@pytest.mark.matrix
@pytest.mark.parametrize(
    ("column", "words"),
    [
        (pa.array([b"1", b"2"]), "column 'a' is of type binary: numbers are needed"),
        (
            pa.array([1, 2**53 + 1]),
            "row 1 (counted from 0), column 'a': "
            "9007199254740993 is an integer that float64 cannot hold",
        ),
    ],
)
def test_a_parquet_column_that_is_no_number_is_refused(
    column: Any, words: str, tmp_path: Path
) -> None:
    parquet.write_table(pa.table({"a": column, "y": [1.0, 2.0]}), tmp_path / "data.parquet")
    with pytest.raises(ValueError) as refusal:  # noqa: PT011
        table("parquet", tmp_path / "data.parquet", features="a", target="y").load(0)
    assert words in str(refusal.value)


def decimals(scale: int) -> strategies.SearchStrategy[Decimal]:
    return strategies.integers(-(10**18), 10**18).map(lambda digits: Decimal(digits).scaleb(-scale))


@pytest.mark.matrix
def test_parquet_integers_decimals_and_booleans_are_numbers(tmp_path: Path) -> None:
    columns = {
        "a": pa.array([3, -4]),
        "b": pa.array([Decimal("0.25"), Decimal("1.50")]),
        "y": pa.array([True, False]),
    }
    parquet.write_table(pa.table(columns), tmp_path / "data.parquet")
    problem = table("parquet", tmp_path / "data.parquet", features=("a", "b"), target=("y",)).load(
        0
    )
    assert (problem.X.tolist(), problem.y.tolist()) == ([[3, 0.25], [-4, 1.5]], [[1], [0]])


@LAW
@given(
    strategies.integers(-5, 12).flatmap(
        lambda scale: strategies.lists(decimals(scale), min_size=1, max_size=8)
    )
)
def test_decimals_are_parsed_as_python_does(
    tmp_path_factory: pytest.TempPathFactory, numbers: list[Decimal]
) -> None:
    file = tmp_path_factory.mktemp("decimals") / "data.parquet"
    parquet.write_table(pa.table({"a": pa.array(numbers), "y": [0.0] * len(numbers)}), file)
    parsed = table("parquet", file, features=("a",), target=("y",)).load(0).X[:, 0]
    assert parsed.tolist() == [float(str(number)) for number in numbers]


def npy(folder: Path, array: Any, features: str = "0", target: str = "1") -> Dataset:
    np.save(folder / "data.npy", array)
    return Npy.model_validate(
        {"name": "npy", "path": str(folder / "data.npy"), "features": features, "target": target}
    )


@pytest.mark.matrix
def test_numpy_files_of_every_layout(tmp_path: Path) -> None:
    whole = np.arange(12).reshape(4, 3)
    for array in (
        whole,
        whole.astype(np.float32),
        np.asfortranarray(whole, dtype=np.float64),
        whole.astype(">f8"),
        whole[::1].astype(np.int8),
    ):
        problem = npy(tmp_path, array, "0:2", "2").load(0)
        assert (problem.X.tolist(), problem.y.tolist()) == (
            whole[:, :2].tolist(),
            whole[:, 2:].tolist(),
        )
        assert npy(tmp_path, array, "2", "0").load(0).X.tolist() == whole[:, 2:].tolist()
    records = np.array([(1.5, 2), (3.5, 4)], dtype=[("first", "f8"), ("second", "i4")])
    assert npy(tmp_path, records, "first", "second").load(0).X.tolist() == [[1.5], [3.5]]
    np.savez_compressed(tmp_path / "data.npz", X=whole, y=whole[:, 0])
    compressed = Npy.model_validate(
        {"name": "npy", "path": str(tmp_path / "data.npz"), "features": "X.0:3", "target": "y"}
    )
    assert compressed.load(0).X.tolist() == whole.tolist()
    assert compressed.features == ("X.0", "X.1", "X.2")


def test_numpy_files_that_are_refused(tmp_path: Path) -> None:
    for array, words in (
        (np.array([["a", "b"]]), "column '0' is of type <U1: numbers are needed"),
        (np.array([[1j, 2]]), "column '0' is of type complex128: numbers are needed"),
        (
            np.array([[2**53 + 1, 2]]),
            "row 0 .*, column '0': 9007199254740993 is an integer that float64 cannot hold",
        ),
        (
            np.array([([1.0, 2.0], 3.0)], dtype=[("0", "f8", 2), ("1", "f8")]),
            r"column '0' has \[2\] numbers in a cell: one is needed",
        ),
        (np.array([[1.0]]), "has no column '1': .*there are 0"),
        (np.array([[1.0, 2.0]])[:0], "has no rows"),
    ):
        with pytest.raises(ValueError, match=words):
            npy(tmp_path, array).load(0)
    (tmp_path / "data.npy").write_bytes(b"no such thing")
    with pytest.raises(
        ValueError,
        match=r"cannot be read: it has to be numpy's \.npy or \.npz, whole and without objects",
    ):
        table("npy", tmp_path / "data.npy", features="0", target="1").load(0)
    np.savez(tmp_path / "data.npz", a=np.zeros(3), y=np.zeros(2))
    with pytest.raises(ValueError, match="columns of unlike lengths: a 3, y 2"):
        table("npy", tmp_path / "data.npz", features="a", target="y").load(0)
    np.savez(tmp_path / "data.npz", X=np.zeros((3, 4)), y=np.array(1.0), deep=np.zeros((3, 4, 5)))
    for name, said in (
        ("X", r"'X' has 4 columns: name one, X\.0, or all, X\.0:4"),
        ("y", "'y' has 0 dim"),
        ("deep", "'deep' has 3 dim"),
    ):
        with pytest.raises(ValueError, match=said):
            table("npy", tmp_path / "data.npz", features=name, target="X.0").load(0)
    with pytest.raises(ValueError, match="'5:5' is no range of columns"):
        table("npy", Path("x.npy"), features="5:5", target="1")


class Trap:
    """Leaves a trace where it is unpickled."""

    def __reduce__(self) -> Any:
        return Path.touch, (Path("trace"),)


def test_nothing_is_unpickled(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    np.save("data.npy", np.array([[Trap(), 1]], dtype=object), allow_pickle=True)
    np.savez("data.npz", a=np.array([Trap()], dtype=object), y=np.zeros(1))
    Path("raw.npy").write_bytes(pickle.dumps(Trap()))
    for name, column in (("data.npy", "0"), ("data.npz", "a"), ("raw.npy", "0")):
        with pytest.raises(ValueError, match="cannot be read"):
            table("npy", Path(name), features=column, target="y").load(0)
    assert not Path("trace").exists()


# ---- weights ----


@pytest.mark.parametrize("gradient", ["autograd", "gram"])
@pytest.mark.parametrize("loss", ["sse", "mse"])
def test_a_weight_counts_like_so_many_samples(loss: str, gradient: str, tmp_path: Path) -> None:
    stream = np.random.default_rng(3)
    rows, counts = stream.standard_normal((20, 3)), stream.integers(0, 4, 20)
    np.save(tmp_path / "weighted.npy", np.column_stack([rows, counts]))
    np.save(tmp_path / "repeated.npy", np.repeat(rows, counts, axis=0))
    features = {"name": "polynomial", "degree": 2, "scaling": "standardize"}
    common: dict[str, Any] = {
        "loss": loss,
        "gradient": gradient,
        "dtype": "float64",
        "features": features,
        "steps": 20,
    }

    def fitted(file: str, engine: str, **more: Any) -> linfit.Fit:
        data = {
            "name": "npy",
            "path": str(tmp_path / file),
            "features": ["0", "1"],
            "target": "2",
            **more,
        }
        return fit(config(dataset=data, engine=engine, **common))

    for engine in ("single", "stacked"):
        weighted, repeated = (
            fitted("weighted.npy", engine, weight="3"),
            fitted("repeated.npy", engine),
        )
        assert weighted.optimum is not None and repeated.optimum is not None
        np.testing.assert_allclose(weighted.losses, repeated.losses, rtol=1e-2)
        assert weighted.optimum.loss == pytest.approx(repeated.optimum.loss, rel=1e-9)
        np.testing.assert_allclose(weighted.optimum.weights, repeated.optimum.weights, rtol=1e-8)


def test_weights_are_not_negative(tmp_path: Path) -> None:
    np.save(tmp_path / "data.npy", np.array([[1.0, 2.0, 1.0], [1.0, 2.0, -1.0]]))
    data = {
        "name": "npy",
        "path": str(tmp_path / "data.npy"),
        "features": "0",
        "target": "1",
        "weight": "2",
    }
    with pytest.raises(
        ValueError, match=r"row 1 \(counted from 0\), column '2': -1.0 is a negative weight"
    ):
        Dataset.choose(data).load(0)


def test_a_constant_column_is_mentioned_unless_it_is_the_intercept(tmp_path: Path) -> None:
    np.save(tmp_path / "data.npy", np.array([[1.0, 3.5, 1.0], [1.0, 3.5, 2.0]]))
    problem = table("npy", tmp_path / "data.npy", features="0:2", target="2").load(0)
    assert problem.notes == (f"{problem.source}: column '1' is constant, 3.5 in every row",)


def test_a_column_that_is_named_twice_is_mentioned(tmp_path: Path) -> None:
    np.save(tmp_path / "data.npy", NUMBERS)
    problem = table("npy", tmp_path / "data.npy", features=["0", "0", "2"], target="2").load(0)
    told = (
        "column '0' is a feature 2 times",
        "column '2' is a feature and a target: it predicts itself",
    )
    assert problem.notes == tuple(f"{problem.source}: {said}" for said in told)
    arrays = linfit.arrays(
        pd.DataFrame(NUMBERS, columns=list(NAMES)), features=["a", "y"], target="y"
    ).load(0)
    assert arrays.notes == (
        f"{arrays.source}: column 'y' is a feature and a target: it predicts itself",
    )


# ---- arrays and frames ----


@pytest.mark.matrix
def test_arrays_are_data() -> None:
    X, y = NUMBERS[:20, :2], NUMBERS[:20, 2]
    data = linfit.arrays(X, y)
    X_before = X.copy()
    found = fit(config(dataset=data, features={"name": "raw", "scaling": "standardize"}))
    assert found.problem is not None and found.problem.source.startswith("linfit:arrays/")
    assert data.load(0).X.tolist() == X_before.tolist()
    assert data == linfit.arrays(X.copy(), y) != linfit.arrays(X + 1, y)
    assert hash(data) == hash(linfit.arrays(X.copy(), y))
    assert (
        config(dataset=data).fingerprint() != config(dataset=linfit.arrays(X + 1, y)).fingerprint()
    )


def test_a_stored_config_finds_arrays_that_are_held_and_says_when_they_are_not() -> None:
    data = linfit.arrays(NUMBERS[:9, :2], NUMBERS[:9, 2:4], features=["a", "b"], target=["u", "v"])
    stored = json.dumps(config(dataset=data, steps=2).as_dict())
    again = FitConfig.model_validate(json.loads(stored))
    assert fit(again).error is None
    shipped = pickle.loads(pickle.dumps(config(dataset=data)))
    del data, again
    assert shipped.dataset.load(0).targets == ("u", "v")
    del shipped
    error = fit(FitConfig.model_validate(json.loads(stored))).error
    assert (
        error is not None
        and "are not in this process: call linfit.arrays on the same numbers first" in error
    )


@pytest.mark.matrix
def test_a_frame_is_data_by_its_columns() -> None:
    frame = pd.DataFrame(NUMBERS[:30], columns=list(NAMES)).assign(w=lambda given: given["w"].abs())
    data = linfit.arrays(frame, target="y", weight="w")
    assert (data.features, data.target, data.weight) == (("a", "b"), ("y",), "w")
    problem = data.load(0)
    assert problem.X.tolist() == frame[["a", "b"]].to_numpy().tolist()
    assert problem.weights is not None and problem.weights.tolist() == frame["w"].tolist()
    assert linfit.arrays(frame, features=["b"], target=["y", "a"]).shape() == (1, 2)


def test_arrays_are_chosen_by_overrides_in_the_same_process() -> None:
    data = linfit.arrays(NUMBERS[:9, :2], NUMBERS[:9, 2], features=["a b", "c"])
    assert linfit.compose([*data.overrides, "steps=3"]).dataset == data


def test_a_masked_array_without_a_masked_cell_is_data() -> None:
    data = linfit.arrays(
        np.ma.masked_array([[1.0, 2.0]], mask=False), np.ma.masked_array([3], mask=[False])
    )
    assert data == linfit.arrays([[1.0, 2.0]], [3.0])


MASKED = np.ma.masked_array([[1.0, 2.0], [3.0, 4.0]], mask=[[False, False], [True, False]])


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda: linfit.arrays(NUMBERS), "arrays need targets"),
        (
            lambda: linfit.arrays(np.zeros((3, 2)), np.zeros(2)),
            "columns need one length, above 0, got",
        ),
        (
            lambda: linfit.arrays(np.zeros((0, 2)), np.zeros(0)),
            "columns need one length, above 0, got",
        ),
        (lambda: linfit.arrays(np.zeros((2, 2, 2)), np.zeros(2)), "X has 3 dimensions"),
        (
            lambda: linfit.arrays([[1.0], [np.nan]], [1.0, 2.0]),
            r"row 1 \(counted from 0\), column 'x': nan is not a finite number",
        ),
        (
            lambda: linfit.arrays([["a"], ["b"]], [1.0, 2.0]),
            "column 'x' is not made of numbers: of type <U1",
        ),
        (
            lambda: linfit.arrays([[1.0]], [1.0], weight=[-2.0]),
            "column 'weight': -2.0 is a negative weight",
        ),
        (
            lambda: linfit.arrays([[1.0, 2.0]], [1.0], features=["a", "a"]),
            "X has 2 columns, named a, a: each needs a name of its own",
        ),
        (lambda: linfit.arrays(pd.DataFrame({"a": [1.0]})), "name the target"),
        (
            lambda: linfit.arrays(pd.DataFrame({"a": [1.0]}), target="y"),
            "the frame has no column 'y', or several: there are a",
        ),
        (
            lambda: linfit.arrays(pd.DataFrame({"a": [b"u"], "y": [1.0]}), target="y"),
            "column 'a' is not made of numbers",
        ),
        (
            lambda: linfit.arrays(pd.DataFrame({"a": [1, "5"], "y": [1, 2]}), target="y"),
            r"^row 1 \(counted from 0\), column 'a': '5' is not a number",
        ),
        (
            lambda: linfit.arrays(pd.DataFrame({"a": [1, None], "y": [1, 2]}), target="y"),
            "column 'a': nan .*: fill it in, or leave the row out",
        ),
        (
            lambda: linfit.arrays(pd.DataFrame({"a": [2**53 + 1], "y": [1]}), target="y"),
            "'a': 9007199254740993 is an integer that float64 cannot",
        ),
        (
            lambda: linfit.arrays(np.array([[2**70]], dtype=object), [1]),
            "row 0 .*, column 'x': 1180591620717411303424 is an integer that float64",
        ),
        (
            lambda: linfit.arrays(pd.DataFrame({"y": [1.0]}), target="y"),
            "no features are left of the frame",
        ),
        (
            lambda: linfit.arrays(pa.table({"a": [1.0], "y": [1.0]}), target="y"),
            r"linfit\.arrays\(table\.to_pandas\(\), target='y'\)",
        ),
        (
            lambda: linfit.arrays(MASKED, [1.0, 2.0]),
            r"row 1 \(counted from 0\), column 'x0': "
            "a cell is masked: fill it in, or leave the row out",
        ),
        (
            lambda: linfit.arrays([[1.0], [2.0]], [1.0, 2.0], weight=MASKED[:, 0]),
            "row 1 .*, column 'weight': a cell is masked",
        ),
        (lambda: linfit.arrays([[1.0, 2.0], [3.0]], [1.0, 2.0]), "X has rows of unlike lengths"),
        (
            lambda: linfit.arrays(np.zeros((2, 0)), [1.0, 2.0]),
            "X has no columns: one at least is needed",
        ),
        (
            lambda: linfit.arrays([[1.0]], [1.0], weight="w"),
            "weight='w' names a column, which arrays have not",
        ),
        (
            lambda: linfit.arrays([[1.0]], [1.0], weight=[[1.0, 1.0]]),
            "weight has 2 columns: one weight for each sample is needed",
        ),
        (
            lambda: linfit.arrays(torch.ones(1, 2, requires_grad=True), [1.0]),
            r"X cannot be made an array: .*tensor\.detach\(\)",
        ),
    ],
)
def test_arrays_that_are_no_data_are_refused(call: Any, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        call()


def test_arrays_equal_only_arrays() -> None:
    data = linfit.arrays(NUMBERS[:9, :2], NUMBERS[:9, 2])
    assert data != "arrays"
    assert isinstance(Dataset.choose(data.model_dump()), Arrays)
