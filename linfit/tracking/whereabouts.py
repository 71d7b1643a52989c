"""Find out whether a store still lies where it was written: its addresses are absolute, and `outputs/` may be copied or moved.

A folder of artifacts that was chosen elsewhere is no move. A move needs evidence: the runs' folders lie beside
the database, or the place that is recorded belongs to the database that this one was copied from.
"""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from linfit.errors import RecordingError
from linfit.system import quote_word
from linfit.tracking.addresses import folder_of
from linfit.tracking.sqlite_files import connect
from linfit.tracking.store import ARTIFACTS, SERVER_TIMEOUT, Store, command

#: Folders above an experiment's that must be there for it to be made again: of all artifacts, and of the store.
ABOVE = 2
#: Runs of an experiment by which a database is known to be a copy of another.
COMPARED = 10


@dataclass(frozen=True)
class Move:
    """A folder that is recorded, and the one that its content lies in now."""

    old: Path
    new: Path

    def moved(self, folder: Path) -> Path | None:
        """Return where a folder below the old place is now; None for any other folder."""
        return self.new / folder.relative_to(self.old) if folder.is_relative_to(self.old) else None


@dataclass(frozen=True)
class _Experiment:
    """An MLflow experiment as its row has it, with its folder on this machine."""

    number: int
    folder: Path


def local_folder(store: Store, artifact_uri: str) -> Path | None:
    """Return where artifacts lie on this machine: beside the store where they moved with it. None where a server has them."""
    folder = folder_of(artifact_uri)
    if folder is None or store.file is None or _is_at_home(store.file, folder):
        return folder
    places = (move.moved(folder) for move in _possible_moves(store.file, folder))
    return next((place for place in places if place is not None and _exists(place)), folder)


def find_moves(store: Store, with_gone: bool = False) -> list[Move]:
    """Return the places of artifacts that a SQLite store has recorded, and has left since.

    With `with_gone` also those that are gone, although nothing of them lies beside the store.
    """
    file = store.file
    if file is None:
        return []
    try:
        with connect(file, to_write=False, timeout=SERVER_TIMEOUT) as database:
            moves = [
                _find_move(database, file, experiment, with_gone)
                for experiment in _away(database, file)
            ]
    except sqlite3.Error as error:
        raise RecordingError(
            f"the store {file} cannot be read: {error}; name another with tracking.uri"
        ) from error
    return list(dict.fromkeys(move for move in moves if move is not None))


def require_settled(store: Store) -> None:
    """RecordingError where a store was copied or moved: what writes to it would write into the place that it came from."""
    for move in find_moves(store):
        raise RecordingError(
            f"the store {store} was copied or moved: it lies in {move.new} and its artifacts are recorded in {move.old}; "
            f"`{command(store, 'relocate')}` rewrites their addresses"
        )


def require_not_gone(store: Store, experiment: str, location: str) -> None:
    """RecordingError where the folder of an MLflow experiment is gone with the two above it: they are not made again."""
    folder, chosen = folder_of(location), folder_of(store.artifacts or "")
    if (
        folder is None
        or not is_gone(folder)
        or (store.artifacts and chosen and folder.is_relative_to(chosen))
    ):
        return
    known = store.file is not None and ARTIFACTS in folder.parts[:-1]
    typed = command(store, "relocate") + (
        "" if known else f" --from {quote_word(str(folder))} --to FOLDER"
    )
    raise RecordingError(
        f"the MLflow experiment {experiment!r} keeps its artifacts in {folder}, and nothing of that is here: "
        f"`{typed}` rewrites their addresses"
    )


def is_gone(folder: Path) -> bool:
    """True where neither a folder nor the two above it exist, as far as this user may look."""
    return not any(_exists(place) for place in (folder, *folder.parents[:ABOVE]))


def _away(database: sqlite3.Connection, file: Path) -> Iterator[_Experiment]:
    """Yield the experiments whose folder on this machine is not beside the database."""
    for number, location in database.execute(
        "SELECT experiment_id, artifact_location FROM experiments"
    ):
        folder = folder_of(location) if isinstance(location, str) else None
        if folder is not None and folder.is_absolute() and not _is_at_home(file, folder):
            yield _Experiment(number, folder)


def _find_move(
    database: sqlite3.Connection, file: Path, experiment: _Experiment, with_gone: bool
) -> Move | None:
    possible = list(_possible_moves(file, experiment.folder))
    for move in possible:
        if _has_runs(database, experiment, move) or _is_copied(database, file, experiment, move):
            return move
    return possible[-1] if with_gone and possible and is_gone(experiment.folder) else None


def _possible_moves(file: Path, folder: Path) -> Iterator[Move]:
    """Yield how a folder may have moved with its store, once for each part of its path that is called `artifacts`."""
    for place, part in enumerate(folder.parts[:-1]):  # a run's own folder ends in it too
        if part == ARTIFACTS:
            yield Move(Path(*folder.parts[:place]), file.parent)


def _has_runs(database: sqlite3.Connection, experiment: _Experiment, move: Move) -> bool:
    """True where the folder beside the store has that of a run of the experiment."""
    query = "SELECT 1 FROM runs WHERE run_uuid = ? AND experiment_id = ?"
    folder = move.moved(experiment.folder)
    try:
        with os.scandir(str(folder)) as entries:
            return any(
                database.execute(query, (entry.name, experiment.number)).fetchone()
                for entry in entries
            )
    except OSError:
        return False


def _is_copied(
    database: sqlite3.Connection, file: Path, experiment: _Experiment, move: Move
) -> bool:
    """True where a database that still lies in the recorded place has a run of the experiment: ours is a copy of it."""
    query = (
        f"SELECT run_uuid FROM runs WHERE experiment_id = ? ORDER BY start_time LIMIT {COMPARED}"
    )
    runs = database.execute(query, (experiment.number,)).fetchall()
    with suppress(OSError):
        others = [
            other
            for other in sorted(move.old.glob(f"*{file.suffix}"))
            if other.is_file() and not other.samefile(file)
        ]
        return any(_has_any(other, runs) for other in others)
    return False


def _has_any(file: Path, runs: list[tuple[str]]) -> bool:
    """True where a database has one of these runs."""
    with (
        suppress(sqlite3.Error, RecordingError),
        connect(file, to_write=False, timeout=SERVER_TIMEOUT) as database,
    ):
        return any(
            database.execute("SELECT 1 FROM runs WHERE run_uuid = ?", run).fetchone()
            for run in runs
        )
    return False


def _is_at_home(file: Path, folder: Path) -> bool:
    """True where a folder is below the database's own, by whatever path: through a link, or another mount."""
    homes = (file.parent, file.resolve().parent)
    if any(folder.is_relative_to(home) for home in homes):
        return True
    return any(_is_same(place, home) for place in (folder, *folder.parents) for home in homes)


def _is_same(one: Path, other: Path) -> bool:
    try:
        return one.samefile(other)
    except OSError:
        return False


def _exists(place: Path) -> bool:
    """True where a place is there and this user may look at it: Path.exists raises where it may not."""
    try:
        return place.exists()
    except OSError:
        return False
