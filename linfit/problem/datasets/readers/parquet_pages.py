"""Memory that the columns of a Parquet file take, from the headers of their pages.

A file may announce anything. Arrow allocates what a page's header announces, and recurses into the
footer's schema: both are checked here before Arrow reads them. They are written in Thrift's compact
protocol. This module reads the fields that matter and skips the rest.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, BinaryIO

from linfit.problem.datasets.readers.opened import measure_size

PARQUET_MAGIC = b"PAR1"
#: Largest number of levels in a schema. No file of numbers has more than this and the next three.
MAX_SCHEMA_DEPTH = 64
#: Largest number of columns.
MAX_SCHEMA_FIELDS = 10**6
#: Largest number of bytes in a page's header.
MAX_PAGE_HEADER_BYTES = 2**24
#: Largest number of bytes in a footer.
MAX_FOOTER_BYTES = 2**28
#: Bytes of a value by physical type. Text is read as indices into its distinct values.
VALUE_BYTES = {
    "BOOLEAN": 1,
    "INT32": 4,
    "INT64": 8,
    "INT96": 12,
    "FLOAT": 4,
    "DOUBLE": 8,
    "BYTE_ARRAY": 4,
}
#: Bytes of a value's repetition and definition levels.
LEVEL_BYTES = 4

# Types of Thrift's compact protocol.
_STOP = 0
_TRUE = 1
_FALSE = 2
_BYTE = 3
_I16 = 4
_I32 = 5
_I64 = 6
_DOUBLE = 7
_BINARY = 8
_LIST = 9
_SET = 10
_MAP = 11
_STRUCT = 12


class CompactReader:
    """Reader of Thrift's compact protocol.

    It raises ValueError if the content makes no sense, IndexError if it ends too early.
    """

    def __init__(self, content: bytes) -> None:
        self.content = content
        self.place = 0

    def read_fields(self) -> Iterator[tuple[int, int]]:
        """Yield the number and the type of each field of a struct.

        The caller reads or skips a field's value before it takes the next field.
        """
        number = 0
        while (head := self._byte()) != _STOP:
            number = number + (head >> 4) if head >> 4 else self.read_integer()
            yield number, head & 15

    def read_list_size(self) -> tuple[int, int]:
        """Return the number of items of a list, and their type."""
        head = self._byte()
        count = head >> 4
        if count == 15:
            count = self._varint()
        return count, head & 15

    def read_integer(self) -> int:
        """Return a signed integer."""
        value = self._varint()
        return (value >> 1) ^ -(value & 1)

    def skip_value(self, kind: int, depth: int = 0) -> None:
        """Pass over a value."""
        if depth > MAX_SCHEMA_DEPTH:
            raise ValueError("it is nested too deep")
        if kind in (_TRUE, _FALSE):
            return
        if kind in (_I16, _I32, _I64):
            self._varint()
        elif kind in (_BYTE, _DOUBLE, _BINARY):
            self._pass({_BYTE: 1, _DOUBLE: 8}.get(kind) or self._varint())
        elif kind == _STRUCT:
            for _, inner in self.read_fields():
                self.skip_value(inner, depth + 1)
        elif kind in (_LIST, _SET):
            count, inner = self.read_list_size()
            for _ in range(count):
                self._skip_item(inner, depth)
        elif kind == _MAP:
            self._skip_map(depth)
        else:
            raise ValueError(f"it has a value of the unknown type {kind}")

    def _skip_item(self, kind: int, depth: int) -> None:
        if kind in (_TRUE, _FALSE):  # a byte in a list, part of the head in a struct
            self._pass(1)
        else:
            self.skip_value(kind, depth + 1)

    def _skip_map(self, depth: int) -> None:
        count = self._varint()
        kinds = self._byte() if count else 0
        for _ in range(count):
            self._skip_item(kinds >> 4, depth)
            self._skip_item(kinds & 15, depth)

    def _pass(self, count: int) -> None:
        self.place += count
        if self.place > len(self.content):
            raise IndexError("it ends too early")

    def _byte(self) -> int:
        self.place += 1
        return self.content[self.place - 1]

    def _varint(self) -> int:
        value = 0
        for shift in range(0, 70, 7):
            byte = self._byte()
            value |= (byte & 127) << shift
            if byte < 128:
                return value
        raise ValueError("it has an integer of too many digits")


def require_plain_schema(opened: BinaryIO) -> None:
    """Raise ValueError if a file has no footer, or a schema too deep or wide for Arrow."""
    size = measure_size(opened)
    opened.seek(max(0, size - 8))
    end = opened.read(8)
    length = int.from_bytes(end[:4], "little")
    if end[4:] != PARQUET_MAGIC or length + 12 > size or length > MAX_FOOTER_BYTES:
        raise ValueError("it has no footer of a Parquet file")
    opened.seek(size - 8 - length)
    compact = CompactReader(opened.read(length))
    try:
        for number, kind in compact.read_fields():
            if number == 2 and kind == _LIST:
                _require_plain(compact)
                return
            compact.skip_value(kind)
    except IndexError as error:
        raise ValueError("its footer ends too early") from error
    raise ValueError("its footer has no schema")


def _require_plain(compact: CompactReader) -> None:
    """Raise ValueError if a schema is too deep or wide.

    A schema is the list of its elements, each before its children.
    """
    count, _ = compact.read_list_size()
    if count > MAX_SCHEMA_FIELDS:
        raise ValueError(f"its schema has {count:,} fields, {MAX_SCHEMA_FIELDS:,} at most")
    # Number of children still to come in each open group.
    left: list[int] = []
    for _ in range(count):
        children = _read_field(compact, 5)
        while left and left[-1] <= 0:
            left.pop()
        if left:
            left[-1] -= 1
        if children > 0:
            left.append(children)
        if len(left) > MAX_SCHEMA_DEPTH:
            raise ValueError(f"its schema has more than {MAX_SCHEMA_DEPTH} levels")


def _read_field(compact: CompactReader, wanted: int) -> int:
    """Return the integer in one field of a struct, 0 if there is none."""
    total = 0
    for number, kind in compact.read_fields():
        if number == wanted:
            total += compact.read_integer()
        else:
            compact.skip_value(kind)
    return total


@dataclass
class ColumnSize:
    """Memory that some columns of a row group take once they are read."""

    bytes: int = 0
    largest_page: int = 0


def measure_columns(
    opened: BinaryIO, metadata: Any, group: int, columns: Sequence[int]
) -> ColumnSize:
    """Return the memory that columns of a row group take.

    Raise ValueError if its pages make no sense, or have more or fewer values than announced.
    """
    found = ColumnSize()
    part = metadata.row_group(group)
    for place in columns:
        if place >= part.num_columns:
            raise ValueError("its parts have fewer columns than its schema")
        chunk = part.column(place)
        width = VALUE_BYTES.get(chunk.physical_type) or max(0, metadata.schema.column(place).length)
        values = 0
        for page in list_pages(opened, *_extent(chunk)):
            values += page.values
            found.bytes += page.size
            found.largest_page = max(found.largest_page, page.size)
        if values != chunk.num_values:
            raise ValueError(
                f"its footer announces {chunk.num_values:,} values of {chunk.path_in_schema}, "
                f"its pages have {values:,}"
            )
        found.bytes += values * (width + LEVEL_BYTES)
    return found


@dataclass(frozen=True)
class PageHeader:
    """Header of a page."""

    size: int
    """Number of bytes once the page is read."""
    values: int
    """Number of values; a dictionary has none that count."""


def _extent(chunk: Any) -> tuple[int, int]:
    """Return the offsets at which the pages of a column's part begin and end."""
    starts = [chunk.data_page_offset]
    if chunk.has_dictionary_page:
        starts.append(chunk.dictionary_page_offset)
    # A writer may leave an offset 0 if it has none.
    start = min(filter(None, starts), default=0)
    return start, start + chunk.total_compressed_size


def list_pages(opened: BinaryIO, start: int, end: int) -> Iterator[PageHeader]:
    """Yield the pages that begin at `start` or later, and before `end`."""
    if not 0 <= start <= end <= measure_size(opened):
        raise ValueError("its footer names pages beyond its end")
    while start < end:
        compact, page, stored = _read_header(opened, start)
        yield page
        start += compact.place + stored


def _read_header(
    opened: BinaryIO, start: int, length: int = 2**12
) -> tuple[CompactReader, PageHeader, int]:
    """Return the reader of a page's header, the page, and its number of bytes in the file."""
    opened.seek(start)
    compact = CompactReader(opened.read(length))
    try:
        return compact, *_read_page(compact)
    except IndexError as error:
        if length >= MAX_PAGE_HEADER_BYTES:
            raise ValueError("a page of it has no header") from error
    return _read_header(opened, start, 16 * length)


def _read_page(compact: CompactReader) -> tuple[PageHeader, int]:
    """Return a page, and its number of bytes in the file without the header."""
    # Fields of the header: type, uncompressed size, compressed size.
    numbers = {1: -1, 2: -1, 3: -1}
    values = 0
    for number, kind in compact.read_fields():
        if number in numbers and kind == _I32:
            numbers[number] = compact.read_integer()
        elif number in (5, 8) and kind == _STRUCT:
            # The header of a data page, in either version.
            values = _read_field(compact, 1)
        else:
            compact.skip_value(kind)
    if min(*numbers.values(), values) < 0:
        raise ValueError("a page of it has no size")
    return PageHeader(numbers[2], values), numbers[3]
