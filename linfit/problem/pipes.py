"""Data files that are pipes or devices.

The content of a pipe is read once and kept in a file. A file without an end is refused.
"""

from __future__ import annotations

import shutil
import stat
import sys
import threading
from pathlib import Path

from linfit.scratch import discard_folder, new_folder

#: Beginnings of paths that lead to another file in each process.
OWN = ("/dev/stdin", "/dev/fd/", "/proc/")
#: Seconds without content after which the user is told which pipe linfit waits for.
PATIENCE = 1.0
#: Tests of a file's mode for kinds that are refused, with their names.
REFUSED = ((stat.S_ISCHR, "device"), (stat.S_ISBLK, "device"), (stat.S_ISSOCK, "socket"))
#: Number of bytes that are read at once.
CHUNK = 2**20

#: Copies of the content of pipes, by device, inode and time of the last write.
_COPIES: dict[tuple[int, int, int], Path] = {}


def passes(path: str) -> bool:
    """Return whether a path can be read once only, or in this process only."""
    try:
        mode = Path(path).stat().st_mode
    except (OSError, ValueError):
        # The attempt to open it will give a better error.
        return False
    return path.startswith(OWN) or not (stat.S_ISREG(mode) or stat.S_ISDIR(mode))


def readable(path: str) -> Path:
    """Return a file with the bytes of `path` that can be read several times.

    It is `path` itself, or a copy of a pipe's content. Raise ValueError if `path` is neither a
    file nor a pipe, OSError if nothing exists there.
    """
    mode = Path(path).stat().st_mode
    for is_kind, kind in REFUSED:
        if is_kind(mode):
            raise ValueError(f"dataset.path {path!r} is a {kind}: name a file, or a pipe that ends")
    return _copy(path) if stat.S_ISFIFO(mode) else Path(path)


def _copy(path: str) -> Path:
    """Return the copy of a pipe's content, which the first call reads."""
    found = _COPIES.get(version(path))
    if found is not None and found.exists():
        return found
    copy = new_folder() / f"data{Path(path).suffix}"
    room = shutil.disk_usage(copy.parent).free // 2
    try:
        _drain(path, copy, room)
    except BaseException:
        discard_folder(copy.parent)
        raise
    _COPIES[version(path)] = copy
    return copy


def _drain(path: str, copy: Path, room: int) -> None:
    """Write the content of a pipe to a file; ValueError if it exceeds `room` bytes."""
    late = threading.Timer(PATIENCE, _tell_waiting, [path])
    late.daemon = True
    late.start()
    try:
        # Opening waits for a process that writes to the pipe.
        with Path(path).open("rb", buffering=0) as pipe, copy.open("wb") as file:
            while chunk := pipe.read(CHUNK):
                late.cancel()
                file.write(chunk)
                if file.tell() > room:
                    raise ValueError(
                        f"dataset.path {path!r} gave {file.tell():,} bytes and no end: "
                        "save it in a file first"
                    )
    finally:
        late.cancel()


def _tell_waiting(path: str) -> None:
    sys.stderr.write(f"linfit: waiting for {path}: nothing has been written to this pipe yet\n")
    sys.stderr.flush()


def version(path: str) -> tuple[int, int, int]:
    """Return device, inode and time of the last write, which identify a pipe's content."""
    found = Path(path).stat()
    return found.st_dev, found.st_ino, found.st_mtime_ns
