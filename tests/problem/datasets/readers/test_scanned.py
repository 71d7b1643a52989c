"""Files that are scanned while they are read: what Arrow may read alone, and their digests."""

from __future__ import annotations

import hashlib
import re
from pathlib import Path

import pytest

from linfit.problem.datasets import file_digest
from linfit.problem.datasets.files import CSV
from linfit.problem.datasets.readers import tables
from linfit.problem.datasets.readers.opened import open_regular
from linfit.problem.datasets.readers.scanned import PLAIN_BYTES, ScannedFile

ROW = "1,é,3\n"
#: A cell that is too long for Python's csv.
LONG = "x" * (2**17 + 1)


@pytest.mark.parametrize(
    ("content", "is_plain"),
    [
        ("a,b,y\n" + 20_000 * ROW, True),
        ("a,b,y\r\n" + 20_000 * "1,2,3\r\n", True),
        ("a,b,y\n" + 20_000 * ROW + "1,2,3", True),
        ("a,b,y\n" + 20_000 * ROW + '"1",2,3\n', False),
        ("a,b,y\n" + 9 * ROW + "x" * PLAIN_BYTES + "\n" + 9 * ROW, True),
        ("a,b,y\n" + 9 * ROW + LONG + "\n" + 9 * ROW, False),
        (("a,b,y\n" + 9 * ROW).encode() + b"\xff,2,3\n", False),
        (("a,b,y\n" + 9 * ROW).encode() + b"1,2,\xc3", False),
    ],
    ids=["plain", "crlf", "no last newline", "quote", "long", "too long", "no UTF-8", "cut UTF-8"],
)
@pytest.mark.parametrize("size", [7, 8192, 2**23])
def test_a_text_is_plain_however_it_is_read(
    content: str | bytes, is_plain: bool, size: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(file_digest, "SETTLED_NANOSECONDS", -(10**18))
    monkeypatch.setattr(file_digest, "_DIGESTS", {})
    file = tmp_path / "x.csv"
    file.write_bytes(content if isinstance(content, bytes) else content.encode())
    with open_regular(file) as opened, ScannedFile(opened) as scanned:
        found = b"".join(iter(lambda: scanned.read(size), b""))
        assert found == file.read_bytes()
        assert scanned.is_plain() == is_plain
    (digest,) = file_digest._DIGESTS.values()
    assert digest == hashlib.sha256(found).hexdigest()


def test_a_closed_view_reads_nothing_more_and_leaves_its_file_open(tmp_path: Path) -> None:
    (tmp_path / "x.csv").write_text("a\n1\n")
    with open_regular(tmp_path / "x.csv") as opened:
        scanned = ScannedFile(opened)
        assert scanned.read(2) == b"a\n"
        scanned.close()
        assert scanned.read(2) == b""
        opened.seek(2)
        assert opened.read() == b"1\n"


@pytest.mark.parametrize(
    ("cell", "words"),
    [
        (b"\xff", "line 3, column 'b': byte 0xff is no UTF-8"),
        (b'"2"x', "line 3: ',' expected after '\"'"),
        (b'"2', "line 3: a quote that opens there is not closed"),
        (LONG.encode(), "line 3: field larger than field limit (131072)"),
    ],
    ids=["no UTF-8", "after a quote", "open quote", "too long"],
)
def test_what_arrow_would_let_pass_is_refused_as_in_a_small_file(
    cell: bytes, words: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In a column that nobody asks for."""
    file = tmp_path / "x.csv"
    file.write_bytes(b"a,b,y\n1,2,3\n1," + cell + b",3\n")
    for small in (0, 2**30):
        monkeypatch.setattr(tables, "SMALL_FILE", small)
        with pytest.raises(ValueError, match=re.escape(f"{file}, {words}")):
            CSV(path=str(file), features=("a",), target=("y",)).load(0)
