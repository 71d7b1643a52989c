"""Temporary files. Each process keeps its own in one folder, whose name says which process that is.

    TMPDIR/linfit-PLACE-PID-BEGAN-RANDOM/   temporary files and folders
        notes.jsonl                         what the process may leave elsewhere if it is killed, and the stores it writes to

A process removes its folder when it ends, and `linfit.tracking.leftovers` those of processes that were killed. The processes that it
starts use the folder too.
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

from linfit.owner import short_name

PREFIX, NOTES = "linfit-", "notes.jsonl"
#: What a note is about: a file or a folder; a SQLite store.
LEFTOVER, STORE = "leftover", "store"


class _Scratch:
    """The folder of this process, or of the one that has started it."""

    folder: Path | None = None
    process = 0
    """The number of the process that has made it, which a forked child has not; 0 if it is another's."""
    is_kept = False
    """True while it is kept although it is empty."""
    lock = Lock()


def scratch_folder() -> Path:
    """Return this process's folder for temporary files, made if absent; OSError if none can be made."""
    with _Scratch.lock:
        folder = _Scratch.folder
        if folder is None or _Scratch.process not in (0, os.getpid()) or not folder.is_dir():
            folder = Path(tempfile.mkdtemp(prefix=f"{PREFIX}{short_name()}-", dir=_outside()))
            _Scratch.folder, _Scratch.process = folder, os.getpid()
            _remove_at_exit()
        return folder


def new_folder() -> Path:
    """Return a new temporary folder, which goes with the process if nobody removes it before."""
    return Path(tempfile.mkdtemp(dir=scratch_folder()))


def discard_folder(folder: Path) -> None:
    """Remove a folder of `new_folder`."""
    shutil.rmtree(folder, ignore_errors=True)
    if not _Scratch.is_kept and folder.parent == _Scratch.folder:
        with suppress(OSError):  # something else is in it
            folder.parent.rmdir()


@contextmanager
def temporary_folder() -> Iterator[Path]:
    """A new folder, removed at the end."""
    folder = new_folder()
    try:
        yield folder
    finally:
        discard_folder(folder)


@contextmanager
def temporary_files_in_scratch() -> Iterator[None]:
    """All temporary files of this process, also those of libraries, are made in its folder, which is removed at the end."""
    before, is_kept = tempfile.tempdir, _Scratch.is_kept
    with suppress(OSError):  # no room: whoever needs a temporary file says so
        tempfile.tempdir = str(scratch_folder())
        _Scratch.is_kept = True
    try:
        yield
    finally:
        tempfile.tempdir, _Scratch.is_kept = before, is_kept
        if not is_kept:
            remove_scratch()


def share_scratch(folder: str) -> None:
    """Use the folder of the process that has started this one."""
    _Scratch.folder, _Scratch.process, _Scratch.is_kept = Path(folder), 0, True
    tempfile.tempdir = folder


def remove_scratch() -> None:
    """Remove this process's folder: nothing that is noted there is left over."""
    folder, _Scratch.folder = _Scratch.folder, None
    if folder is not None and _Scratch.process == os.getpid():
        shutil.rmtree(folder, ignore_errors=True)


# ---- what is temporary elsewhere ----


def name_beside(file: Path) -> Path:
    """Return a name in the folder of `file` under which this process writes it before it is renamed."""
    mark = str(os.getpid())
    with suppress(OSError):
        mark = scratch_folder().name.rpartition("-")[2]
    temporary = file.with_name(f".{file.name}.{mark}")
    note_leftover(temporary)
    return temporary


def note_leftover(path: Path, unless: str = "") -> None:
    """Note a file or folder that is of no use if this process is killed, `unless` the folder holds what this pattern finds."""
    _note({"kind": LEFTOVER, "path": str(path.absolute()), "unless": unless})


def note_store(file: Path) -> None:
    """Note the SQLite store to which this process writes: runs that it leaves RUNNING there are KILLED."""
    _note({"kind": STORE, "path": str(file.absolute())})


def _note(note: dict[str, Any]) -> None:
    with suppress(OSError), (scratch_folder() / NOTES).open("a", encoding="utf-8") as notes:
        notes.write(f"{json.dumps(note)}\n")


def read_notes(folder: Path) -> list[dict[str, Any]]:
    """Return the notes in the folder of a process; a last one that was cut off is left out."""
    file = folder / NOTES
    lines = file.read_text(encoding="utf-8").splitlines(keepends=True) if file.exists() else []
    return [json.loads(line) for line in lines if line.endswith("\n")]


def _outside() -> str:
    """Return the folder for temporary files that is not this process's own."""
    place = Path(tempfile.gettempdir())
    return str(place.parent if place == _Scratch.folder else place)


def _remove_at_exit() -> None:
    atexit.register(remove_scratch)
    if (
        util := sys.modules.get("multiprocessing.util")
    ) is not None:  # whose children end without what atexit has
        util.Finalize(None, remove_scratch, exitpriority=1)
