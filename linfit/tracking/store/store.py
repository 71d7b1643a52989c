"""Resolve the MLflow store that is meant, and ensure that it exists.

MLflow's own creation of a SQLite store is neither atomic nor safe for several processes: here an
absent store is created elsewhere, and then moved into its place as one file, under a lock beside
it.
"""

from __future__ import annotations

import hashlib
import logging
import os
import re
import socket
import sqlite3
import tempfile
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from tempfile import TemporaryFile
from urllib.parse import urlsplit

from linfit.errors import RecordingError
from linfit.system.atomic_files import create_folder, write_atomically
from linfit.system.host import quote_word
from linfit.system.log_limits import limit_logging
from linfit.system.scratch import temporary_folder
from linfit.tracking.secrets.masking import mask
from linfit.tracking.store import addresses, sqlite_files

DEFAULT_URI = "sqlite:///outputs/mlflow.db"
SERVER_TIMEOUT = 5.0
LOCK_TIMEOUT = 120.0
#: The folder of artifacts beside a SQLite store.
ARTIFACTS_FOLDER = "artifacts"
#: The id of the MLflow experiment that every new store has.
DEFAULT_EXPERIMENT_ID = "0"
ARTIFACTS_ADVICE = "name another with tracking.artifacts"
#: Names of devices, which no folder on Windows may have, and names with a blank at the end, which
#: Windows removes.
_NO_FOLDER = re.compile(r"(con|prn|aux|nul|(com|lpt)[0-9¹²³]) *|.* ", re.IGNORECASE)
#: MLflow's word for the workspace of the default profile.
DATABRICKS = "databricks"
STORE_SCHEMES = ("sqlite", "postgresql", "mysql", "mssql", "http", "https", DATABRICKS)


@dataclass(frozen=True)
class Store:
    """An absolute MLflow tracking URI, with the place for artifacts.

    It is the place of new experiments' artifacts. That place is None if the server decides.
    """

    uri: str
    artifacts: str | None

    @property
    def file(self) -> Path | None:
        """The database file of a SQLite store; None for other stores."""
        if addresses.is_sqlite(self.uri):
            return addresses.parse_sqlite_uri(self.uri)[0]
        return None

    @property
    def is_server(self) -> bool:
        return urlsplit(self.uri).scheme in ("http", "https")

    @property
    def names_places(self) -> bool:
        """True for a tracking server, which places artifacts itself."""
        return self.is_server or urlsplit(self.uri).scheme == DATABRICKS or self.uri == DATABRICKS

    def __str__(self) -> str:
        return mask(self.uri)


def default_artifacts(store: Store) -> str | None:
    """Return the default artifact place of a SQLite store.

    None if a server decides.
    """
    if store.file is None:
        return None
    return addresses.format_address(store.file.parent / ARTIFACTS_FOLDER)


def resolve_store(uri: str | None = None, artifacts: str | None = None) -> Store:
    """Return the store of `uri`, else of MLFLOW_TRACKING_URI, else the default.

    The default one is in the working directory. RecordingError if MLflow has no such stores.
    """
    uri = uri or os.environ.get("MLFLOW_TRACKING_URI") or DEFAULT_URI
    scheme = uri if uri == DATABRICKS else urlsplit(uri).scheme
    if scheme in ("", "file"):
        raise RecordingError(
            f"tracking.uri {mask(uri)!r} is a folder, which MLflow refuses as a store: "
            "write sqlite:///path/to/mlflow.db"
        )
    if scheme.split("+")[0] not in STORE_SCHEMES:
        raise RecordingError(
            f"tracking.uri {mask(uri)!r} is no MLflow store: "
            f"it begins with one of {', '.join(STORE_SCHEMES)}"
        )
    place = addresses.resolve_address(artifacts) if artifacts else None
    if scheme.split("+")[0] != addresses.SQLITE_SCHEME:
        return Store(uri, place)
    name, options = addresses.parse_sqlite_uri(uri)
    file = name.absolute()
    place = place or addresses.format_address(file.parent / ARTIFACTS_FOLDER)
    return Store(addresses.format_sqlite_uri(file, options), place)


def experiment_folder(store: Store, experiment: str) -> str | None:
    """Return the artifact place of a new MLflow experiment.

    It is a folder with its name, made safe. MLflow decodes percent signs in a path, so that an
    encoded `../` would lead out of the folder: whatever is no letter, digit, blank, hyphen or
    underscore is replaced. A digest then keeps different names apart, also from those that Windows
    reserves.
    """
    if store.artifacts is None:
        return None
    segment = re.sub(r"[^\w -]", "_", experiment)[:80]
    if segment != experiment or _NO_FOLDER.fullmatch(segment):
        segment += f"-{hashlib.sha256(experiment.encode()).hexdigest()[:8]}"
    return addresses.join_address(store.artifacts, segment)


def format_store_command(store: Store, name: str = "ui") -> str:
    """Return a command that opens a store.

    It opens MLflow's UI, or is another command of linfit for it.
    """
    default = None
    # The environment may name no usable store.
    with suppress(RecordingError):
        default = resolve_store()
    if default is not None and default.uri == store.uri:
        return f"linfit {name}"
    return f"linfit {name} --uri {quote_word(str(store))}"


def ensure_store(store: Store) -> None:
    """Create an absent SQLite store, and check that a server answers.

    RecordingError otherwise.
    """
    require_migrations(store)
    if store.file is not None:
        if not _has_tables(store.file):
            _create(store, store.file)
    elif store.is_server:
        require_server(store)


def require_migrations(store: Store) -> None:
    """Raise RecordingError if MLflow cannot find its migrations.

    It needs them to open a database. It passes their folder to a setting of alembic, where a
    percent sign starts a reference.
    """
    found = find_spec("mlflow")
    if found is not None and "%" in str(found.origin) and not store.is_server:
        folder = Path(str(found.origin)).parent
        raise RecordingError(
            f"MLflow opens no database from {folder}, which has a % in its name: "
            "install linfit elsewhere"
        )


def require_artifacts(folder: str, advice: str) -> None:
    """Create a folder for artifacts, if it is a local one.

    RecordingError if it is not writable.
    """
    place = addresses.find_folder(folder)
    if place is None:
        return
    try:
        create_folder(place)
        TemporaryFile(dir=place).close()
    except OSError as error:
        why = error.strerror or error
        raise RecordingError(
            f"the folder for artifacts, {place}, cannot be written: {why}; {advice}"
        ) from error


def require_store(store: Store) -> None:
    """Raise RecordingError if a store cannot be read.

    It is absent, unreadable, or does not answer.
    """
    if store.file is not None and not store.file.exists():
        raise RecordingError(
            f"there is no store at {store.file}: "
            "run something first, or name another with --uri or MLFLOW_TRACKING_URI"
        )
    require_migrations(store)
    # A store that another program is writing to can be read.
    if store.file is None or not _has_tables(store.file, to_write=False):
        ensure_store(store)


def require_server(store: Store) -> None:
    """Raise RecordingError if a server does not answer.

    MLflow itself would retry for minutes.
    """
    address = urlsplit(store.uri)
    try:
        port = address.port or (443 if address.scheme == "https" else 80)
        socket.create_connection((address.hostname or "", port), SERVER_TIMEOUT).close()
    except (OSError, ValueError) as error:
        raise RecordingError(
            f"the tracking server {store} does not answer ({error}): "
            "start it, or name another with tracking.uri"
        ) from error


def _has_tables(file: Path, to_write: bool = True) -> bool:
    """Return True if a file is a store of MLflow's; False if it is absent or empty.

    RecordingError if it is no database of MLflow's, or cannot be written (or read). To read, too,
    it is opened for writing where that is allowed: an unfinished transaction of a killed process
    has to be rolled back first.
    """
    if not file.exists() or file.stat().st_size == 0:
        return False
    query = "SELECT count(*) FROM sqlite_master WHERE name = 'alembic_version'"
    try:
        with sqlite_files.open_checked(file, to_write, SERVER_TIMEOUT) as database:
            if to_write:
                # A lock shows now, and not after something was written.
                database.execute("BEGIN IMMEDIATE")
            (count,) = database.execute(query).fetchone()
    except sqlite3.Error as error:
        done = "written" if to_write else "read"
        raise RecordingError(
            f"the store {file} cannot be {done}: {error}; {advise_on_error(str(error))}"
        ) from error
    if not count:
        raise RecordingError(
            f"{file} is a SQLite database but not MLflow's: name another with tracking.uri"
        )
    return True


def advise_on_error(error: str) -> str:
    """Return what a user can do about an error of SQLite's."""
    if "locked" in error:
        return (
            "another program holds it: "
            "wait for that to end, or name another store with tracking.uri"
        )
    return "name another with tracking.uri"


def _create(store: Store, file: Path) -> None:
    from filelock import FileLock

    try:
        create_folder(file.parent)
        # Fail at once where a lock file would be waited for.
        TemporaryFile(dir=file.parent).close()
        if store.artifacts is not None:
            require_artifacts(store.artifacts, ARTIFACTS_ADVICE)
        with FileLock(f"{file}.lock", timeout=LOCK_TIMEOUT):
            if not _has_tables(file):
                _put_into_place(file, store.artifacts or "")
    except (OSError, sqlite3.Error) as error:
        raise RecordingError(
            f"the store {file} cannot be made: {_find_cause(error)}; name another with tracking.uri"
        ) from error


@contextmanager
def lock_store(store: Store) -> Iterator[None]:
    """Have other commands that lock a SQLite store wait; a server is not locked.

    RecordingError if it cannot be locked in time.
    """
    if store.file is None:
        yield
        return
    from filelock import FileLock

    lock = FileLock(f"{store.file}.lock", timeout=LOCK_TIMEOUT)
    try:
        lock.acquire()
    except OSError as error:
        raise RecordingError(
            f"the store {store.file} cannot be locked: {_find_cause(error)}; try again later"
        ) from error
    try:
        yield
    finally:
        lock.release()


def _put_into_place(file: Path, artifacts: str) -> None:
    own = addresses.join_address(artifacts, DEFAULT_EXPERIMENT_ID)
    content = create_empty_store()
    with write_atomically(file) as temporary:
        # SQLite's own mode.
        temporary.touch(0o644)
        temporary.write_bytes(content)
        with closing(sqlite3.connect(temporary)) as database, database:
            # Nobody reads this file before it is complete.
            database.execute("PRAGMA journal_mode = MEMORY")
            database.execute(
                "UPDATE experiments SET artifact_location = ? WHERE experiment_id = ?",
                (own, DEFAULT_EXPERIMENT_ID),
            )


@cache
def create_empty_store() -> bytes:
    """Return the content of an empty SQLite store.

    MLflow creates it within a second. Its artifacts have no place yet. RecordingError if no
    temporary file of its size can be written.
    """
    from mlflow.exceptions import MlflowException
    from sqlalchemy.exc import SQLAlchemyError

    try:
        return _create_elsewhere()
    except (MlflowException, SQLAlchemyError, sqlite3.Error, OSError) as error:
        why = f"{_find_cause(error)}; make room there, or name another folder with TMPDIR"
        raise RecordingError(
            f"MLflow's tables cannot be made in {tempfile.tempdir or 'a temporary folder'}: {why}"
        ) from error


def _create_elsewhere() -> bytes:
    from mlflow.store.tracking.sqlalchemy_store import SqlAlchemyStore

    with temporary_folder() as folder, limit_logging("mlflow", "alembic", least=logging.CRITICAL):
        file = (folder / "mlflow.db").resolve()
        with skip_flushing(file):
            # Windows does not remove a file that MLflow still holds.
            SqlAlchemyStore(
                addresses.format_sqlite_uri(file), f"{folder}/artifacts"
            )._dispose_engine()
        return file.read_bytes()


def _find_cause(error: Exception) -> str:
    """Return the first line of the innermost error of the disk or of SQLite that led to `error`."""
    inner: BaseException | None = error
    cause: BaseException = error
    while inner is not None:
        if isinstance(inner, (OSError, sqlite3.Error)):
            cause = inner
        inner = inner.__cause__ or inner.__context__
    return str(getattr(cause, "strerror", None) or cause).partition("\n")[0]


@contextmanager
def skip_flushing(file: Path) -> Iterator[None]:
    """Have SQLite not wait for the disk after each migration.

    A new store has sixty.
    """
    from sqlalchemy import Engine, event

    def skip_flushes(connection: sqlite3.Connection, _: object) -> None:
        if connection.execute("PRAGMA database_list").fetchone()[2] == str(file):
            connection.execute("PRAGMA synchronous = OFF")

    event.listen(Engine, "connect", skip_flushes)
    try:
        yield
    finally:
        event.remove(Engine, "connect", skip_flushes)
