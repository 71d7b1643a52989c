"""What killed processes have left: each command removes it before it does anything else.

A process that is gone is known by the name of its folder for temporary files. What is a living process's, another user's, or not made by
linfit, is not touched.
"""

from __future__ import annotations

import os
import sqlite3
import stat
import tempfile
import time
from collections.abc import Iterator
from contextlib import closing, suppress
from pathlib import Path

from linfit.owner import is_dead, is_number_free, read_short_name
from linfit.scratch import LEFTOVER, PREFIX, STORE, read_notes
from linfit.tracking.addresses import connection_uri, folder_of, reading_uri
from linfit.writing import remove

#: Seconds that a store may be locked by others; who goes on with a sweep waits longer, and does the same.
PATIENCE = 0.2
#: In the name of a process's folder: a cheap look where there are many others.
DASHES = 4
#: What joblib's processes leave beside TMPDIR, by the number of the process that has started them.
SHARED, SHARED_NAMES = Path("/dev/shm"), ("sem.loky-{}-*", "joblib_memmapping_folder_{}_*")
LEFT_RUNNING = "SELECT run_uuid FROM runs JOIN tags USING (run_uuid) WHERE status = 'RUNNING' AND key = ? AND value = ?"
END = "UPDATE runs SET status = 'KILLED', end_time = ? WHERE run_uuid = ?"
OWN_ARTIFACTS = (
    "WITH own AS (SELECT run_uuid FROM tags WHERE key = :owner AND value = :process) SELECT artifact_uri FROM runs "
    "WHERE run_uuid IN own OR run_uuid IN (SELECT run_uuid FROM tags WHERE key = :parent AND value IN own)"
)
#: How MLflow names a file while it is copied among artifacts.
UPLOADING = ".artifact.uploading.*"
SAY_SO = "INSERT OR REPLACE INTO tags (key, value, run_uuid) VALUES (?, 'killed', ?)"


def remove_leftovers() -> None:
    """Remove what processes that were killed have left, and end the runs that they have left RUNNING in SQLite files."""
    with suppress(OSError):  # no folder for temporary files
        with os.scandir(tempfile.gettempdir()) as entries:
            folders = [
                Path(entry.path)
                for entry in entries
                if entry.name.startswith(PREFIX) and entry.name.count("-") == DASHES
            ]
        for folder in folders:
            process = read_short_name(folder.name.removeprefix(PREFIX).rpartition("-")[0])
            if process and is_dead(process) and _is_own_folder(folder):
                _clear(folder, process)


def _clear(folder: Path, process: str) -> None:
    for note in read_notes(folder):
        if note.get("kind") == LEFTOVER:
            _remove_unless(Path(note["path"]), note["unless"])
        elif note.get("kind") == STORE:
            _end_runs(Path(note["path"]), process)
            _remove_uploads(Path(note["path"]), process)
    for path in _shared(folder.parent, int(process.split()[-2])):
        remove(path)
    remove(folder)  # last: what is interrupted goes on with the next command


def _remove_unless(path: Path, pattern: str) -> None:
    """Remove a file or a folder, but not one that holds what the pattern finds, if there is one."""
    with suppress(OSError):
        if not (pattern and path.is_dir() and not path.is_symlink() and any(path.glob(pattern))):
            remove(path)


def _shared(place: Path, number: int) -> Iterator[Path]:
    """Yield what joblib has made for a process; nothing if another one has its number now."""
    if is_number_free(number):
        for folder in (SHARED, place):
            found = [path for name in SHARED_NAMES for path in folder.glob(name.format(number))]
            yield from filter(_is_own, found)


def _end_runs(file: Path, process: str) -> None:
    """Make the runs of a process KILLED, as `History.end_dead` does; what cannot be written now is left to that."""
    from linfit.tracking.layout import OWNER, STATUS  # with much else, which no other command needs

    with (
        suppress(sqlite3.Error),
        closing(sqlite3.connect(connection_uri(file), uri=True, timeout=PATIENCE)) as store,
        store,
    ):
        store.execute("BEGIN IMMEDIATE")
        now = time.time_ns() // 1_000_000
        for (run_id,) in store.execute(LEFT_RUNNING, (OWNER, process)).fetchall():
            store.execute(END, (now, run_id))
            store.execute(SAY_SO, (STATUS, run_id))


def _remove_uploads(file: Path, process: str) -> None:
    """Remove what MLflow had begun to copy among the artifacts of a process's runs, and of the fits of its sweeps."""
    from linfit.tracking.layout import OWNER, PARENT

    with (
        suppress(sqlite3.Error),
        closing(sqlite3.connect(reading_uri(file), uri=True, timeout=PATIENCE)) as store,
    ):
        for (address,) in store.execute(
            OWN_ARTIFACTS, {"owner": OWNER, "process": process, "parent": PARENT}
        ).fetchall():
            folder = folder_of(address or "")
            if folder is None or not folder.is_relative_to(file.parent):
                continue  # it may be a place that is not linfit's, and large
            for path in folder.rglob(UPLOADING):
                remove(path)


def _is_own(path: Path) -> bool:
    with suppress(OSError):
        return not hasattr(os, "getuid") or path.lstat().st_uid == os.getuid()
    return False


def _is_own_folder(path: Path) -> bool:
    return _is_own(path) and stat.S_ISDIR(path.lstat().st_mode)
