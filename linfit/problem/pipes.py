"""Data files that are no plain files: what comes through a pipe is read once, and kept; what has no end is refused."""

from __future__ import annotations

import shutil
import stat
import sys
import threading
from pathlib import Path

from linfit.scratch import discard_folder, new_folder

#: Paths that mean another file in every process.
OWN = ("/dev/stdin", "/dev/fd/", "/proc/")
#: Seconds without a word from whoever writes to a pipe, after which the user is told what is waited for.
PATIENCE = 1.0
#: What cannot be read to its end, or at all, and what it is called.
REFUSED = ((stat.S_ISCHR, "device"), (stat.S_ISBLK, "device"), (stat.S_ISSOCK, "socket"))
CHUNK = 2**20

#: Copies of what pipes gave, by device, inode and time of the last write.
_COPIES: dict[tuple[int, int, int], Path] = {}


def passes(path: str) -> bool:
    """Return whether what stands at the path can be read once only, or in this process only."""
    try:
        mode = Path(path).stat().st_mode
    except (OSError, ValueError):
        return False  # whoever opens it says more
    return path.startswith(OWN) or not (stat.S_ISREG(mode) or stat.S_ISDIR(mode))


def readable(path: str) -> Path:
    """Return a file with the bytes of `path` that can be read several times: itself, or a copy of what a pipe gave.

    Raises ValueError for what is neither file nor pipe, and OSError where there is nothing.
    """
    mode = Path(path).stat().st_mode
    for is_kind, kind in REFUSED:
        if is_kind(mode):
            raise ValueError(f"dataset.path {path!r} is a {kind}: name a file, or a pipe that ends")
    return _copy(path) if stat.S_ISFIFO(mode) else Path(path)


def _copy(path: str) -> Path:
    """Return the copy of what a pipe gave; it is read at the first call."""
    if (found := _COPIES.get(version(path))) is not None and found.exists():
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
    """Write what a pipe gives to a file; ValueError where that is more bytes than there is `room` for."""
    late = threading.Timer(PATIENCE, _tell_waiting, [path])
    late.daemon = True
    late.start()
    try:
        with (
            Path(path).open("rb", buffering=0) as pipe,
            copy.open("wb") as file,
        ):  # where nobody writes to it yet, open waits
            while chunk := pipe.read(CHUNK):
                late.cancel()
                file.write(chunk)
                if file.tell() > room:
                    raise ValueError(
                        f"dataset.path {path!r} gave {file.tell():,} bytes and no end: save it in a file first"
                    )
    finally:
        late.cancel()


def _tell_waiting(path: str) -> None:
    sys.stderr.write(f"linfit: waiting for {path}: nothing has been written to this pipe yet\n")
    sys.stderr.flush()


def version(path: str) -> tuple[int, int, int]:
    """Return what tells one pipe, and what was written to it, from others."""
    found = Path(path).stat()
    return found.st_dev, found.st_ino, found.st_mtime_ns
