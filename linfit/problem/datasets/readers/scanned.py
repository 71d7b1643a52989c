"""Files that are hashed, and whose text is looked at, while somebody else reads them."""

from __future__ import annotations

import codecs
import hashlib
import io
import os
import threading
from typing import Any, BinaryIO

from linfit.problem.datasets.file_digest import find_settled_version, is_hashed, keep_digest
from linfit.problem.datasets.readers.csv_text import UTF_8, open_content
from linfit.problem.datasets.readers.opened import measure_size

#: Bytes among which a plain text has an end of a line: no cell is too long for Python's csv.
PLAIN_BYTES = 2**15
#: Bytes that are scanned at once of a file whose lines are read.
TEXT_BYTES = 2**18


class HashedFile(io.RawIOBase):
    """A view of an open file from its beginning, which stays open when the view is closed.

    Once all is read, the digest of the file is known.
    """

    def __init__(self, opened: BinaryIO) -> None:
        self._file = opened
        opened.seek(0)
        version = find_settled_version(os.fstat(opened.fileno()))
        self._unhashed = None if is_hashed(version) else version
        self._content = hashlib.sha256()
        self._num_bytes = 0

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        count = self._file.readinto(buffer)  # type: ignore[attr-defined]
        if self._unhashed is not None:
            self._hash(memoryview(buffer)[:count])
        return int(count)

    def _hash(self, chunk: memoryview) -> None:
        assert self._unhashed is not None
        self._content.update(chunk)
        self._num_bytes += len(chunk)
        if self._num_bytes < self._unhashed.size:
            return
        if self._unhashed == find_settled_version(os.fstat(self._file.fileno())):
            keep_digest(self._unhashed, self._content.hexdigest())


class ScannedFile(io.BufferedIOBase):
    """The text of an open file from its beginning, in UTF-8 whatever the file has.

    The file stays open. Arrow's thread may go on reading when nobody wants more: from a view that
    is closed it gets nothing.
    """

    def __init__(self, opened: BinaryIO, encoding: str = UTF_8) -> None:
        self._lock = threading.Lock()
        hashed = io.BufferedReader(HashedFile(opened))
        self._source = open_content(hashed, measure_size(opened), encoding)
        self._text = codecs.getincrementaldecoder("utf-8")()
        self._ahead = memoryview(b"")
        self._without_end = 0
        self._plain = True

    def is_plain(self) -> bool:
        """Return True if what was read is UTF-8 without quotes and long lines."""
        cut, _ = self._text.getstate()
        return self._plain and not cut

    def readable(self) -> bool:
        return True

    def read(self, size: int | None = -1, /) -> bytes:
        with self._lock:
            if self.closed:
                return b""
            chunk: bytes = self._source.read(-1 if size is None else size)
            self._plain = self._plain and self._stays_plain(chunk)
            return chunk

    def read1(self, size: int = TEXT_BYTES, /) -> bytes:
        # A reader of text asks for a few bytes at once: to scan so few would be slow.
        self._ahead = self._ahead or memoryview(self.read(TEXT_BYTES))
        piece = bytes(self._ahead[:size])
        self._ahead = self._ahead[len(piece) :]
        return piece

    def close(self) -> None:
        with self._lock:
            super().close()

    def _stays_plain(self, chunk: bytes) -> bool:
        for start in range(0, len(chunk), PLAIN_BYTES):
            part = chunk[start : start + PLAIN_BYTES]
            self._without_end = 0 if b"\n" in part else self._without_end + len(part)
            try:
                self._text.decode(part)
            except UnicodeDecodeError:
                return False
            if self._without_end > PLAIN_BYTES:
                return False
        return b'"' not in chunk
