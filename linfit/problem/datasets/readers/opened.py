"""Opening of files to be read, within bounds.

A path is only a path: no URI, pipe or device.
"""

from __future__ import annotations

import errno
import os
import stat
from io import BufferedReader
from pathlib import Path
from typing import BinaryIO

from linfit.system.host import available_memory, open_without_waiting

#: Bytes of content that a stored file may have for each of its own bytes.
MAX_EXPANSION = 64
#: Bytes of text that a compressed file may have for each of its own bytes: data compress less.
MAX_TEXT_EXPANSION = 200
#: Bytes of content that any file may have.
ALWAYS_ALLOWED_BYTES = 2**28


def open_regular(file: Path | str) -> BufferedReader:
    """Return a regular file, open to be read.

    Raise OSError if it is something else, or cannot be opened. The caller closes the file.
    """
    opened = open(file, "rb", opener=open_without_waiting)  # noqa: SIM115
    if not stat.S_ISREG(os.fstat(opened.fileno()).st_mode):
        opened.close()
        raise OSError(errno.EINVAL, "it is no regular file", str(file))
    return opened


def measure_size(opened: BinaryIO) -> int:
    """Return the number of bytes of an open file."""
    return os.fstat(opened.fileno()).st_size


def read_bounded(file: Path | str, most: int) -> bytes:
    """Return the bytes of a file.

    Raise OSError if it cannot be read, ValueError if it has more than `most` bytes.
    """
    with open_regular(file) as opened:
        content = opened.read(most + 1)
    if len(content) > most:
        raise ValueError(f"it has more than {most:,} bytes")
    return content


def require_memory(needed: int, what: str) -> None:
    """Raise ValueError if more bytes are needed than are free."""
    if needed <= ALWAYS_ALLOWED_BYTES:
        return
    free = available_memory()
    if needed > free:
        raise ValueError(f"{what} would take {needed:,} bytes of memory, and {free:,} are free")


def limit_bytes(size: int) -> int:
    """Return the largest size of the content of a stored file of `size` bytes.

    linfit writes no file whose content is much larger than that.
    """
    return max(ALWAYS_ALLOWED_BYTES, min(MAX_EXPANSION * size, available_memory() // 4))


def limit_content(size: int) -> int:
    """Return the largest size of the text in a compressed file of `size` bytes."""
    return max(ALWAYS_ALLOWED_BYTES, MAX_TEXT_EXPANSION * size)
