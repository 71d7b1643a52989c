"""Digests of data files, by which a run names its data."""

from __future__ import annotations

import hashlib
import time
from pathlib import Path

from linfit.problem.datasets.readers.pipes import copy_if_pipe

#: Nanoseconds after which a further change would have another time.
#: The clocks of file systems tick slowly.
SETTLED_NANOSECONDS = 2 * 10**9
#: Digests of files by device, inode, size and times when they were hashed.
_DIGESTS: dict[tuple[int, ...], str] = {}


def hash_file(path: str) -> str:
    """Return the SHA-256 of a data file, as hexadecimal digits.

    A process hashes a file once, unless it has just changed or changes later.
    """
    try:
        file = copy_if_pipe(path)
        found = file.stat()
        changed = (found.st_mtime_ns, found.st_ctime_ns)
        version = (found.st_dev, found.st_ino, found.st_size, *changed)
        if version in _DIGESTS:
            return _DIGESTS[version]
        digest = _sha256(file)
    except OSError as error:
        raise ValueError(f"data file {path!r} cannot be read: {error.strerror}") from error
    if time.time_ns() - max(changed) > SETTLED_NANOSECONDS:
        _DIGESTS[version] = digest
    return digest


def _sha256(file: Path) -> str:
    with file.open("rb") as opened:
        return hashlib.file_digest(opened, "sha256").hexdigest()
