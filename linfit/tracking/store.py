"""Which MLflow store is meant, and making sure that it is there.

MLflow's own creation of a SQLite store is neither atomic nor safe for several processes: here an absent store is made
elsewhere, and then put into its place whole, under a lock beside it.
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
from linfit.scratch import temporary_folder
from linfit.system import quote_word
from linfit.tracking import addresses, sqlite_files
from linfit.tracking.masking import mask
from linfit.writing import make_folder, whole

DEFAULT_URI = "sqlite:///outputs/mlflow.db"
SERVER_TIMEOUT = 5.0
LOCK_TIMEOUT = 120.0
#: The folder of artifacts beside a SQLite store.
ARTIFACTS = "artifacts"
#: The id of the MLflow experiment that every store begins with.
DEFAULT_EXPERIMENT = "0"
OTHER_ARTIFACTS = "name another with tracking.artifacts"
#: Names of devices, which no folder on Windows may have, and a blank at the end, which it would lose there.
_NO_FOLDER = re.compile(r"(con|prn|aux|nul|(com|lpt)[0-9¹²³]) *|.* ", re.IGNORECASE)
#: MLflow takes the word for the workspace of the default profile.
DATABRICKS = "databricks"
SCHEMES = ("sqlite", "postgresql", "mysql", "mssql", "http", "https", DATABRICKS)


@dataclass(frozen=True)
class Store:
    """An MLflow tracking URI, made absolute, and where the artifacts of new experiments go (None: the server decides)."""

    uri: str
    artifacts: str | None

    @property
    def file(self) -> Path | None:
        """The database file of a SQLite store."""
        return addresses.parse_sqlite_uri(self.uri)[0] if addresses.is_sqlite(self.uri) else None

    @property
    def is_server(self) -> bool:
        return urlsplit(self.uri).scheme in ("http", "https")

    @property
    def names_places(self) -> bool:
        """True for a tracking server, which says itself where artifacts go."""
        return self.is_server or urlsplit(self.uri).scheme == DATABRICKS or self.uri == DATABRICKS

    def __str__(self) -> str:
        return mask(self.uri)


def default_artifacts(store: Store) -> str | None:
    """Return where the artifacts of a SQLite store go that names no other place; None where a server decides."""
    return None if store.file is None else addresses.address_of(store.file.parent / ARTIFACTS)


def locate(uri: str | None = None, artifacts: str | None = None) -> Store:
    """The store of `uri`, or of MLFLOW_TRACKING_URI, or the default one below the working directory."""
    uri = uri or os.environ.get("MLFLOW_TRACKING_URI") or DEFAULT_URI
    scheme = uri if uri == DATABRICKS else urlsplit(uri).scheme
    if scheme in ("", "file"):
        raise RecordingError(
            f"tracking.uri {mask(uri)!r} is a folder, which MLflow refuses as a store: write sqlite:///path/to/mlflow.db"
        )
    if scheme.split("+")[0] not in SCHEMES:
        raise RecordingError(
            f"tracking.uri {mask(uri)!r} is no MLflow store: it begins with one of {', '.join(SCHEMES)}"
        )
    place = addresses.absolute_address(artifacts) if artifacts else None
    if scheme.split("+")[0] != addresses.SQLITE:
        return Store(uri, place)
    name, options = addresses.parse_sqlite_uri(uri)
    file = name.absolute()
    return Store(
        addresses.sqlite_uri(file, options), place or addresses.address_of(file.parent / ARTIFACTS)
    )


def experiment_folder(store: Store, experiment: str) -> str | None:
    """Where the artifacts of a new MLflow experiment go: its name as one safe path segment.

    MLflow decodes percent signs in a path, so that an encoded `../` would lead out of the folder: what is no letter, digit, blank,
    hyphen or underscore is replaced, and a digest keeps different names apart, also from those that Windows keeps for itself.
    """
    if store.artifacts is None:
        return None
    segment = re.sub(r"[^\w -]", "_", experiment)[:80]
    if segment != experiment or _NO_FOLDER.fullmatch(segment):
        segment += f"-{hashlib.sha256(experiment.encode()).hexdigest()[:8]}"
    return addresses.join_address(store.artifacts, segment)


def command(store: Store, name: str = "ui") -> str:
    """Return what to type to look at a store, or for what another command of linfit does with it."""
    default = None
    with suppress(RecordingError):  # what the environment says is of no use
        default = locate()
    is_default = default is not None and default.uri == store.uri
    return f"linfit {name}" if is_default else f"linfit {name} --uri {quote_word(str(store))}"


def prepare(store: Store) -> None:
    """Makes an absent SQLite store; checks that a server answers. RecordingError, in one line, otherwise."""
    require_migrations(store)
    if store.file is not None:
        if not _has_tables(store.file):
            _create(store, store.file)
    elif store.is_server:
        require_server(store)


def require_migrations(store: Store) -> None:
    """Raise RecordingError where MLflow cannot find the migrations that it looks at whenever it opens a database.

    It names their folder in a setting of alembic's, where a percent sign begins a reference.
    """
    found = find_spec("mlflow")
    if found is not None and "%" in str(found.origin) and not store.is_server:
        folder = Path(str(found.origin)).parent
        raise RecordingError(
            f"MLflow opens no database from {folder}, which has a % in its name: install linfit elsewhere"
        )


def require_artifacts(folder: str, advice: str) -> None:
    """Makes the folder for artifacts where it is one of this machine; RecordingError if nothing can be written there."""
    place = addresses.folder_of(folder)
    if place is None:
        return
    try:
        make_folder(place)
        TemporaryFile(dir=place).close()
    except OSError as error:
        raise RecordingError(
            f"the folder for artifacts, {place}, cannot be written: {error.strerror or error}; {advice}"
        ) from error


def require(store: Store) -> None:
    """For commands that only read: an absent store is an error."""
    if store.file is not None and not store.file.exists():
        raise RecordingError(
            f"there is no store at {store.file}: run something first, or name another with --uri or MLFLOW_TRACKING_URI"
        )
    require_migrations(store)
    if store.file is None or not _has_tables(
        store.file, to_write=False
    ):  # a store that another program writes to can be read
        prepare(store)


def require_server(store: Store) -> None:
    """MLflow itself would retry for minutes."""
    address = urlsplit(store.uri)
    try:
        port = address.port or (443 if address.scheme == "https" else 80)
        socket.create_connection((address.hostname or "", port), SERVER_TIMEOUT).close()
    except (OSError, ValueError) as error:
        raise RecordingError(
            f"the tracking server {store} does not answer ({error}): start it, or name another with tracking.uri"
        ) from error


def _has_tables(file: Path, to_write: bool = True) -> bool:
    """False where the file is absent or empty; RecordingError where it is something else than a database, or cannot be written (or read).

    Whoever only reads opens it for writing too, where that is allowed: what a killed process was writing has to be rolled back first.
    """
    if not file.exists() or file.stat().st_size == 0:
        return False
    try:
        with sqlite_files.connect(file, to_write, SERVER_TIMEOUT) as database:
            if to_write:
                database.execute(
                    "BEGIN IMMEDIATE"
                )  # so that a lock shows now, and not after something was written
            tables = database.execute(
                "SELECT count(*) FROM sqlite_master WHERE name = 'alembic_version'"
            ).fetchone()
    except sqlite3.Error as error:
        raise RecordingError(
            f"the store {file} cannot be {'written' if to_write else 'read'}: {error}; {advise(str(error))}"
        ) from error
    if not tables[0]:
        raise RecordingError(
            f"{file} is a SQLite database but not MLflow's: name another with tracking.uri"
        )
    return True


def advise(error: str) -> str:
    """Return what to do where SQLite says that a store cannot be used."""
    if "locked" in error:
        return "another program holds it: wait for that to end, or name another store with tracking.uri"
    return "name another with tracking.uri"


def _create(store: Store, file: Path) -> None:
    from filelock import FileLock

    try:
        make_folder(file.parent)
        TemporaryFile(dir=file.parent).close()  # says at once what a lock file would be waited for
        if store.artifacts is not None:
            require_artifacts(store.artifacts, OTHER_ARTIFACTS)
        with FileLock(f"{file}.lock", timeout=LOCK_TIMEOUT):
            if not _has_tables(file):
                _put_into_place(file, store.artifacts or "")
    except (OSError, sqlite3.Error) as error:
        raise RecordingError(
            f"the store {file} cannot be made: {_first_words(error)}; name another with tracking.uri"
        ) from error


def _put_into_place(file: Path, artifacts: str) -> None:
    own = addresses.join_address(artifacts, DEFAULT_EXPERIMENT)
    content = empty()
    with whole(file) as temporary:
        temporary.touch(0o644)  # as SQLite makes it
        temporary.write_bytes(content)
        with closing(sqlite3.connect(temporary)) as database, database:
            database.execute(
                "PRAGMA journal_mode = MEMORY"
            )  # whatever happens to this file, nobody reads it before it is whole
            database.execute(
                "UPDATE experiments SET artifact_location = ? WHERE experiment_id = ?",
                (own, DEFAULT_EXPERIMENT),
            )


@cache
def empty() -> bytes:
    """An empty SQLite store, as MLflow makes it, which takes a second; its artifacts are nowhere yet.

    RecordingError where no temporary file of its size can be written.
    """
    from mlflow.exceptions import MlflowException
    from sqlalchemy.exc import SQLAlchemyError

    try:
        return _made_elsewhere()
    except (MlflowException, SQLAlchemyError, sqlite3.Error, OSError) as error:
        why = f"{_first_words(error)}; make room there, or name another folder with TMPDIR"
        raise RecordingError(
            f"MLflow's tables cannot be made in {tempfile.tempdir or 'a temporary folder'}: {why}"
        ) from error


def _made_elsewhere() -> bytes:
    from mlflow.store.tracking.sqlalchemy_store import SqlAlchemyStore

    # MLflow may still hold the file, which Windows then does not remove
    with temporary_folder() as folder, quiet("mlflow", "alembic", least=logging.CRITICAL):
        file = (folder / "mlflow.db").resolve()
        with unflushed(file):
            SqlAlchemyStore(addresses.sqlite_uri(file), f"{folder}/artifacts")._dispose_engine()
        return file.read_bytes()


def _first_words(error: Exception) -> str:
    """Return why something failed, in one line: what the disk or SQLite said first, before others went on with it."""
    first: BaseException | None = error
    cause: BaseException = error
    while first is not None:
        if isinstance(first, (OSError, sqlite3.Error)):
            cause = first
        first = first.__cause__ or first.__context__
    return str(getattr(cause, "strerror", None) or cause).partition("\n")[0]


@contextmanager
def unflushed(file: Path) -> Iterator[None]:
    """SQLite does not wait for the disk, as it would at each of the sixty versions that a store goes through while it is made."""
    from sqlalchemy import Engine, event

    def connected(connection: sqlite3.Connection, _: object) -> None:
        if connection.execute("PRAGMA database_list").fetchone()[2] == str(file):
            connection.execute("PRAGMA synchronous = OFF")

    event.listen(Engine, "connect", connected)
    try:
        yield
    finally:
        event.remove(Engine, "connect", connected)


@contextmanager
def quiet(*loggers: str, least: int = logging.ERROR) -> Iterator[None]:
    """Without the messages of some libraries' loggers that are below `least`."""
    before = {name: logging.getLogger(name).level for name in loggers}
    for name in loggers:
        logging.getLogger(name).setLevel(least)
    try:
        yield
    finally:
        for name, level in before.items():
            logging.getLogger(name).setLevel(level)
