"""Files made to hurt: what they announce is checked before memory is allocated for it.

A path is only a path.
"""

from __future__ import annotations

import io
import os
import struct
import zipfile
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from pyarrow import parquet

from linfit.problem.datasets.readers.npy import read_array, read_numpy_rows
from linfit.problem.datasets.readers.opened import open_regular
from linfit.problem.datasets.readers.tables import read_csv_rows, read_parquet_rows
from linfit.system.host import available_memory
from linfit.tracking.tables.parquet import read_table

MANY = 40_000_000
#: Bytes that a refused file may take while it is looked at.
LITTLE = 2**26


def written(table: Any, **more: Any) -> bytes:
    content = io.BytesIO()
    parquet.write_table(table, content, **more)
    return content.getvalue()


def numbers() -> bytes:
    return written(pa.table({"a": [1.0, 2.0, 3.0], "b": [1.0, 2.0, 4.0]}))


def zigzag(value: int) -> bytes:
    return unsigned((value << 1) ^ (value >> 63))


def deep(levels: int) -> bytes:
    """Return a footer whose schema has `levels` nested groups, at which Arrow's reader crashes."""
    group, leaf = b"\x35\x00\x18\x01g\x15\x02\x00", b"\x15\x02\x25\x00\x18\x01x\x00"
    count = bytes([0xFC]) + unsigned(levels + 1)
    footer = b"\x15\x02\x19" + count + group * levels + leaf + b"\x16\x00\x19\x0c\x00"
    return b"PAR1" + footer + struct.pack("<I", len(footer)) + b"PAR1"


def unsigned(value: int) -> bytes:
    digits = b""
    while value > 127:
        digits, value = digits + bytes([value & 127 | 128]), value >> 7
    return digits + bytes([value])


def page_that_lies() -> bytes:
    """The header of its only page claims 2 GB."""
    content = written(pa.table({"a": [1.5] * 9}), use_dictionary=False, compression="none")
    assert content[4:7] == b"\x15\x00\x15" and content[8] < 128  # type, then a size of two bytes
    return content[:7] + zigzag(2**31 - 1) + content[9:]


def repeated(length: int, count: int) -> pa.Array:
    return pa.DictionaryArray.from_arrays(
        pa.array(np.zeros(count, np.int32)), pa.array(["x" * length])
    )


def lists(values: pa.Array) -> pa.Array:
    return pa.ListArray.from_arrays(pa.array(range(0, len(values) + 1, 10), pa.int32()), values)


def long_list() -> bytes:
    values = pa.ListArray.from_arrays(pa.array([0, MANY], pa.int32()), pa.array(np.zeros(MANY)))
    return written(pa.table({"row": [0], "loss": values}))


BOMBS: dict[str, Callable[[], bytes]] = {
    "a list of zeros": long_list,
    "a column of zeros": lambda: written(pa.table({"row": pa.array(np.zeros(MANY, np.int64))})),
    "a text that is repeated": lambda: written(
        pa.table({"row": range(10**5), "config": repeated(10**4, 10**5)})
    ),
    "texts in lists": lambda: written(
        pa.table({"row": range(10**4), "x": lists(repeated(10**4, 10**5))})
    ),
    "a page that lies": page_that_lies,
    "a deep schema": lambda: deep(200_000),
    "a footer cut": lambda: numbers()[:-40] + numbers()[-8:],
    "a footer of nothing": lambda: b"PAR1" + b"\xff" * 200 + struct.pack("<I", 200) + b"PAR1",
    "a footer that is longer than the file": lambda: b"PAR1" + struct.pack("<I", 2**31) + b"PAR1",
    "structs": lambda: written(pa.table({"row": [{"a": {"b": 1}}]})),
}


@pytest.mark.parametrize("case", BOMBS)
def test_a_table_is_refused_before_it_takes_memory(case: str, tmp_path: Path) -> None:
    file = tmp_path / "results.parquet"
    file.write_bytes(BOMBS[case]())
    before = pa.total_allocated_bytes()
    with pytest.raises((OSError, ValueError, pa.ArrowException)):
        read_table(file)
    with suppress(OSError, ValueError, pa.ArrowException):
        read_table(file, rows=[0])  # of repeated text, a row is small
    assert pa.total_allocated_bytes() - before < LITTLE


def test_text_is_read_as_it_was_written(tmp_path: Path) -> None:
    table = pa.table(
        {
            "row": range(9),
            "x": [["a", None], [], None] * 3,
            "y": ["ü", None, ""] * 3,
            "z": [[1.0, None]] * 9,
        }
    )
    (tmp_path / "t.parquet").write_bytes(written(table, row_group_size=4))
    assert read_table(tmp_path / "t.parquet").equals(table)
    assert read_table(tmp_path / "t.parquet", ["y", "row"], [7, 2]).to_pydict() == {
        "row": [2, 7],
        "y": ["", None],
    }


def test_what_is_hashed_is_what_is_read(tmp_path: Path) -> None:
    (tmp_path / "t.parquet").write_bytes(numbers())
    with pytest.raises(ValueError, match="its hash is another"):
        read_table(tmp_path / "t.parquet", sha256="0" * 64)


@pytest.mark.parametrize(
    "case", ["rows of nothing", "a page that lies", "a deep schema", "a footer cut"]
)
def test_data_are_refused_before_they_take_memory(case: str, tmp_path: Path) -> None:
    nothing = pa.array(np.zeros(2 * MANY))
    content = BOMBS[case]() if case in BOMBS else written(pa.table({"a": nothing, "b": nothing}))
    (tmp_path / "x.parquet").write_bytes(content)
    with pytest.raises(ValueError, match=r"x\.parquet"):
        list(
            read_parquet_rows(
                tmp_path / "x.parquet", ["a"] if "page" in case else ["a", "b"], "x.parquet"
            )
        )


def header(said: str, version: int = 1, length: int | None = None) -> bytes:
    text = said.encode("utf-8")
    size = len(text) if length is None else length
    return (
        b"\x93NUMPY"
        + bytes([version, 0])
        + size.to_bytes(2 if version == 1 else 4, "little")
        + text
        + bytes(64)
    )


def claim(shape: str, descr: str = "'<f8'", fortran: str = "False") -> str:
    return f"{{'descr': {descr}, 'fortran_order': {fortran}, 'shape': {shape}, }}\n"


ARRAYS = {
    "many rows": header(claim("(100000000000000000000, 2)")),
    "more rows than there are": header(claim("(5, 2)")),
    "fewer than none": header(claim("(-4, 2)")),
    "no numbers": header(claim("(True, 2)")),
    "fractions": header(claim("(4.0, 2)")),
    "a list": header(claim("[4, 2]")),
    "no tuple": header(claim("4")),
    "a product": header(claim("(4,)*2")),
    "many columns of nothing": header(claim("(0, 1000000000)")),
    "many dimensions": header(claim("(" + "1," * 40 + ")")),
    "objects": header(claim("(4, 2)", "'|O'")),
    "objects in records": header(claim("(4,)", "[('0', '<f8'), ('1', '|O')]")),
    "nothing in a cell": header(claim("(1000000000000000000, 2)", "'|V0'")),
    "no type": header(claim("(4, 2)", "'nonsense'")),
    "no text": header(claim("(4, 2)", "17")),
    "deep types": header(claim("(4, 2)", "[" * 5000 + "]" * 5000)),
    "deep text": header("(" * 50_000),
    "no end": header("{'descr': "),
    "a call": header("open('trace', 'w')"),
    "another order": header(claim("(4, 2)", fortran="7")),
    "no keys": header("{}"),
    "a long header": header(claim("(4, 2)"), 2, 2**31),
    "a header that is cut": header(claim("(4, 2)"), 2, 2**15),
    "no UTF-8": header(claim("(4, 2)"), 3).replace(b"descr", b"\xff\xfe\xff\xfe\xff"),
    "another version": header(claim("(4, 2)"), 9),
    "two bytes": b"\x93N",
    "nothing": b"",
}


@pytest.mark.parametrize("case", ARRAYS)
def test_an_array_is_what_it_claims_or_refused(
    case: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    file = Path("x.npy")
    file.write_bytes(ARRAYS[case])
    with pytest.raises(ValueError, match=r"'x\.npy' cannot be read: it has to be numpy's"):
        list(read_numpy_rows(file, ["0", "1"], "x.npy"))
    with pytest.raises(ValueError, match=r"."):
        read_array(file)
    with zipfile.ZipFile("x.npz", "w") as archive:
        archive.writestr("a.npy", ARRAYS[case])
    with pytest.raises(ValueError, match=r"'x\.npz' cannot be read"):
        list(read_numpy_rows(Path("x.npz"), ["a"], "x.npz"))
    assert sorted(file.name for file in tmp_path.iterdir()) == ["x.npy", "x.npz"]


@pytest.mark.parametrize("version", [1, 2, 3])
@pytest.mark.parametrize("fortran", [False, True])
def test_arrays_of_every_version_are_read(version: int, fortran: bool, tmp_path: Path) -> None:
    whole = np.arange(8.0).reshape(4, 2)
    content = header(claim("(4, 2)", fortran=str(fortran)), version)[:-64] + whole.tobytes(
        "F" if fortran else "C"
    )
    (tmp_path / "x.npy").write_bytes(content)
    ((block, _),) = read_numpy_rows(tmp_path / "x.npy", ["0", "1"], "x.npy")
    assert block.tolist() == whole.tolist() == read_array(tmp_path / "x.npy").tolist()


def test_an_archive_that_unpacks_to_far_more_is_refused(tmp_path: Path) -> None:
    np.savez_compressed(tmp_path / "x.npz", a=np.zeros(4 * 10**7))
    with pytest.raises(ValueError, match="are the most that a file of its size may"):
        list(read_numpy_rows(tmp_path / "x.npz", ["a"], "x.npz"))


def test_a_line_without_an_end_is_no_csv(tmp_path: Path) -> None:
    with (tmp_path / "x.csv").open("wb") as file:
        file.truncate(2**27)  # takes no room on the disk
    with pytest.raises(ValueError, match="has a line of"):
        list(read_csv_rows(tmp_path / "x.csv", ["a"], "x.csv", drop=False))


READERS: dict[str, Callable[..., Any]] = {
    "csv": read_csv_rows,
    "npy": read_numpy_rows,
    "parquet": read_parquet_rows,
}


def content_of(kind: str) -> bytes:
    content = io.BytesIO()
    np.save(content, np.array([[1.0, 1.0], [2.0, 2.0]]))
    return {
        "csv": b"0,1\n1,1\n2,2\n",
        "npy": content.getvalue(),
        "parquet": written(pa.table({"0": [1.0, 2.0], "1": [1.0, 2.0]})),
    }[kind]


@pytest.mark.parametrize("kind", READERS)
@pytest.mark.parametrize("scheme", ["file:", "s3:", "http:", "gs:", "hf:", "mock:"])
def test_a_path_is_a_path_whatever_it_begins_with(
    kind: str, scheme: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What lies below a folder of that name is read, and what an address would name is not."""
    monkeypatch.chdir(tmp_path)
    decoy = Path(f"{scheme}{tmp_path}/outside.{kind}")
    (tmp_path / f"outside.{kind}").write_bytes(b"not this")
    decoy.parent.mkdir(parents=True)
    decoy.write_bytes(content_of(kind))
    more: tuple[Any, ...] = (False,) if kind == "csv" else ()
    ((block, _),) = READERS[kind](decoy, ["0", "1"], str(decoy), *more)
    assert block.tolist() == [[1.0, 1.0], [2.0, 2.0]]


@pytest.mark.parametrize("kind", ["npy", "parquet"])
def test_what_is_packed_is_not_unpacked(kind: str, tmp_path: Path) -> None:
    import gzip

    file = tmp_path / f"x.{kind}.gz"
    file.write_bytes(gzip.compress(content_of(kind)))
    with pytest.raises(ValueError, match=r"x\.|utf-8"):
        list(READERS[kind](file, ["0", "1"], file.name, *((False,) if kind == "csv" else ())))


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="there are no named pipes")
def test_a_pipe_in_a_files_place_is_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(OSError, match="no regular file"):
        open_regular(tmp_path / "pipe")
    with pytest.raises(IsADirectoryError):
        open_regular(tmp_path)


def test_memory_is_what_a_process_may_take() -> None:
    assert 2**20 < available_memory() < 2**60
