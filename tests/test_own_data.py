"""The user's own data through the command line.

Wrong data are refused in one line before anything is written; a note tells what is odd.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from pyarrow import parquet

from linfit.errors import escape_unprintable
from linfit.tracking.schema import mlflow_names
from tests.conftest import Ran

Linfit = Callable[..., Ran]
NAN, INF = float("nan"), float("inf")
ABSENT = "a cell is missing: fill it in, or leave such rows out with dataset.missing=drop"
EXACT = "9007199254740993 is an integer that float64 cannot hold"


def asked(kind: str, name: str, *more: str) -> list[str]:
    """A fit of a file's columns a and b, or 0 and 1, on y, or 2."""
    features, target = ("[0,1]", "2") if kind == "npy" else ("[a,b]", "y")
    return [
        "run",
        f"dataset={kind}",
        f"dataset.path={name}",
        f"dataset.features={features}",
        f"dataset.target={target}",
        "init=zeros",
        *more,
    ]


TEXTS: dict[str, tuple[str | bytes, str]] = {
    "empty": ("", "data.csv is empty: a header line with the names of the columns is needed"),
    "header only": ("a,b,y\n", "data.csv has no rows: give it one for each sample"),
    "text": (
        "a,b,y\n1,2,3\n4,five,6\n",
        "data.csv, line 3, column 'b': 'five' is not a finite number: "
        "mend the cell, or leave its column out",
    ),
    "missing": ("a,b,y\n1,2,3\n4,,6\n", f"data.csv, line 3, column 'b': {ABSENT}"),
    "nan": ("a,b,y\nnan,2,3\n", f"data.csv, line 2, column 'a': {ABSENT}"),
    "infinity": (
        "a,b,y\n1,2,3\n4,5,inf\n",
        "data.csv, line 3, column 'y': 'inf' is not a finite number: "
        "mend the cell, or leave its column out",
    ),
    "too few cells": ("a,b,y\n1,2,3\n4,5\n", "data.csv, line 3: 2 cells below a header of 3"),
    "too many cells": ("a,b,y\n1,2,3\n4,5,6,7\n", "data.csv, line 3: 4 cells below a header of 3"),
    "latin-1": (
        "a,b,y\n1,2,3\n4,é,6\n".encode("latin-1"),
        "data.csv, line 3, column 'b': byte 0xe9 is no UTF-8: "
        "save the file as text in UTF-8, or name its dataset.encoding",
    ),
    "latin-1 header": (
        "größe,b,y\n1,2,3\n".encode("latin-1"),
        "data.csv, line 1: byte 0xf6 is no UTF-8: "
        "save the file as text in UTF-8, or name its dataset.encoding",
    ),
    "utf-16": (
        "a,b,y\n1,2,3\n".encode("utf-16"),
        "data.csv, line 1: byte 0xff is no UTF-8: "
        "save the file as text in UTF-8, or name its dataset.encoding",
    ),
    "twice the same header": (
        "a,b,b,y\n1,2,3,4\n",
        "data.csv has 2 columns named 'b': rename all but one",
    ),
    "semicolons": (
        "a;b;y\n1;2;3\n",
        "data.csv has one column 'a;b;y': dataset.separator=';' makes several of it",
    ),
    "decimal comma": (
        'a,b,y\n"1,5",2,3\n',
        "data.csv, line 2, column 'a': '1,5' is not a finite number: write 1.5, "
        "or separate the cells by ; and choose dataset.decimal=,",
    ),
    "beyond float32": (
        "a,b,y\n1,2,3\n4,1e300,6\n",
        "data.csv, line 3, column 'b': 1e+300 is beyond float32: "
        "choose dtype=float64, or scale the data",
    ),
}
SQUARED = "1e+160 is too large to be squared in float64: scale the data"
COLUMNS: dict[str, tuple[list[Any], str]] = {
    "bytes": ([b"u", b"v"], "data.parquet, column 'b' is of type binary: numbers are needed"),
    "missing": ([1.0, None], f"data.parquet, row 1 (counted from 0), column 'b': {ABSENT}"),
    "nan": ([NAN, 1.0], f"data.parquet, row 0 (counted from 0), column 'b': {ABSENT}"),
    "infinity": (
        [1.0, -INF],
        "data.parquet, row 1 (counted from 0), column 'b': -inf is not a finite number",
    ),
    "too large an integer": (
        [1, 2**53 + 1],
        f"data.parquet, row 1 (counted from 0), column 'b': {EXACT}",
    ),
    "lists": (
        [[1.0], [2.0]],
        "data.parquet, column 'b' is of type list<element: double>: numbers are needed",
    ),
    "beyond float32": (
        [1.0, 1e39],
        "data.parquet, row 1 (counted from 0), column 'b': 1e+39 is beyond float32: "
        "choose dtype=float64, or scale the data",
    ),
}
ARRAYS: dict[str, tuple[Any, str]] = {
    "text": (
        np.array([["a", "b", "c"]]),
        "data.npy, column '0' is of type <U1: numbers are needed",
    ),
    "nan": (
        np.array([[1, 2, 3], [4, NAN, 6]]),
        f"data.npy, row 1 (counted from 0), column '1': {ABSENT}",
    ),
    "infinity": (
        np.array([[1, 2, INF]]),
        "data.npy, row 0 (counted from 0), column '2': inf is not a finite number",
    ),
    "complex": (
        np.array([[1, 2, 3j]]),
        "data.npy, column '0' is of type complex128: numbers are needed",
    ),
    "empty": (np.zeros((0, 3)), "data.npy has no rows: give it one for each sample"),
    "three dimensions": (
        np.zeros((2, 3, 4)),
        "data.npy has 3 dimensions: samples and columns are needed",
    ),
    "a number": (np.array(3.0), "data.npy has 0 dimensions: samples and columns are needed"),
    "too large an integer": (
        np.array([[1, 2, 3], [2**53 + 1, 2, 3]]),
        f"data.npy, row 1 (counted from 0), column '0': {EXACT}",
    ),
}


def refused(
    linfit: Linfit, arguments: list[str], words: str, commands: tuple[str, ...] = ("run", "plan")
) -> None:
    for command in commands:
        ran = linfit(command, *arguments[1:])
        assert (ran.code, ran.out, ran.err) == (2, "", f"linfit: {escape_unprintable(words)}\n")
    assert not Path("outputs").exists()


@pytest.mark.parametrize(("content", "words"), TEXTS.values(), ids=TEXTS)
def test_a_bad_csv_file_is_refused(
    content: str | bytes, words: str, linfit: Linfit, bare: Path
) -> None:
    (bare / "data.csv").write_bytes(content if isinstance(content, bytes) else content.encode())
    refused(linfit, asked("csv", "data.csv"), words, ("run",))


def test_what_cannot_be_squared_is_refused(linfit: Linfit, bare: Path) -> None:
    (bare / "data.csv").write_text("a,b,y\n1,2,3\n4,1e160,6\n")
    refused(
        linfit,
        asked("csv", "data.csv", "dtype=float64"),
        f"data.csv, line 3, column 'b': {SQUARED}",
    )


@pytest.mark.matrix
@pytest.mark.parametrize(("column", "words"), COLUMNS.values(), ids=COLUMNS)
def test_a_bad_parquet_file_is_refused(
    column: list[Any], words: str, linfit: Linfit, bare: Path
) -> None:
    parquet.write_table(
        pa.table({"a": [1.0, 2.0], "b": column, "y": [3.0, 4.0]}), bare / "data.parquet"
    )
    refused(linfit, asked("parquet", "data.parquet"), words, ("run",))


@pytest.mark.parametrize(("array", "words"), ARRAYS.values(), ids=ARRAYS)
def test_a_bad_numpy_file_is_refused(array: Any, words: str, linfit: Linfit, bare: Path) -> None:
    np.save(bare / "data.npy", array)
    refused(linfit, asked("npy", "data.npy"), words, ("plan",))


EMPTY_RANGE = (
    "features={}: column '1' is constant, its range is empty: leave it out or give features.domain"
)
HELD_OUT = "split.validation={} holds out {} of {} samples: both sides need one at least"
#: Overrides that no fit can begin with, and what is said.
IMPOSSIBLE: dict[str, tuple[list[str], str]] = {
    "rbf of a constant": (["features=rbf"], EMPTY_RANGE.format("rbf")),
    "fourier of a constant": (["features=fourier"], EMPTY_RANGE.format("fourier")),
    "chebyshev of a constant": (
        ["features=polynomial", "features.basis=chebyshev"],
        EMPTY_RANGE.format("polynomial"),
    ),
    "whitened dependent columns": (
        ["features.intercept=true", "features.scaling=whiten"],
        "features.scaling=whiten: the features '1' are linearly dependent or constant: "
        "leave one out, or choose standardize",
    ),
    "no sample held out": (["split.validation=0.01"], HELD_OUT.format(0.01, 0, 30)),
    "no sample left": (["split.validation=0.99", "seed=0,1", "-m"], HELD_OUT.format(0.99, 30, 30)),
    "one of a sweep": (
        ["split.validation=0.5", "dataset.n=10,1", "-m"],
        HELD_OUT.format(0.5, 0, 1),
    ),
}


@pytest.mark.parametrize(("overrides", "words"), IMPOSSIBLE.values(), ids=IMPOSSIBLE)
def test_what_cannot_begin_is_refused_before_anything_runs(
    overrides: list[str], words: str, linfit: Linfit, bare: Path
) -> None:
    refused(linfit, ["run", *overrides], words)


def test_rows_of_a_file_count_before_anything_runs(linfit: Linfit, bare: Path) -> None:
    (bare / "data.csv").write_text("a,b,y\n1,2,3\n,2,3\n")
    refused(
        linfit,
        asked("csv", "data.csv", "dataset.missing=drop", "split.validation=0.5"),
        HELD_OUT.format(0.5, 0, 1),
    )


MEANT = (
    "many weights are equally good; the optimum that is meant is the one of smallest norm, "
    "gradient descent ends at the one nearest its start"
)
#: Rows of columns a, b and y, and what is told of them, from "data.…" on.
ODD: dict[str, tuple[list[list[float]], list[str]]] = {
    "nothing": ([[1, 2, 3], [4, 2.5, 6], [5, 1, 1]], []),
    "an intercept": ([[1, 2, 3], [1, 2.5, 6], [1, 1, 1]], []),
    "constant": ([[1, 2, 3], [4, 2, 6], [5, 2, 1]], ["column {b} is constant, 2.0 in every row"]),
    "collinear": (
        [[1, 2, 3], [4, 8, 6], [5, 10, 1]],
        [f"columns {{a}}, {{b}} depend on each other linearly (rank 1): {MEANT}"],
    ),
    "zero": (
        [[1, 0, 3], [4, 0, 6], [5, 0, 1]],
        [
            "column {b} is constant, 0.0 in every row",
            f"column {{b}} is zero in every row, as the fit sees it (rank 1): {MEANT}",
        ],
    ),
    "few samples": ([[1, 2, 3]], [f"1 sample for 2 features (rank 1): {MEANT}"]),
    "missing": (
        [[1, 2, 3], [4, NAN, 6], [5, 1, 1], [7, 3, NAN], [2, 7, 1]],
        ["2 rows with missing cells left out"],
    ),
}


KINDS = ("csv", "parquet", "npy")


def write(folder: Path, kind: str, rows: list[list[float]]) -> str:
    table, file = np.array(rows, dtype=float), folder / f"data.{kind}"
    if kind == "csv":
        file.write_text(
            "a,b,y\n"
            + "".join(
                ",".join("" if x != x else repr(float(x)) for x in row) + "\n" for row in rows
            )
        )
    elif kind == "parquet":
        parquet.write_table(pa.table(dict(zip(("a", "b", "y"), table.T, strict=True))), file)
    else:
        np.save(file, table)
    return file.name


@pytest.mark.parametrize(
    ("rows", "notes", "kind"),
    [(*odd, KINDS[i % len(KINDS)]) for i, odd in enumerate(ODD.values())],
    ids=ODD,
)
def test_what_is_odd_is_told_once_a_sweep(
    rows: list[list[float]], notes: list[str], kind: str, linfit: Linfit, bare: Path
) -> None:
    name = write(bare, kind, rows)
    names = {"a": "'0'", "b": "'1'"} if kind == "npy" else {"a": "'a'", "b": "'b'"}
    more = [
        "dataset.missing=drop",
        "steps=2",
        "tracking=none",
        "-m",
        "seed=0,1",
        "gradient=autograd,gram",
        "dtype=float64",
    ]
    ran = linfit(*asked(kind, name, *more))
    assert ran.code == 0
    told = [line for line in ran.err.splitlines() if "note:" in line]
    assert told == [f"linfit: note: {name}: {note.format(**names)}" for note in notes]


def test_a_row_left_out_at_the_very_end_is_counted(
    linfit: Linfit, bare: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("linfit.problem.datasets.readers.tables.ROWS", 2)
    name = write(bare, "csv", [[1, 2, 3], [4, 2.5, 6], [5, 1, NAN]])
    ran = linfit(*asked("csv", name, "dataset.missing=drop", "steps=2", "tracking=none"))
    assert (ran.code, ran.err) == (0, "linfit: note: data.csv: 1 row with missing cells left out\n")


@pytest.mark.matrix
@pytest.mark.parametrize("several", [(), ("-m", "optimizer.lr=0.1,0.2")], ids=["fit", "sweep"])
def test_mlflow_and_show_have_the_notes(
    several: tuple[str, ...], linfit: Linfit, client: Any, workdir: Path
) -> None:
    name = write(workdir, "csv", ODD["constant"][0])
    note = f"{name}: column 'b' is constant, 2.0 in every row"
    assert linfit(*asked("csv", name, "steps=2", *several)).code == 0
    runs = client.search_runs(["1"])
    assert {run.data.tags.get(mlflow_names.NOTES) for run in runs} == {note}
    [top] = [run for run in runs if mlflow_names.PARENT not in run.data.tags]
    assert "column &#39;b&#39; is constant" in top.data.tags["mlflow.note.content"].replace(
        "'", "&#39;"
    )
    for run in runs:
        assert f"note           {note}" in linfit("show", run.info.run_id).out
    assert (
        json.loads(linfit("show", top.info.run_id, "--json").out)["tags"][mlflow_names.NOTES]
        == note
    )
