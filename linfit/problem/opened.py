"""Opening of files to be read, within bounds.

A path is only a path: no URI, pipe or device, and no guess at a compression.
"""

from __future__ import annotations

import errno
import os
import stat
from io import BufferedReader
from pathlib import Path
from typing import BinaryIO

from linfit.system import available_memory, open_at_once

#: Bytes of content that a stored file may have for each of its own bytes.
RATIO = 64
#: Bytes of content that any file may have.
SMALL = 2**28


def open_regular(file: Path | str) -> BufferedReader:
    """Return a regular file, open to be read.

    Raise OSError if it is something else, or cannot be opened. The caller closes the file.
    """
    opened = open(file, "rb", opener=open_at_once)  # noqa: SIM115
    if not stat.S_ISREG(os.fstat(opened.fileno()).st_mode):
        opened.close()
        raise OSError(errno.EINVAL, "it is no regular file", str(file))
    return opened


def open_again(opened: BinaryIO, file: Path | str) -> BinaryIO:
    """Return an open file again, with a position of its own.

    Raise OSError if another file has replaced it.
    """
    again = open_regular(file)
    if os.path.sameopenfile(opened.fileno(), again.fileno()):
        return again
    again.close()
    raise OSError(errno.ESTALE, "it was replaced while it was read", str(file))


def size_of(opened: BinaryIO) -> int:
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
    if needed <= SMALL:
        return
    free = available_memory()
    if needed > free:
        raise ValueError(f"{what} would take {needed:,} bytes of memory, and {free:,} are free")


def most_bytes(size: int) -> int:
    """Return the largest size of the content of a stored file of `size` bytes.

    linfit writes no file whose content is much larger than that.
    """
    return max(SMALL, min(RATIO * size, available_memory() // 4))
