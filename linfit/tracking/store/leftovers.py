"""Remove what killed processes have left; each command does this before anything else.

The name of a folder for temporary files says which process it belongs to. The folders of running
processes, of other users, and of other programs are not touched.
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

from linfit.system.atomic_files import remove_path
from linfit.system.process_owner import is_pid_free, is_process_gone, parse_short_identity
from linfit.system.scratch import LEFTOVER_NOTE, SCRATCH_PREFIX, STORE_NOTE, read_notes
from linfit.tracking.store.addresses import find_folder, format_connection_uri, format_reading_uri

#: Seconds for which a locked store is waited for. A command that resumes the sweep waits longer,
#: and ends the same runs.
LOCK_PATIENCE = 0.2
#: Dashes in the name of a process's folder: a cheap test among many other folders.
DASHES_IN_NAME = 4
#: The folder of shared memory, and what joblib's processes leave there and in TMPDIR, by the number
#: of their parent.
SHARED_MEMORY = Path("/dev/shm")
SHARED_PATTERNS = ("sem.loky-{}-*", "joblib_memmapping_folder_{}_*")
SELECT_LEFT_RUNNING = (
    "SELECT run_uuid FROM runs JOIN tags USING (run_uuid) "
    "WHERE status = 'RUNNING' AND key = ? AND value = ?"
)
END_RUN = "UPDATE runs SET status = 'KILLED', end_time = ? WHERE run_uuid = ?"
SELECT_OWN_ARTIFACTS = (
    "WITH own AS (SELECT run_uuid FROM tags WHERE key = :owner AND value = :process) "
    "SELECT artifact_uri FROM runs WHERE run_uuid IN own "
    "OR run_uuid IN (SELECT run_uuid FROM tags WHERE key = :parent AND value IN own)"
)
#: The name of a file that MLflow is copying among artifacts.
UPLOAD_PATTERN = ".artifact.uploading.*"
TAG_AS_KILLED = "INSERT OR REPLACE INTO tags (key, value, run_uuid) VALUES (?, 'killed', ?)"


def remove_leftovers() -> None:
    """Remove what killed processes have left.

    Their RUNNING runs in SQLite files are ended.
    """
    # Without a folder for temporary files, nothing was left.
    with suppress(OSError):
        for folder in _process_folders(Path(tempfile.gettempdir())):
            process = parse_short_identity(
                folder.name.removeprefix(SCRATCH_PREFIX).rpartition("-")[0]
            )
            if process and is_process_gone(process) and _is_own_folder(folder):
                _clear(folder, process)


def _process_folders(place: Path) -> list[Path]:
    folders = []
    with os.scandir(place) as entries:
        for entry in entries:
            name = entry.name
            if name.startswith(SCRATCH_PREFIX) and name.count("-") == DASHES_IN_NAME:
                folders.append(place / name)
    return folders


def _clear(folder: Path, process: str) -> None:
    for note in read_notes(folder):
        if note.get("kind") == LEFTOVER_NOTE:
            _remove_unless(Path(note["path"]), note["unless"])
        elif note.get("kind") == STORE_NOTE:
            _end_runs(Path(note["path"]), process)
            _remove_uploads(Path(note["path"]), process)
    for path in _shared(folder.parent, int(process.split()[-2])):
        remove_path(path)
    # Last: if this is interrupted, the next command continues.
    remove_path(folder)


def _remove_unless(path: Path, pattern: str) -> None:
    """Remove a file or folder, unless it is a folder that holds a file of a (non-empty) pattern."""
    with suppress(OSError):
        is_folder = path.is_dir() and not path.is_symlink()
        if not (pattern and is_folder and any(path.glob(pattern))):
            remove_path(path)


def _shared(place: Path, number: int) -> Iterator[Path]:
    """Yield what joblib has made for a process; nothing if another process has its number now."""
    if not is_pid_free(number):
        return
    for folder in (SHARED_MEMORY, place):
        for name in SHARED_PATTERNS:
            yield from filter(_is_own, list(folder.glob(name.format(number))))


def _end_runs(file: Path, process: str) -> None:
    """Set the RUNNING runs of a process to KILLED.

    If the store is locked now, `History.end_dead` does it later.
    """
    # Imported here, with much else, which no other command needs.
    from linfit.tracking.schema.mlflow_names import OWNER, STATUS

    address = format_connection_uri(file)
    with (
        suppress(sqlite3.Error),
        closing(sqlite3.connect(address, uri=True, timeout=LOCK_PATIENCE)) as store,
        store,
    ):
        store.execute("BEGIN IMMEDIATE")
        now = time.time_ns() // 1_000_000
        for (run_id,) in store.execute(SELECT_LEFT_RUNNING, (OWNER, process)).fetchall():
            store.execute(END_RUN, (now, run_id))
            store.execute(TAG_AS_KILLED, (STATUS, run_id))


def _remove_uploads(file: Path, process: str) -> None:
    """Remove unfinished copies among the artifacts of a process's runs and its sweeps' fits."""
    from linfit.tracking.schema.mlflow_names import OWNER, PARENT

    address = format_reading_uri(file)
    named = {"owner": OWNER, "process": process, "parent": PARENT}
    with (
        suppress(sqlite3.Error),
        closing(sqlite3.connect(address, uri=True, timeout=LOCK_PATIENCE)) as store,
    ):
        for (uri,) in store.execute(SELECT_OWN_ARTIFACTS, named).fetchall():
            folder = find_folder(uri or "")
            # Any other place may be somebody else's, and large.
            if folder is not None and folder.is_relative_to(file.parent):
                for path in folder.rglob(UPLOAD_PATTERN):
                    remove_path(path)


def _is_own(path: Path) -> bool:
    with suppress(OSError):
        return not hasattr(os, "getuid") or path.lstat().st_uid == os.getuid()
    return False


def _is_own_folder(path: Path) -> bool:
    return _is_own(path) and stat.S_ISDIR(path.lstat().st_mode)
