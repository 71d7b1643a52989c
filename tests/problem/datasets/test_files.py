"""CSV files: parsed exactly, or refused with file, line and column."""

from __future__ import annotations

import csv
import json
import math
import os
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, strategies

from linfit.problem.datasets import file_digest as digests
from linfit.problem.datasets.file_digest import hash_file
from linfit.problem.datasets.files import CSV
from linfit.problem.datasets.readers import tables
from linfit.problem.datasets.synthetic import Dataset
from linfit.problem.datasets.tabular_file import SHIPPED_FOLDER
from linfit.problem.problem import Problem
from tests.helpers import LAW


def dataset(
    path: Path | str, features: tuple[str, ...] = ("a", "b"), target: tuple[str, ...] = ("y",)
) -> CSV:
    return CSV(path=str(path), features=features, target=target)


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "data.csv"


@pytest.fixture(params=[tables.SMALL_FILE, 0], ids=["small", "large"])
def size(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> int:
    """The bytes up to which Python's reader takes a file; beyond it is pyarrow's."""
    monkeypatch.setattr(tables, "SMALL_FILE", request.param)
    return int(request.param)


def load(file: Path, content: str | bytes) -> Problem:
    file.write_bytes(content if isinstance(content, bytes) else content.encode())
    return dataset(file).load(0)


def test_columns_are_taken_by_name_in_the_order_asked_for(file: Path) -> None:
    file.write_text("y,unused,b,a\n1,x,2,3\n4,,5,6\n")
    problem = dataset(file).load(0)
    assert problem.X.tolist() == [[3, 2], [6, 5]]
    assert problem.y.tolist() == [[1], [4]]
    assert (problem.features, problem.targets, problem.source) == (("a", "b"), ("y",), str(file))
    assert dataset(file, ("b",), ("y", "a")).load(0).y.tolist() == [[1, 3], [4, 6]]


@pytest.mark.parametrize(
    "content",
    [
        "a,b,y\n1,2,3\n4,5,6",
        "a,b,y\r\n1,2,3\r\n4,5,6\r\n",
        "\ufeffa,b,y\n1,2,3\n4,5,6\n",
        "a,b,y\n\n1,2,3\n\n4,5,6\n\n",
        'a,b,"y"\n"1","2.0",3e0\n 4, 5,6 \n',
        "a,b,y\n1.,+2,3\n4,5,0.6e1\n",
    ],
    ids=[
        "no last newline",
        "crlf",
        "byte order mark",
        "blank lines",
        "quotes and spaces",
        "other spellings",
    ],
)
def test_spellings_of_the_same_table(file: Path, content: str) -> None:
    problem = load(file, content)
    assert problem.X.tolist() == [[1, 2], [4, 5]]
    assert problem.y.tolist() == [[3], [6]]


NO_NUMBER = "is not a finite number: mend the cell, or leave its column out"
ABSENT = "is missing: fill it in, or leave such rows out with dataset.missing=drop"
FINITE = strategies.floats(allow_nan=False, allow_infinity=False)


@LAW
@given(strategies.lists(FINITE, min_size=1, max_size=8))
def test_numbers_are_parsed_exactly(
    tmp_path_factory: pytest.TempPathFactory, numbers: list[float]
) -> None:
    file = tmp_path_factory.mktemp("exact") / "data.csv"
    file.write_text("a,y\n" + "".join(f"{number!r},0\n" for number in numbers))
    parsed = dataset(file, ("a",)).load(0).X[:, 0]
    assert parsed.tobytes() == np.array(numbers).tobytes()


def test_the_articles_file_is_parsed_as_written() -> None:
    problem = CSV(path="linfit:article.csv", features=("x_squared", "one"), target=("y",)).load(0)
    with (SHIPPED_FOLDER / "article.csv").open() as lines:
        rows = list(csv.DictReader(lines))
    assert problem.shape == (30, 2, 1)
    assert problem.X.tolist() == [[float(row["x_squared"]), float(row["one"])] for row in rows]
    assert problem.y.tolist() == [[float(row["y"])] for row in rows]
    assert problem.truth is None


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ("", "{file} is empty: a header line with the names of the columns is needed"),
        ("\n\n", "{file} is empty: a header line with the names of the columns is needed"),
        ("\n1,2,3\n", "{file} has no column 'a': there are 1, 2, 3"),
        ("\n\na,b,y\n1,2,0\n1,2,x\n", "{file}, line 5, column 'y': 'x' " + NO_NUMBER),
        ('a,b,y\n1,2,3\n1,2,"3\n4,5,6\n', "{file}, line 3: a quote that opens there is not closed"),
        ('a,"b,y\n1,2,3\n', "{file}, line 1: a quote that opens there is not closed"),
        ('a,b,y\n1,2,"3"x\n', "{file}, line 2: ',' expected after '\"'"),
        ("a,b,y\n", "{file} has no rows: give it one for each sample"),
        ("a,b,y\n\n\n", "{file} has no rows: give it one for each sample"),
        ("a,bb,y\n1,2,3\n", "{file} has no column 'b': did you mean 'bb'? there are a, bb, y"),
        ("a,zzz,y\n1,2,3\n", "{file} has no column 'b': there are a, zzz, y"),
        ("a,b,b,y\n1,2,3,4\n", "{file} has 2 columns named 'b': rename all but one"),
        ("a,b,y\n1,2,3\n4,five,6\n", "{file}, line 3, column 'b': 'five' " + NO_NUMBER),
        ("a,b,y\n1,2,\n", "{file}, line 2, column 'y': a cell " + ABSENT),
        ("a,b,y\n1,2,3\n1,NA,3\n", "{file}, line 3, column 'b': a cell " + ABSENT),
        ("a,b,y\n1,2,nan\n", "{file}, line 2, column 'y': a cell " + ABSENT),
        ("a,b,y\n1,-inf,3\n", "{file}, line 2, column 'b': '-inf' " + NO_NUMBER),
        ("a,b,y\n1e999,2,3\n", "{file}, line 2, column 'a': '1e999' " + NO_NUMBER),
        (
            'a,b,y\n1,2,3\n"1,5",2,3\n',
            "{file}, line 3, column 'a': '1,5' is not a finite number: write 1.5, or separate the "
            "cells by ; and choose dataset.decimal=,",
        ),
        ("a,b,y\n\n1,2,3\n\n1,2,x\n", "{file}, line 5, column 'y': 'x' " + NO_NUMBER),
        ("a,b,y\n1,2,3\n4,5\n", "{file}, line 3: 2 cells below a header of 3"),
        ("a,b,y\n1,2,3,4\n", "{file}, line 2: 4 cells below a header of 3"),
        (
            "a;b;y\n1;2;3\n",
            "{file} has one column 'a;b;y': dataset.separator=';' makes several of it",
        ),
        (
            "a\tb\ty\n1\t2\t3\n",
            "{file} has one column 'a\\tb\\ty': dataset.separator=tab makes several of it",
        ),
        (
            "a|b|y\n1|2|3\n",
            "{file} has one column 'a|b|y': dataset.separator='|' makes several of it",
        ),
    ],
)
def test_a_bad_file_is_refused_with_file_line_and_column(
    file: Path, content: str, words: str
) -> None:
    with pytest.raises(ValueError) as refusal:  # noqa: PT011
        load(file, content)
    assert str(refusal.value) == words.format(file=file)


@pytest.mark.parametrize(
    "cell",
    ["2_0", "٣", "1\u00a0", "0x10", "1e400", "infinity", "1_0.5", "\uff11", "1:30", "--1", "1 2"],
)
def test_a_cell_is_a_plain_decimal_number(file: Path, cell: str, size: int) -> None:
    with pytest.raises(ValueError) as refusal:  # noqa: PT011
        load(file, f"a,b,y\n1,2,3\n4,{cell},6\n")
    assert str(refusal.value) == f"{file}, line 3, column 'b': {cell!r} {NO_NUMBER}"


@pytest.mark.parametrize(
    ("separator", "content"),
    [
        (";", "a;b;y\n1;2;3\n4;5;6\n"),
        ("tab", "a\tb\ty\n1\t 2\t3\n4\t5 \t6\n"),
        ("\t", "a\tb\ty\n1\t2\t3\n4\t5\t6\n"),
        ("|", '"a"|b|y\r\n1|"2"|3\r\n4|5|6\r\n'),
        (";", '"x;x";a;b;y\n"u;v";1;2;3\n",";4;5;6\n'),
        (",", '"x,x",a,b,y\n"u,v",1,2,3\n";",4,5,6\n'),
    ],
)
def test_cells_are_separated_as_is_said(
    file: Path, separator: str, content: str, size: int
) -> None:
    file.write_text(content, newline="")
    table = Dataset.choose({**dataset(file).model_dump(), "separator": separator})
    problem = table.load(0)
    assert (problem.X.tolist(), problem.y.tolist()) == ([[1, 2], [4, 5]], [[3], [6]])


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (
            "a;b;y\n1;2,5;3\n",
            "{file}, line 2, column 'b': '2,5' is not a finite number: "
            "dataset.decimal=, reads it as one",
        ),
        (
            "a,b,y\n1,2,3\n",
            "{file} has one column 'a,b,y': dataset.separator=, makes several of it",
        ),
        (
            b"a;b;y\n1;\xff;3\n",
            "{file}, line 2, column 'b': byte 0xff is no UTF-8: save the file as text in UTF-8, "
            "or name its dataset.encoding",
        ),
        ("a;b;y\n1;2\n", "{file}, line 2: 2 cells below a header of 3"),
    ],
)
def test_a_bad_file_of_another_separator_is_refused(
    file: Path, content: str | bytes, words: str, size: int
) -> None:
    file.write_bytes(content if isinstance(content, bytes) else content.encode())
    with pytest.raises(ValueError) as refusal:  # noqa: PT011
        dataset(file).model_copy(update={"separator": ";"}).load(0)
    assert str(refusal.value) == words.format(file=file)


def test_a_column_may_be_called_as_if_it_were_two(file: Path) -> None:
    file.write_text("a;b\n1\n2\n")
    assert dataset(file, ("a;b",), ("a;b",)).load(0).X.tolist() == [[1], [2]]


def test_the_separator_leaves_fingerprints_as_they_are_at_the_comma(file: Path) -> None:
    file.write_text("a,b,y\n1,2,3\n")
    table = dataset(file)
    assert "separator" in table.list_neutral_fields()
    assert "separator" not in table.model_copy(update={"separator": "tab"}).list_neutral_fields()


def test_bytes_that_are_no_utf8_have_their_line_and_column(file: Path) -> None:
    with pytest.raises(ValueError) as refusal:  # noqa: PT011
        load(file, b'a,b,y\n1,2,3\n1,"2",\xff\n')
    assert str(refusal.value) == (
        f"{file}, line 3, column 'y': byte 0xff is no UTF-8: save the file as text in UTF-8, "
        "or name its dataset.encoding"
    )


def test_a_file_that_is_not_there_or_no_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(
        ValueError, match=r"dataset\.path .*none\.csv' cannot be read: .*No such file"
    ):
        dataset(tmp_path / "none.csv").load(0)
    with pytest.raises(ValueError, match=r"dataset\.path .* cannot be read: "):
        dataset(tmp_path).load(0)
    with pytest.raises(ValueError, match=r"data file .*none\.csv' cannot be read: No such file"):
        hash_file(str(tmp_path / "none.csv"))


def test_one_column_needs_no_list() -> None:
    one = CSV.model_validate({"name": "csv", "path": "data.csv", "features": "a", "target": "y"})
    assert (one.features, one.target, one.shape()) == (("a",), ("y",), (1, 1))


def test_published_numbers_travel_with_the_tests() -> None:
    published = json.loads((Path(__file__).parents[2] / "data" / "published.json").read_text())
    assert len(published["levels"]) == 4
    assert all(
        math.isfinite(loss)
        for level in published["levels"].values()
        for loss in level["published_losses"]
    )


def test_a_file_is_hashed_again_once_it_has_changed(
    file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also within the tick of a clock, and with its old time and size."""
    file.write_text("a\n1\n")
    first = hash_file(str(file))
    file.write_text("a\n2\n")
    second = hash_file(str(file))
    assert first != second
    monkeypatch.setattr(
        digests, "SETTLED_NANOSECONDS", -(10**18)
    )  # as if it had not changed for a while
    assert hash_file(str(file)) == second
    before = file.stat()
    file.write_text("a\n1\n")
    os.utime(file, ns=(before.st_atime_ns, before.st_mtime_ns + 1))
    assert hash_file(str(file)) == first


def test_a_file_that_stays_as_it_is_is_read_once(
    file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file.write_text("a\n1\n")
    monkeypatch.setattr(digests, "SETTLED_NANOSECONDS", -(10**18))
    first = hash_file(str(file))
    monkeypatch.setattr(digests, "_sha256", lambda path: pytest.fail("read again"))
    assert hash_file(str(file)) == first
