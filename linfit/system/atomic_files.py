"""Files that survive a power loss: flushed whole, with their names, before anything refers to them.

Content and name are flushed separately: `fsync` of a file does not flush the folder with its name.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from fnmatch import fnmatchcase
from pathlib import Path

from linfit.errors import RecordingError
from linfit.system.host import flush_folder
from linfit.system.scratch import name_temporary_file


@contextmanager
def write_atomically(file: Path) -> Iterator[Path]:
    """Yield a temporary name, and rename it to `file` once flushed.

    The file is written atomically: whole, or not at all.
    """
    temporary = name_temporary_file(file)
    try:
        with name_file_in_errors(file):
            yield temporary
            flush_file(temporary)
            temporary.replace(file)
            flush_folder(file.parent)
    finally:
        with suppress(OSError):  # an error in the block is reported, not this one
            temporary.unlink(missing_ok=True)


@contextmanager
def name_file_in_errors(file: Path) -> Iterator[None]:
    """Turn an OSError into a RecordingError that names the file.

    The OSError itself may not.
    """
    try:
        yield
    except OSError as error:
        raise RecordingError(f"{file} cannot be written: {describe_os_error(error)}") from error


def describe_os_error(error: OSError) -> str:
    """Return why a file cannot be used, without its name.

    Arrow's errors have no file name and no error number, only text of their own.
    """
    if error.errno:
        return os.strerror(error.errno)
    return " ".join(str(error).split())


def flush_file(file: Path) -> None:
    """Flush a file's content to disk; an OSError names it."""
    with file.open("rb+") as written:
        try:
            os.fsync(written.fileno())
        except OSError as error:
            raise OSError(error.errno, error.strerror, str(file)) from error


def flush_files(files: Iterable[Path], top: Path) -> None:
    """Flush files and their names.

    The names of the folders between them and `top` are flushed too.
    """
    folders: dict[Path, None] = {}
    for file in files:
        flush_file(file)
        folders |= dict.fromkeys(_up_to(top, file.parent))
    for folder in folders:
        flush_folder(folder)


def flush_parent_names(folder: Path) -> None:
    """Flush the name of a folder and of all above it."""
    for parent in folder.absolute().parents:
        flush_folder(parent)


def create_folder(folder: Path) -> None:
    """Create a folder with missing parents; flush all their names."""
    top = find_existing_folder(folder)
    folder.mkdir(parents=True, exist_ok=True)
    for parent in _up_to(top, folder):
        flush_folder(parent)


def remove_path(path: Path) -> None:
    """Remove a file, link or whole folder, if the system permits."""
    with suppress(OSError):
        if path.is_symlink() or not path.is_dir():
            path.unlink(missing_ok=True)
        else:
            shutil.rmtree(path, ignore_errors=True)


def find_existing_folder(folder: Path) -> Path:
    """Return the folder itself, or its nearest parent that exists."""
    return next(filter(Path.exists, (folder, *folder.parents)), folder)


def list_folder(folder: Path, pattern: str) -> list[Path]:
    """Return the entries of a folder that match a pattern, sorted.

    There are none if it is absent. Raise OSError if the folder cannot be listed. `Path.glob` would
    find nothing there, and rows that exist would be taken for lost.
    """
    try:
        return sorted(file for file in folder.iterdir() if fnmatchcase(file.name, pattern))
    except FileNotFoundError:
        return []


def _up_to(top: Path, folder: Path) -> Iterator[Path]:
    """Yield a folder and its parents, up to `top`."""
    for place in (folder, *folder.parents):
        yield place
        if place == top:
            return
