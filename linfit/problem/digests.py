"""The digests of data files: what a run was fitted to."""

from __future__ import annotations

import hashlib
import time
from pathlib import Path

from linfit.problem.pipes import readable

#: Bytes of a data file that are hashed at once.
CHUNK = 2**20
#: Nanoseconds after which another change would have another time: clocks of file systems tick slowly.
SETTLED = 2 * 10**9
#: The digests of files as they were when hashed: their device, inode, size and times.
_DIGESTS: dict[tuple[int, ...], str] = {}


def file_digest(path: str) -> str:
    """SHA-256 of a data file, as hexadecimal digits; one that has not changed for a while is read once in a process."""
    try:
        file = readable(path)
        found = file.stat()
        changed = found.st_mtime_ns, found.st_ctime_ns
        version = (found.st_dev, found.st_ino, found.st_size, *changed)
        if version in _DIGESTS:
            return _DIGESTS[version]
        content = _sha256(file)
    except OSError as error:
        raise ValueError(f"data file {path!r} cannot be read: {error.strerror}") from error
    if time.time_ns() - max(changed) > SETTLED:
        _DIGESTS[version] = content
    return content


def _sha256(file: Path) -> str:
    content = hashlib.sha256()
    with file.open("rb") as opened:
        while chunk := opened.read(CHUNK):
            content.update(chunk)
    return content.hexdigest()
