"""Data files that are pipes or devices.

The content of a pipe is read once and kept in a file. A file without an end is refused.
"""

from __future__ import annotations

import shutil
import stat
import sys
import threading
from pathlib import Path

from linfit.system.scratch import create_temporary_folder, discard_folder

#: Beginnings of paths that lead to another file in each process.
PROCESS_PATHS = ("/dev/stdin", "/dev/fd/", "/proc/")
#: Seconds without content after which the user is told which pipe linfit waits for.
WRITER_PATIENCE = 1.0
#: Tests of a file's mode for kinds that are refused, with their names.
REFUSED_KINDS = ((stat.S_ISCHR, "device"), (stat.S_ISBLK, "device"), (stat.S_ISSOCK, "socket"))
#: Number of bytes that are read at once.
PIPE_BYTES = 2**20

#: Copies of the content of pipes, by device, inode and time of the last write.
_COPIES: dict[tuple[int, int, int], Path] = {}


def is_pipe(path: str) -> bool:
    """Return whether a path can be read once only, or in this process only."""
    try:
        mode = Path(path).stat().st_mode
    except (OSError, ValueError):
        # The attempt to open it will give a better error.
        return False
    return path.startswith(PROCESS_PATHS) or not (stat.S_ISREG(mode) or stat.S_ISDIR(mode))


def copy_if_pipe(path: str) -> Path:
    """Return a file with the bytes of `path` that can be read several times.

    It is `path` itself, or a copy of a pipe's content. Raise ValueError if `path` is neither a
    file nor a pipe, OSError if nothing exists there.
    """
    mode = Path(path).stat().st_mode
    for is_kind, kind in REFUSED_KINDS:
        if is_kind(mode):
            raise ValueError(f"dataset.path {path!r} is a {kind}: name a file, or a pipe that ends")
    return _copy(path) if stat.S_ISFIFO(mode) else Path(path)


def _copy(path: str) -> Path:
    """Return the copy of a pipe's content, which the first call reads."""
    found = _COPIES.get(identify_pipe(path))
    if found is not None and found.exists():
        return found
    copy = create_temporary_folder() / f"data{Path(path).suffix}"
    room = shutil.disk_usage(copy.parent).free // 2
    try:
        _drain(path, copy, room)
    except BaseException:
        discard_folder(copy.parent)
        raise
    _COPIES[identify_pipe(path)] = copy
    return copy


def _drain(path: str, copy: Path, room: int) -> None:
    """Write the content of a pipe to a file; ValueError if it exceeds `room` bytes."""
    late = threading.Timer(WRITER_PATIENCE, _tell_waiting, [path])
    late.daemon = True
    late.start()
    try:
        # Opening waits for a process that writes to the pipe.
        with Path(path).open("rb", buffering=0) as pipe, copy.open("wb") as file:
            while chunk := pipe.read(PIPE_BYTES):
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


def identify_pipe(path: str) -> tuple[int, int, int]:
    """Return device, inode and time of the last write, which identify a pipe's content."""
    found = Path(path).stat()
    return found.st_dev, found.st_ino, found.st_mtime_ns
