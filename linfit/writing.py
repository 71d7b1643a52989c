"""Files that outlast a power loss: on the disk whole, and under their names, before anything is said of them.

A file's content and its name are flushed apart: `fsync` of a file says nothing of the folder that holds its name.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from fnmatch import fnmatchcase
from pathlib import Path

from linfit.errors import RecordingError
from linfit.scratch import name_beside
from linfit.system import flush_folder


@contextmanager
def whole(file: Path) -> Iterator[Path]:
    """Write a file whole or not at all: under the temporary name that is yielded, which is flushed and then renamed."""
    temporary = name_beside(file)
    try:
        with naming(file):
            yield temporary
            flush_file(temporary)
            temporary.replace(file)
            flush_folder(file.parent)
    finally:
        with suppress(OSError):  # what went wrong before is what is told
            temporary.unlink(missing_ok=True)


@contextmanager
def naming(file: Path) -> Iterator[None]:
    """Raise RecordingError, which names the file, where it cannot be written: an OSError of `write` names none."""
    try:
        yield
    except OSError as error:
        raise RecordingError(f"{file} cannot be written: {reason(error)}") from error


def reason(error: OSError) -> str:
    """Return why a file cannot be used. Arrow's errors have no file name, and hold text of their own."""
    return os.strerror(error.errno) if error.errno else " ".join(str(error).split())


def flush_file(file: Path) -> None:
    """Have a file's content on the disk; OSError, which names it, where that cannot be."""
    with file.open("rb+") as written:
        try:
            os.fsync(written.fileno())
        except OSError as error:
            raise OSError(error.errno, error.strerror, str(file)) from error


def flush_files(files: Iterable[Path], top: Path) -> None:
    """Have files on the disk, with their names and those of the folders between them and `top`."""
    folders: dict[Path, None] = {}
    for file in files:
        flush_file(file)
        folders |= dict.fromkeys(_up_to(top, file.parent))
    for folder in folders:
        flush_folder(folder)


def flush_names_above(folder: Path) -> None:
    """Have the name of a folder on the disk, and those of all above it, whoever has made them."""
    for parent in folder.absolute().parents:
        flush_folder(parent)


def make_folder(folder: Path) -> None:
    """Make a folder with those above it that are absent, all of them on the disk."""
    top = nearest_folder(folder)
    folder.mkdir(parents=True, exist_ok=True)
    for parent in _up_to(top, folder):
        flush_folder(parent)


def remove(path: Path) -> None:
    """Remove a file, a link or a folder with all that is in it, as far as the system lets it."""
    with suppress(OSError):
        if path.is_symlink() or not path.is_dir():
            path.unlink(missing_ok=True)
        else:
            shutil.rmtree(path, ignore_errors=True)


def nearest_folder(folder: Path) -> Path:
    """Return the folder itself, or the nearest above it that is there."""
    return next((place for place in (folder, *folder.parents) if place.exists()), folder)


def list_folder(folder: Path, pattern: str) -> list[Path]:
    """Return what stands in a folder under such names, sorted; nothing if it is absent, OSError where it cannot be listed.

    `Path.glob` finds nothing in a folder that cannot be listed: rows that are there would be taken for lost.
    """
    try:
        return sorted(file for file in folder.iterdir() if fnmatchcase(file.name, pattern))
    except FileNotFoundError:
        return []


def _up_to(top: Path, folder: Path) -> Iterator[Path]:
    """Yield a folder and those above it, to `top`."""
    for place in (folder, *folder.parents):
        yield place
        if place == top:
            return
