"""Files that are opened to be read, by their path and nothing else: no URI, no pipe, no device, no guess at a compression."""

from __future__ import annotations

import errno
import os
import stat
from io import BufferedReader
from pathlib import Path
from typing import BinaryIO

from linfit.system import available_memory, open_at_once

#: Times its own size that the content of a file may take without question, and bytes that any file's may.
RATIO, SMALL = 64, 2**28


def open_regular(file: Path | str) -> BufferedReader:
    """Return a regular file, open to be read; OSError where it is something else or cannot be opened."""
    opened = open(file, "rb", opener=open_at_once)  # noqa: SIM115 - it is closed by the caller
    if not stat.S_ISREG(os.fstat(opened.fileno()).st_mode):
        opened.close()
        raise OSError(errno.EINVAL, "it is no regular file", str(file))
    return opened


def open_again(opened: BinaryIO, file: Path | str) -> BinaryIO:
    """Return the same file with a position of its own; OSError where another one is in its place by now."""
    again = open_regular(file)
    if os.path.sameopenfile(opened.fileno(), again.fileno()):
        return again
    again.close()
    raise OSError(errno.ESTALE, "it was replaced while it was read", str(file))


def size_of(opened: BinaryIO) -> int:
    """Return how many bytes an open file has."""
    return os.fstat(opened.fileno()).st_size


def read_bounded(file: Path | str, most: int) -> bytes:
    """Return the bytes of a file; OSError where it cannot be read, ValueError where it has more than `most`."""
    with open_regular(file) as opened:
        content = opened.read(most + 1)
    if len(content) > most:
        raise ValueError(f"it has more than {most:,} bytes")
    return content


def require_memory(needed: int, what: str) -> None:
    """ValueError where something needs more bytes than there are."""
    if needed > SMALL and needed > (free := available_memory()):
        raise ValueError(f"{what} would take {needed:,} bytes of memory, and {free:,} are free")


def most_bytes(size: int) -> int:
    """Return how many bytes the content of a stored file of this size may take: what is far more was not written by linfit."""
    return min(max(SMALL, RATIO * size), max(SMALL, available_memory() // 4))
