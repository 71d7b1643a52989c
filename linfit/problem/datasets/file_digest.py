"""Versions and digests of data files; by its digest a run names its data."""

from __future__ import annotations

import hashlib
import os
import time
from pathlib import Path
from typing import NamedTuple

from linfit.problem.datasets.readers.pipes import copy_if_pipe

#: Nanoseconds after which a further change would have another time.
#: The clocks of file systems tick slowly.
SETTLED_NANOSECONDS = 2 * 10**9


class FileVersion(NamedTuple):
    """State of a file: after a change one of these numbers is another."""

    device: int
    inode: int
    size: int
    modified: int
    changed: int


#: Digests of files that were hashed.
_DIGESTS: dict[FileVersion | None, str] = {}


def find_settled_version(found: os.stat_result) -> FileVersion | None:
    """Return the version of a file, None if it has just changed and may again unnoticed."""
    if time.time_ns() - max(found.st_mtime_ns, found.st_ctime_ns) <= SETTLED_NANOSECONDS:
        return None
    return FileVersion(
        found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns, found.st_ctime_ns
    )


def hash_file(path: str) -> str:
    """Return the SHA-256 of a data file, as hexadecimal digits.

    A process hashes a file once, unless it has just changed or changes later. What reads all of
    a file may hash it meanwhile.
    """
    try:
        file = copy_if_pipe(path)
        version = find_settled_version(file.stat())
        if version in _DIGESTS:
            return _DIGESTS[version]
        digest = _sha256(file)
    except OSError as error:
        raise ValueError(f"data file {path!r} cannot be read: {error.strerror}") from error
    if version is not None:
        keep_digest(version, digest)
    return digest


def is_hashed(version: FileVersion | None) -> bool:
    """Return True if the digest is known."""
    return version in _DIGESTS


def keep_digest(version: FileVersion, digest: str) -> None:
    """Keep the digest of a file that was read while it had this version."""
    _DIGESTS[version] = digest


def _sha256(file: Path) -> str:
    with file.open("rb") as opened:
        return hashlib.file_digest(opened, "sha256").hexdigest()
