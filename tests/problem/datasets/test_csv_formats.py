"""CSV files as they come: decimal commas, encodings, gzip. What is read is the same numbers."""

from __future__ import annotations

import gzip
import io
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pydantic import ValidationError

from linfit.problem.datasets import file_digest as digests
from linfit.problem.datasets.file_digest import hash_file
from linfit.problem.datasets.files import CSV
from linfit.problem.datasets.readers import csv_text, tables
from linfit.problem.datasets.synthetic import Dataset
from linfit.problem.problem import Problem
from tests.conftest import Ran

NUMBERS = np.random.default_rng(3).standard_normal((200, 3)) * 10.0 ** np.arange(-9, 9, 6)
NAMES = ("größe", "b", "y")
Linfit = Callable[..., Ran]


@pytest.fixture(params=[tables.SMALL_FILE, 0], ids=["small", "large"])
def size(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> int:
    """The bytes up to which Python's reader takes a file; beyond it is pyarrow's."""
    monkeypatch.setattr(tables, "SMALL_FILE", request.param)
    return int(request.param)


def write_text(separator: str = ",", decimal: str = ".") -> str:
    rows = [
        NAMES,
        *([repr(number).replace(".", decimal) for number in row] for row in NUMBERS.tolist()),
    ]
    return "".join(f"{separator.join(row)}\n" for row in rows)


def choose(file: Path, **fields: Any) -> Dataset:
    given = {"name": "csv", "path": str(file), "features": NAMES[:2], "target": "y", **fields}
    return Dataset.choose(given)


def load(file: Path, content: bytes, **fields: Any) -> Problem:
    file.write_bytes(content)
    return choose(file, **fields).load(0)


@pytest.mark.parametrize(
    ("fields", "encoding", "packs"),
    [
        ({"separator": ";", "decimal": ","}, "utf-8", False),
        ({"separator": "tab", "decimal": ","}, "utf-8-sig", True),
        ({"encoding": "latin-1"}, "latin-1", False),
        ({"encoding": "cp1252", "separator": ";", "decimal": ","}, "cp1252", True),
        ({"encoding": "utf-16"}, "utf-16", False),
        ({"encoding": "UTF-8-sig"}, "utf-8-sig", False),
        ({}, "utf-8", True),
    ],
    ids=lambda value: str(value),
)
def test_a_file_is_read_as_it_is_written(
    fields: dict[str, str], encoding: str, packs: bool, tmp_path: Path, size: int
) -> None:
    separator = {"tab": "\t"}.get(fields.get("separator", ","), fields.get("separator", ","))
    content = write_text(separator, fields.get("decimal", ".")).encode(encoding)
    file = tmp_path / "data.csv"  # its bytes say that gzip made it, not its name
    problem = load(file, gzip.compress(content) if packs else content, **fields)
    assert problem.X.tobytes() == np.ascontiguousarray(NUMBERS[:, :2]).tobytes()
    assert problem.y.tobytes() == np.ascontiguousarray(NUMBERS[:, 2:]).tobytes()


@pytest.mark.usefixtures("size")
@pytest.mark.parametrize("packs", [False, True], ids=["plain", "gzip"])
def test_the_pass_that_reads_a_file_hashes_its_own_bytes(
    packs: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(digests, "SETTLED_NANOSECONDS", -(10**18))
    content = write_text().encode("cp1252")
    file = tmp_path / "data.csv.gz"
    load(file, gzip.compress(content) if packs else content, encoding="cp1252")
    expected = digests._sha256(file)
    monkeypatch.setattr(digests, "_sha256", lambda path: pytest.fail("read again"))
    assert hash_file(str(file)) == expected


HEAD = "größe;b;y\n1;2;3\n"
COMMA = {"separator": ";", "decimal": ","}
LATIN = {"separator": ";", "encoding": "latin-1"}


@pytest.mark.usefixtures("size")
@pytest.mark.parametrize(
    ("content", "fields", "words"),
    [
        (
            f"{HEAD}1;2.5;3\n".encode(),
            COMMA,
            "{file}, line 3, column 'b': '2.5' is not a finite number: "
            "dataset.decimal=. reads it as one",
        ),
        (
            f"{HEAD}1;1.234,5;3\n".encode(),
            COMMA,
            "{file}, line 3, column 'b': '1.234,5' is not a finite number: "
            "mend the cell, or leave its column out",
        ),
        (
            f"{HEAD}1;1,2,3;3\n".encode(),
            COMMA,
            "{file}, line 3, column 'b': '1,2,3' is not a finite number: "
            "mend the cell, or leave its column out",
        ),
        (
            f"{HEAD}1;2,5;3\n".encode("latin-1"),
            LATIN,
            "{file}, line 3, column 'b': '2,5' is not a finite number: "
            "dataset.decimal=, reads it as one",
        ),
        (
            HEAD.encode("latin-1"),
            COMMA,
            "{file}, line 1: byte 0xf6 is no UTF-8: save the file as text in UTF-8, "
            "or name its dataset.encoding",
        ),
        (
            b"gr\xf6\xdfe;b;y\n1;\x81;3\n",
            {"separator": ";", "encoding": "cp1252"},
            "{file}, line 2, column 'b': byte 0x81 is no cp1252: name the file's dataset.encoding",
        ),
        (
            "größe;b;y\n1;2;3\n".encode(),
            LATIN,
            "{file} has no column 'größe': there are grÃ¶Ã\x9fe, b, y",
        ),
        (
            gzip.compress(HEAD.encode() * 2000, mtime=0)[:60],
            COMMA,
            "dataset.path '{file}' cannot be read: its content was compressed by gzip, and is "
            "damaged or cut off: compress it again, or get it anew",
        ),
        (
            b"\x1f\x8bno gzip",
            COMMA,
            "dataset.path '{file}' cannot be read: its content was compressed by gzip, and is "
            "damaged or cut off: compress it again, or get it anew",
        ),
    ],
)
def test_a_file_that_is_written_otherwise_is_refused(
    content: bytes, fields: dict[str, str], words: str, tmp_path: Path
) -> None:
    file = tmp_path / "data.csv"
    with pytest.raises(ValueError) as refusal:  # noqa: PT011
        load(file, content, **fields)
    assert str(refusal.value) == words.format(file=file)


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"decimal": ","}, "is both dataset.separator and dataset.decimal"),
        ({"decimal": "'"}, "decimal"),
        ({"encoding": "utf-9"}, "'utf-9' is no encoding of text: utf-8, latin-1"),
        ({"encoding": "rot13"}, "'rot13' is no encoding of text"),
        ({"encoding": "bz2"}, "'bz2' is no encoding of text"),
        ({"encoding": ""}, "'' is no encoding of text"),
        ({"encoding": "\0"}, "is no encoding of text"),
    ],
)
def test_what_no_file_can_be_is_refused_before_it_is_read(
    fields: dict[str, str], words: str, tmp_path: Path
) -> None:
    with pytest.raises(ValidationError) as refusal:
        choose(tmp_path / "none.csv", **fields)
    assert words in str(refusal.value)


def test_a_small_file_that_unpacks_to_a_huge_one_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(csv_text, "limit_content", lambda size: 1000)
    with pytest.raises(ValueError, match="has more than 1,000 bytes, too many for a file of its"):
        load(tmp_path / "data.csv.gz", gzip.compress(write_text().encode()))


@pytest.mark.parametrize("encoding", ["utf-8", "UTF8", "utf_8_sig"])
def test_formats_leave_fingerprints_as_they_are_where_they_change_nothing(encoding: str) -> None:
    plain = CSV(path="x.csv", features=("a",), target=("y",))
    named = CSV(path="x.csv", features=("a",), target=("y",), encoding=encoding, decimal=".")
    assert named == plain
    assert {"decimal", "encoding"} <= set(named.list_neutral_fields())
    other = plain.model_copy(update={"encoding": "cp1252", "separator": ";", "decimal": ","})
    assert not {"decimal", "encoding", "separator"} & set(other.list_neutral_fields())


def test_a_file_of_another_format_is_run_predicted_and_scripted(
    linfit: Linfit, workdir: Path
) -> None:
    file = workdir / "data.csv.gz"
    file.write_bytes(gzip.compress(write_text(";", ",").encode("cp1252")))
    data = [
        "dataset=csv",
        f"dataset.path={file.name}",
        'dataset.features=["größe","b"]',
        "dataset.target=y",
        "dataset.separator=;",
        "dataset.decimal=,",
        "dataset.encoding=cp1252",
        "optimizer.lr=0.01",
        "steps=5",
        "pictures=false",
    ]
    done = linfit("run", *data)
    assert done.code == 0, done.err
    predicted = linfit("predict", "last", file.name)
    assert predicted.code == 0, predicted.err
    assert len(predicted.out.splitlines()) == 1 + len(NUMBERS)

    program = linfit("script", *data)
    assert program.code == 0, program.err
    assert "gzip.open('data.csv.gz', \"rt\"" in program.out
    (workdir / "program.py").write_text(program.out, encoding="utf-8")
    printed = subprocess.run(
        [sys.executable, "program.py"], capture_output=True, text=True, check=True
    )
    [*_, last] = io.StringIO(printed.stdout)
    assert last.startswith("weights")
