"""Temporary files. Each process keeps its own in one folder, whose name identifies the process.

    TMPDIR/linfit-PLACE-PID-BEGAN-RANDOM/   temporary files and folders
        notes.jsonl                         files and stores to clean up if the process is killed

A process removes its folder at its end; linfit/tracking/store/leftovers.py removes those of killed
processes. Child processes use the folder of their parent.
"""

from __future__ import annotations

import atexit
import json
import os
import shutil
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from threading import Lock
from typing import Any

from linfit.system.process_owner import short_identity

SCRATCH_PREFIX = "linfit-"
NOTES_FILE = "notes.jsonl"
#: Kind of a note about a file or folder.
LEFTOVER_NOTE = "leftover"
#: Kind of a note about a SQLite store.
STORE_NOTE = "store"


class _Scratch:
    """The folder of this process, or of its parent."""

    folder: Path | None = None
    process = 0
    """Number of the process that created it; 0 if that is the parent.

    A forked child has another number, and creates its own folder.
    """
    is_kept = False
    """True while the folder is kept although it is empty."""
    lock = Lock()


def ensure_scratch_folder() -> Path:
    """Return this process's folder for temporary files; create it if absent.

    Raise OSError if none can be created.
    """
    with _Scratch.lock:
        folder = _Scratch.folder
        if folder is None or _Scratch.process not in (0, os.getpid()) or not folder.is_dir():
            folder = Path(
                tempfile.mkdtemp(
                    prefix=f"{SCRATCH_PREFIX}{short_identity()}-", dir=_parent_folder()
                )
            )
            _Scratch.folder = folder
            _Scratch.process = os.getpid()
            _remove_at_exit()
        return folder


def create_temporary_folder() -> Path:
    """Create a temporary folder.

    It is removed with the scratch folder at the latest.
    """
    return Path(tempfile.mkdtemp(dir=ensure_scratch_folder()))


def discard_folder(folder: Path) -> None:
    """Remove a folder of `create_temporary_folder`.

    The scratch folder goes too if it is empty and not kept.
    """
    shutil.rmtree(folder, ignore_errors=True)
    if not _Scratch.is_kept and folder.parent == _Scratch.folder:
        with suppress(OSError):  # the scratch folder is not empty
            folder.parent.rmdir()


@contextmanager
def temporary_folder() -> Iterator[Path]:
    """Yield a new temporary folder, and remove it at the end."""
    folder = create_temporary_folder()
    try:
        yield folder
    finally:
        discard_folder(folder)


@contextmanager
def redirect_temporary_files() -> Iterator[None]:
    """Redirect all temporary files of this process to its folder.

    Those of libraries go there too. The folder is removed at the end.
    """
    before = tempfile.tempdir
    was_kept = _Scratch.is_kept
    with suppress(OSError):  # no space: whatever needs a temporary file reports it
        tempfile.tempdir = str(ensure_scratch_folder())
        _Scratch.is_kept = True
    try:
        yield
    finally:
        tempfile.tempdir = before
        _Scratch.is_kept = was_kept
        if not was_kept:
            remove_scratch()


def share_scratch(folder: str) -> None:
    """Use the scratch folder of the parent process."""
    _Scratch.folder = Path(folder)
    _Scratch.process = 0
    _Scratch.is_kept = True
    tempfile.tempdir = folder


def remove_scratch() -> None:
    """Remove this process's folder with its notes."""
    folder = _Scratch.folder
    _Scratch.folder = None
    if folder is not None and _Scratch.process == os.getpid():
        shutil.rmtree(folder, ignore_errors=True)


# ---- temporary files elsewhere ----


def name_temporary_file(file: Path) -> Path:
    """Return a temporary name beside `file`, to be renamed to it.

    The name is noted as a leftover.
    """
    mark = str(os.getpid())
    with suppress(OSError):
        mark = ensure_scratch_folder().name.rpartition("-")[2]
    temporary = file.with_name(f".{file.name}.{mark}")
    note_leftover(temporary)
    return temporary


def note_leftover(path: Path, unless: str = "") -> None:
    """Note a path to remove if this process is killed.

    A folder is kept if it holds something that matches the pattern `unless`.
    """
    _note({"kind": LEFTOVER_NOTE, "path": str(path.absolute()), "unless": unless})


def note_store(file: Path) -> None:
    """Note a SQLite store that this process writes to.

    If the process is killed, its RUNNING runs there become KILLED.
    """
    _note({"kind": STORE_NOTE, "path": str(file.absolute())})


def _note(note: dict[str, Any]) -> None:
    with (
        suppress(OSError),
        (ensure_scratch_folder() / NOTES_FILE).open("a", encoding="utf-8") as notes,
    ):
        notes.write(f"{json.dumps(note)}\n")


def read_notes(folder: Path) -> list[dict[str, Any]]:
    """Return the notes in a process's folder.

    An incomplete last one is ignored.
    """
    try:
        lines = (folder / NOTES_FILE).read_text(encoding="utf-8").splitlines(keepends=True)
    except (FileNotFoundError, NotADirectoryError):
        return []
    return [json.loads(line) for line in lines if line.endswith("\n")]


def _parent_folder() -> str:
    """Return the folder for temporary files in which scratch folders are created."""
    place = Path(tempfile.gettempdir())
    if place == _Scratch.folder:
        place = place.parent
    return str(place)


def _remove_at_exit() -> None:
    atexit.register(remove_scratch)
    util = sys.modules.get("multiprocessing.util")
    if util is not None:  # children of multiprocessing end without calling atexit's functions
        util.Finalize(None, remove_scratch, exitpriority=1)
