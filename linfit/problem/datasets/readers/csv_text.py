"""Text of CSV files: how it is written, and as bytes of UTF-8 whatever it is stored in.

A file may be compressed by gzip, which its first bytes say, and may be in any encoding.
"""

from __future__ import annotations

import codecs
import csv
import errno
import gzip
import io
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, BinaryIO

from linfit.problem.datasets.readers.opened import limit_content, measure_size, open_regular

#: Separators of cells in CSV files, each with its name in `dataset.separator`.
SEPARATORS = {",": ",", ";": ";", "\t": "tab", "|": "|"}
#: Largest number of characters in a line of a CSV file.
MAX_LINE_BYTES = 2**26
#: First bytes of a file that gzip compressed.
GZIP_MAGIC = b"\x1f\x8b"
#: Most bytes of a character in UTF-8.
CHARACTER_BYTES = 4
#: The encoding of files that name none; a byte order mark may begin them.
UTF_8 = "utf-8"
#: Names of encodings in place of Python's own. A byte order mark may begin any UTF-8.
USUAL_NAMES = {"utf-8-sig": UTF_8, "iso8859-1": "latin-1"}
#: Encodings, of several bytes a character, whose lines do not end with the byte of a newline.
WIDE_ENCODINGS = ("utf-16", "utf-32")


@dataclass(frozen=True)
class CSVFormat:
    """How a CSV file is written."""

    separator: str = ","
    decimal: str = "."
    encoding: str = UTF_8

    def read_number(self, cell: str) -> float | None:
        """Return the number in a cell, None if it is no decimal number."""
        # float() would also read 2_0 and ٣.
        if "_" in cell or not cell.isascii():
            return None
        if self.decimal != ".":
            if "." in cell:
                return None
            cell = cell.replace(self.decimal, ".")
        try:
            return float(cell)
        except ValueError:
            return None


def is_gzip(opened: BinaryIO) -> bool:
    """Return True if gzip compressed an open file; it is left at its beginning."""
    opened.seek(0)
    found = opened.read(len(GZIP_MAGIC)) == GZIP_MAGIC
    opened.seek(0)
    return found


def find_encoding(name: str) -> str:
    """Return Python's name of a text encoding; ValueError if it has none of that name."""
    try:
        found = codecs.lookup(name)
    except (LookupError, ValueError):
        found = None
    if found is None or not found._is_text_encoding:
        raise ValueError(
            f"{name!r} is no encoding of text: utf-8, latin-1, cp1252 and utf-16 are frequent ones"
        )
    return USUAL_NAMES.get(found.name, found.name)


def open_content(source: Any, size: int, encoding: str) -> Any:
    """Return a stream of a file's text in UTF-8, from its beginning.

    `source` has the bytes of the file, of that size.
    """
    if source.peek(len(GZIP_MAGIC))[: len(GZIP_MAGIC)] == GZIP_MAGIC:
        source = io.BufferedReader(UnpackedFile(source, limit_content(size)))
    return source if encoding == UTF_8 else RecodedText(source, encoding)


class UnpackedFile(io.RawIOBase):
    """The content of a file that gzip compressed; OSError where there is none or too much."""

    def __init__(self, source: Any, most: int) -> None:
        self._content = gzip.GzipFile(fileobj=source, mode="rb")
        self._most = most
        self._left = most

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        with _name_gzip_errors():
            chunk = self._content.read1(len(buffer))
        self._left -= len(chunk)
        if self._left < 0:
            why = f"its content has more than {self._most:,} bytes, too many for a file of its size"
            raise OSError(errno.EFBIG, why)
        buffer[: len(chunk)] = chunk
        return len(chunk)


@contextmanager
def _name_gzip_errors() -> Iterator[None]:
    try:
        yield
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        why = (
            "its content was compressed by gzip, and is damaged or cut off: "
            "compress it again, or get it anew"
        )
        raise OSError(errno.EINVAL, why) from error


class RecodedText(io.RawIOBase):
    """Text in another encoding, read as UTF-8."""

    def __init__(self, source: Any, encoding: str) -> None:
        self._text = io.TextIOWrapper(source, encoding=encoding, newline="")

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        # No more bytes than the buffer takes.
        text = self._text.read(len(buffer) // CHARACTER_BYTES)
        chunk = text.encode(errors="surrogatepass")
        buffer[: len(chunk)] = chunk
        return len(chunk)

    def read(self, size: int = -1, /) -> bytes:
        count = -1 if size < 0 else max(1, size // CHARACTER_BYTES)
        return self._text.read(count).encode(errors="surrogatepass")


def locate_invalid_bytes(file: Path, path: str, form: CSVFormat) -> str | None:
    """Return a sentence on the first byte that is no text, None if all are.

    The sentence names its line, and its column if the header has a name for it.
    """
    if form.encoding.startswith(WIDE_ENCODINGS):
        return None
    header: list[str] = []
    with open_regular(file) as opened:
        content = open_content(opened, measure_size(opened), UTF_8)
        for number, line in enumerate(iter(partial(content.readline, MAX_LINE_BYTES), b""), 1):
            try:
                text = line.decode(form.encoding)
                header = header or _split_line(text.removeprefix("\ufeff"), form)
            except UnicodeDecodeError as error:
                before = _split_line(line[: error.start].decode(form.encoding), form)
                place = len(before or [""]) - 1
                column = f", column {header[place]!r}" if 0 <= place < len(header) else ""
                where = f"{path}, line {number}{column}: byte 0x{line[error.start]:02x}"
                return f"{where} is no {_advise(form.encoding)}"
    return None


def _split_line(line: str, form: CSVFormat) -> list[str]:
    return next(csv.reader([line], delimiter=form.separator), [])


def _advise(encoding: str) -> str:
    if encoding == UTF_8:
        return "UTF-8: save the file as text in UTF-8, or name its dataset.encoding"
    return f"{encoding}: name the file's dataset.encoding"
