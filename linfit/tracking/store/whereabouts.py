"""Find out whether a store still lies where it was written.

Its addresses are absolute, and `outputs/` may be copied or moved. A folder of artifacts that was
chosen elsewhere is no move. A move needs evidence: the runs' folders lie beside the database, or
the recorded place has the database that this one is a copy of.
"""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from itertools import product
from pathlib import Path

from linfit.errors import RecordingError
from linfit.system.host import quote_word
from linfit.tracking.store.addresses import find_folder
from linfit.tracking.store.sqlite_files import open_checked
from linfit.tracking.store.store import (
    ARTIFACTS_FOLDER,
    SERVER_TIMEOUT,
    Store,
    format_store_command,
)

#: Folders above an experiment's that must be there for it to be made again: of all artifacts, and
#: of the store.
PARENTS_CHECKED = 2
#: Runs of an experiment by which a database is recognized as a copy of another.
RUNS_COMPARED = 10


@dataclass(frozen=True)
class FolderMove:
    """A recorded folder, and the folder that has its content now."""

    old: Path
    new: Path

    def move_folder(self, folder: Path) -> Path | None:
        """Return the present place of a folder below the old one.

        None for any other folder.
        """
        if folder.is_relative_to(self.old):
            return self.new / folder.relative_to(self.old)
        return None


@dataclass(frozen=True)
class _Experiment:
    """An MLflow experiment as its row has it, with its folder on this machine."""

    number: int
    folder: Path


def find_local_folder(store: Store, artifact_uri: str) -> Path | None:
    """Return the local folder of artifacts, None with a server.

    Where the folder has moved with its store, it is the one beside the store.
    """
    folder = find_folder(artifact_uri)
    if folder is None or store.file is None or _is_at_home(store.file, folder):
        return folder
    for move in _possible_moves(store.file, folder):
        place = move.move_folder(folder)
        if place is not None and _exists(place):
            return place
    return folder


def find_moves(store: Store, with_gone: bool = False) -> list[FolderMove]:
    """Return the artifact places that a SQLite store has left.

    With `with_gone` also places that are gone, although nothing of them lies beside the store.
    """
    file = store.file
    if file is None:
        return []
    moves = []
    try:
        with open_checked(file, to_write=False, timeout=SERVER_TIMEOUT) as database:
            for experiment in _experiments_elsewhere(database, file):
                move = _find_move(database, file, experiment, with_gone)
                if move is not None:
                    moves.append(move)
    except sqlite3.Error as error:
        raise RecordingError(
            f"the store {file} cannot be read: {error}; name another with tracking.uri"
        ) from error
    return list(dict.fromkeys(moves))


def require_settled(store: Store) -> None:
    """Raise RecordingError where a store was copied or moved.

    Who writes to it would write into the place that it came from.
    """
    for move in find_moves(store):
        raise RecordingError(
            f"the store {store} was copied or moved: it lies in {move.new} "
            f"and its artifacts are recorded in {move.old}; "
            f"`{format_store_command(store, 'relocate')}` rewrites their addresses"
        )


def require_not_gone(store: Store, experiment: str, location: str) -> None:
    """Raise RecordingError where an experiment's folder is gone.

    The two folders above it must be gone as well. These are not made again.
    """
    folder = find_folder(location)
    if folder is None or not is_folder_gone(folder):
        return
    if store.artifacts:
        chosen = find_folder(store.artifacts)
        if chosen and folder.is_relative_to(chosen):
            return
    typed = format_store_command(store, "relocate")
    if store.file is None or ARTIFACTS_FOLDER not in folder.parts[:-1]:
        typed += f" --from {quote_word(str(folder))} --to FOLDER"
    raise RecordingError(
        f"the MLflow experiment {experiment!r} keeps its artifacts in {folder}, "
        f"and nothing of that is here: `{typed}` rewrites their addresses"
    )


def is_folder_gone(folder: Path) -> bool:
    """Return True where a folder and its two parents are gone.

    They do not exist for this user.
    """
    return not any(map(_exists, (folder, *folder.parents[:PARENTS_CHECKED])))


def _experiments_elsewhere(database: sqlite3.Connection, file: Path) -> Iterator[_Experiment]:
    """Yield the experiments whose folder on this machine is not beside the database."""
    query = "SELECT experiment_id, artifact_location FROM experiments"
    for number, location in database.execute(query):
        if not isinstance(location, str):
            continue
        folder = find_folder(location)
        if folder is not None and folder.is_absolute() and not _is_at_home(file, folder):
            yield _Experiment(number, folder)


def _find_move(
    database: sqlite3.Connection, file: Path, experiment: _Experiment, with_gone: bool
) -> FolderMove | None:
    possible = list(_possible_moves(file, experiment.folder))
    for move in possible:
        if _has_runs(database, experiment, move) or _is_copied(database, file, experiment, move):
            return move
    if with_gone and possible and is_folder_gone(experiment.folder):
        return possible[-1]
    return None


def _possible_moves(file: Path, folder: Path) -> Iterator[FolderMove]:
    """Yield a move for each part of the folder's path that is called `artifacts`.

    The last part is left out: a run's own folder is called so too.
    """
    for index, part in enumerate(folder.parts[:-1]):
        if part == ARTIFACTS_FOLDER:
            yield FolderMove(Path(*folder.parts[:index]), file.parent)


def _has_runs(database: sqlite3.Connection, experiment: _Experiment, move: FolderMove) -> bool:
    """Return True where the folder beside the store has that of a run of the experiment."""
    query = "SELECT 1 FROM runs WHERE run_uuid = ? AND experiment_id = ?"
    folder = move.move_folder(experiment.folder)
    with suppress(OSError), os.scandir(str(folder)) as entries:
        for entry in entries:
            if database.execute(query, (entry.name, experiment.number)).fetchone():
                return True
    return False


def _is_copied(
    database: sqlite3.Connection, file: Path, experiment: _Experiment, move: FolderMove
) -> bool:
    """Return True where a database in the recorded place has a run of the experiment.

    Then this database is a copy of that one.
    """
    query = (
        "SELECT run_uuid FROM runs WHERE experiment_id = ? "
        f"ORDER BY start_time LIMIT {RUNS_COMPARED}"
    )
    runs = database.execute(query, (experiment.number,)).fetchall()
    with suppress(OSError):
        for other in sorted(move.old.glob(f"*{file.suffix}")):
            if other.is_file() and not other.samefile(file) and _has_any(other, runs):
                return True
    return False


def _has_any(file: Path, runs: list[tuple[str]]) -> bool:
    """Return True where a database has one of these runs."""
    with (
        suppress(sqlite3.Error, RecordingError),
        open_checked(file, to_write=False, timeout=SERVER_TIMEOUT) as database,
    ):
        for run in runs:
            if database.execute("SELECT 1 FROM runs WHERE run_uuid = ?", run).fetchone():
                return True
    return False


def _is_at_home(file: Path, folder: Path) -> bool:
    """Return True where a folder is below the database's own, also through a link or a mount."""
    homes = (file.parent, file.resolve().parent)
    if any(map(folder.is_relative_to, homes)):
        return True
    pairs = product((folder, *folder.parents), homes)
    return any(_is_same(place, home) for place, home in pairs)


def _is_same(one: Path, other: Path) -> bool:
    try:
        return one.samefile(other)
    except OSError:
        return False


def _exists(place: Path) -> bool:
    """Return True where a place exists and this user may look at it: Path.exists would raise."""
    try:
        return place.exists()
    except OSError:
        return False
