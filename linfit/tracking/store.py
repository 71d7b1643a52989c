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
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory, TemporaryFile
from urllib.parse import quote, urlsplit

from linfit.errors import RecordingError
from linfit.tracking.masking import mask

DEFAULT_URI = "sqlite:///outputs/mlflow.db"
SQLITE = "sqlite:///"
SERVER_TIMEOUT = 5.0
LOCK_TIMEOUT = 120.0
#: The id of the MLflow experiment that every store begins with.
DEFAULT_EXPERIMENT = "0"
OTHER_ARTIFACTS = "name another with tracking.artifacts"
SCHEMES = ("sqlite", "postgresql", "mysql", "mssql", "http", "https", "databricks")


@dataclass(frozen=True)
class Store:
    """An MLflow tracking URI, made absolute, and where the artifacts of new experiments go (None: the server decides)."""

    uri: str
    artifacts: str | None

    @property
    def file(self) -> Path | None:
        """The database file of a SQLite store."""
        return Path(self.uri.removeprefix(SQLITE)) if self.uri.startswith(SQLITE) else None

    @property
    def is_server(self) -> bool:
        return urlsplit(self.uri).scheme in ("http", "https")

    def __str__(self) -> str:
        return mask(self.uri)


def locate(uri: str | None = None, artifacts: str | None = None) -> Store:
    """The store of `uri`, or of MLFLOW_TRACKING_URI, or the default one below the working directory."""
    uri = uri or os.environ.get("MLFLOW_TRACKING_URI") or DEFAULT_URI
    scheme = urlsplit(uri).scheme
    if scheme in ("", "file"):
        raise RecordingError(f"tracking.uri {mask(uri)!r} is a folder, which MLflow refuses as a store: write sqlite:///path/to/mlflow.db")
    if scheme.split("+")[0] not in SCHEMES:
        raise RecordingError(f"tracking.uri {mask(uri)!r} is no MLflow store: it begins with one of {', '.join(SCHEMES)}")
    if not uri.startswith(SQLITE):
        return Store(uri, artifacts)
    file = Path(uri.removeprefix(SQLITE)).absolute()
    return Store(
        f"{SQLITE}{file}",
        str(Path(artifacts).absolute()) if artifacts and "://" not in artifacts else artifacts or str(file.parent / "artifacts"),
    )


def experiment_folder(store: Store, experiment: str) -> str | None:
    """Where the artifacts of a new MLflow experiment go: its name as one safe path segment.

    MLflow decodes percent signs in a path, so that an encoded `../` would lead out of the folder: what is no letter, digit, blank,
    hyphen or underscore is replaced, and a digest keeps different names apart.
    """
    if store.artifacts is None:
        return None
    segment = re.sub(r"[^\w -]", "_", experiment)[:80]
    if segment != experiment:
        segment += f"-{hashlib.sha256(experiment.encode()).hexdigest()[:8]}"
    return f"{store.artifacts.rstrip('/')}/{segment}"


def command(store: Store) -> str:
    """What to type to look at it."""
    default = None
    with suppress(RecordingError):  # what the environment says is of no use
        default = locate()
    return "linfit ui" if store == default else f"linfit ui --uri {store}"


def prepare(store: Store) -> None:
    """Makes an absent SQLite store; checks that a server answers. RecordingError, in one line, otherwise."""
    if store.file is not None:
        if not _has_tables(store.file):
            _create(store, store.file)
    elif store.is_server:
        require_server(store)


def require_artifacts(folder: str, advice: str) -> None:
    """Makes the folder for artifacts where it is one of this machine; RecordingError if nothing can be written there."""
    from mlflow.utils.file_utils import local_file_uri_to_path
    from mlflow.utils.uri import is_local_uri

    if not is_local_uri(folder):
        return
    place = Path(local_file_uri_to_path(folder))
    try:
        place.mkdir(parents=True, exist_ok=True)
        TemporaryFile(dir=place).close()
    except OSError as error:
        raise RecordingError(f"the folder for artifacts, {place}, cannot be written: {error.strerror or error}; {advice}") from error


def require(store: Store) -> None:
    """For commands that only read: an absent store is an error."""
    if store.file is not None and not store.file.exists():
        raise RecordingError(f"there is no store at {store.file}: run something first, or name another with --uri or MLFLOW_TRACKING_URI")
    if store.file is None or not _has_tables(store.file, to_write=False):  # a store that another program writes to can be read
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
        with closing(sqlite3.connect(f"file:{quote(str(file))}?mode=rw", uri=True, timeout=SERVER_TIMEOUT)) as database:
            if to_write:
                database.execute("BEGIN IMMEDIATE")  # so that a lock shows now, and not after something was written
            tables = database.execute("SELECT count(*) FROM sqlite_master WHERE name = 'alembic_version'").fetchone()
    except sqlite3.Error as error:
        raise RecordingError(f"the store {file} cannot be {'written' if to_write else 'read'}: {error}; {_advice(str(error))}") from error
    if not tables[0]:
        raise RecordingError(f"{file} is a SQLite database but not MLflow's: name another with tracking.uri")
    return True


def _advice(error: str) -> str:
    if "locked" in error:
        return "another program holds it: wait for that to end, or name another store with tracking.uri"
    return "name another with tracking.uri"


def _create(store: Store, file: Path) -> None:
    from filelock import FileLock

    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        TemporaryFile(dir=file.parent).close()  # says at once what a lock file would be waited for
        if store.artifacts is not None:
            require_artifacts(store.artifacts, OTHER_ARTIFACTS)
        with FileLock(f"{file}.lock", timeout=LOCK_TIMEOUT):
            if not _has_tables(file):
                _put_into_place(file, store.artifacts or "")
    except OSError as error:
        raise RecordingError(f"the store {file} cannot be made: {error.strerror or error}; name another with tracking.uri") from error


def _put_into_place(file: Path, artifacts: str) -> None:
    from mlflow.utils.uri import append_to_uri_path, resolve_uri_if_local

    temporary = file.with_name(f".{file.name}.{os.getpid()}")
    own = append_to_uri_path(resolve_uri_if_local(artifacts), DEFAULT_EXPERIMENT)
    try:
        temporary.touch(0o644)  # as SQLite makes it
        temporary.write_bytes(empty())
        with closing(sqlite3.connect(temporary)) as database, database:
            database.execute("UPDATE experiments SET artifact_location = ? WHERE experiment_id = ?", (own, DEFAULT_EXPERIMENT))
        temporary.replace(file)
    finally:
        temporary.unlink(missing_ok=True)


@cache
def empty() -> bytes:
    """An empty SQLite store, as MLflow makes it, which takes a second; its artifacts are nowhere yet."""
    from mlflow.store.tracking.sqlalchemy_store import SqlAlchemyStore

    with TemporaryDirectory() as folder, quiet("mlflow", "alembic"):
        file = Path(folder, "mlflow.db").resolve()
        with unflushed(file):
            SqlAlchemyStore(f"{SQLITE}{file}", f"{folder}/artifacts")._dispose_engine()
        return file.read_bytes()


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
