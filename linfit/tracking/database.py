"""The recorder that writes whole blocks of runs into MLflow's database: one transaction, a few inserts, MLflow's own tables.

Read back through MLflow, its runs are the client recorder's. It saves the dozen transactions that the client spends on each
run and nothing else: the connection is MLflow's, or one as MLflow's, with its journal, its flushing to the disk and its foreign keys.
"""

from __future__ import annotations

import logging
import sqlite3
import sys
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import Future
from contextlib import closing, contextmanager, suppress
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from mlflow.store.db.db_types import DATABASE_ENGINES, SQLITE
from mlflow.store.tracking.dbmodels.models import SqlExperiment
from mlflow.tracking._tracking_service.utils import _get_store
from sqlalchemy import Connection, Engine, select, text
from sqlalchemy.exc import IntegrityError

from linfit.errors import RecordingError
from linfit.tracking.background import Background, require_done
from linfit.tracking.block import Block, make_block, new_ids
from linfit.tracking.client import ClientRecorder
from linfit.tracking.database_history import DatabaseHistory
from linfit.tracking.history import History
from linfit.tracking.inserter import Request, connected, transact
from linfit.tracking.layout import Row
from linfit.tracking.model import Predictor
from linfit.tracking.patience import one_line, patiently, persist
from linfit.tracking.recorder import Recorder, at_once
from linfit.tracking.statements import active, insert_block, statements

#: The schema revision of each MLflow from 3.10 to 3.17. What differs between them is not in the columns that are written here.
REVISIONS = {
    "1b5f0d9ad7c1": "3.10",
    "c3d6457b6d8a": "3.11",
    "7d34483879f0": "3.12",
    "da6fb0208061": "3.13",
    "b7e4c1a90f23": "3.14",
    "6f8d9c3b2a1e": "3.15",
    "b7e2c1a4d9f3": "3.16",
    "dc11669786a5": "3.17",
}
#: What MLflow's own sessions ask of SQLite when they write, but for how long SQLite itself waits for a lock: meanwhile no signal is heard.
PRAGMAS = ("PRAGMA foreign_keys = ON", "PRAGMA busy_timeout = 1000")
#: How often a block is tried where another process may have been quicker.
ATTEMPTS = 3
#: Runs from which on a block is worth a process that inserts it: to begin one takes as long as to insert some fifty.
LARGE = 200
#: Rows of each index that SQLite looks at, and seconds that it may wait for the lock.
ROWS_LOOKED_AT, SURVEY = 400, 0.2


class DatabaseRecorder:
    """Adds blocks of runs to the database that `client` writes to; begins and ends single runs and parents through `client`.

    `parent` is the process for which this one writes to a SQLite file, and for which it adds nothing when that is gone.
    """

    def __init__(self, client: ClientRecorder, parent: int | None = None) -> None:
        self.client, self.store, self.parent = client, client.store, parent
        self.engine = engine_of(client)
        self.ids = new_ids()
        self.grown = False
        self._background: Background | None = None
        self._location = ""

    @property
    def _idle(self) -> ClientRecorder:
        """The client, when nothing is written beside it."""
        if self._background is not None:
            self._background.wait()
        return self.client

    def wait(self) -> None:
        return None

    def begin(self, row: Row) -> str:
        return self._idle.begin(row)

    def resume(self, run_id: str, tags: dict[str, str]) -> None:
        self._idle.resume(run_id, tags)

    def end(self, run_id: str, row: Row, files: Sequence[Path] = (), model: Predictor | None = None) -> None:
        if self._background is not None:
            self._background.close()
        self.client.end(run_id, row, files, model)
        if self.grown and self.store.file is not None:
            survey(self.store.file)

    def add(self, rows: Sequence[Row]) -> list[str]:
        """All runs in one transaction: they are all there, finished, or none is."""
        if not rows:
            return []
        if self.parent is not None:
            return self._insert(*self._request(rows))
        with one_line(self.store):
            block = make_block(rows, self.ids, int(self._idle.experiment_id), self._artifacts())
            persist(self.store, self._write, block)
            self.grown = True
            return block.ids

    def submit(self, rows: Sequence[Row]) -> Future[list[str]]:
        """A large block goes into a SQLite file in the background; several wait there for their turn."""
        small = len(rows) < LARGE or sys.platform == "win32"  # where no process knows that its parent is gone
        if self.store.file is None or small or self.parent is not None:
            return at_once(self.add, rows)
        request, run_ids = self._request(rows)
        self._background = self._background or Background(self.store, PRAGMAS)
        return self._background.submit(request, run_ids, self._deleted())

    def _request(self, rows: Sequence[Row]) -> tuple[Request, list[str]]:
        """The transaction that adds the rows to a SQLite file, and the ids of their runs."""
        self._location = self._location or self._artifacts()  # what is read while a block is written waits for that block
        with one_line(self.store):
            block = make_block(rows, self.ids, int(self.client.experiment_id), self._location)
        self.grown = True
        return (active(block), statements(block, self.ids)), block.ids

    def attach(self, run_id: str, files: Sequence[Path], folder: str | None = None) -> None:
        self._idle.attach(run_id, files, folder)

    def tag(self, run_id: str, tags: Mapping[str, str]) -> None:
        self._idle.tag(run_id, tags)

    def presentation(self) -> dict[str, str]:
        return self._idle.presentation()

    def present(self, tags: Mapping[str, str]) -> None:
        self._idle.present(tags)

    @property
    def experiment_id(self) -> str:
        return self.client.experiment_id

    def children(self, parent: str, retries: Mapping[int, str] = {}) -> dict[int, str]:
        return self.history().whole(parent, retries)

    def history(self) -> History:
        return DatabaseHistory(self._idle.history(), self.engine)

    def where(self) -> str:
        return self.client.where()

    def _artifacts(self) -> str:
        """Where the MLflow experiment keeps its artifacts; RecordingError if it was deleted meanwhile."""
        query = select(SqlExperiment.lifecycle_stage, SqlExperiment.artifact_location).where(
            SqlExperiment.experiment_id == int(self.client.experiment_id)
        )

        def read() -> Any:
            with transaction(self.engine) as connection:
                return connection.execute(query).first()

        found = persist(self.store, read)
        if found is None or found.lifecycle_stage != "active":
            raise RecordingError(self._deleted())
        return str(found.artifact_location)

    def _deleted(self) -> str:
        return f"the MLflow experiment {self.client.name!r} was deleted in {self.store} while its runs were added"

    def _insert(self, request: Request, run_ids: list[str]) -> list[str]:
        """As the process in the background does it."""
        with one_line(self.store), closing(connected(str(self.store.file), PRAGMAS)) as database:
            require_done(patiently(self.store, transact, database, request, self.parent), self._deleted())
        return run_ids

    def _write(self, block: Block) -> None:
        for attempt in range(1, ATTEMPTS + 1):
            try:
                with transaction(self.engine) as connection:
                    insert_block(connection, block, self.ids)
                return
            except IntegrityError:  # perhaps another process was quicker to add a dataset
                if attempt == ATTEMPTS:
                    raise


def fastest(client: ClientRecorder, parent: int | None = None) -> Recorder:
    """A DatabaseRecorder (for `parent`) if the client's store is a database with a schema that is known here; otherwise the client."""
    if urlsplit(client.store.uri).scheme.split("+")[0] not in DATABASE_ENGINES:
        return client
    with one_line(client.store), engine_of(client).connect() as connection:
        revision = connection.execute(text("SELECT version_num FROM alembic_version")).scalar()
    if revision in REVISIONS:
        return DatabaseRecorder(client, parent)
    logging.getLogger(__name__).warning(
        "the schema revision %s of %s is not known to linfit: runs are written one by one through MLflow's client, which is slower",
        revision,
        client.store,
    )
    return client


def survey(file: Path) -> None:
    """Lets SQLite look how the rows of a database are spread, which takes it a few hundredths of a second.

    Without it, MLflow's search sorted by a metric compares every run with every other: 10,000 runs took it 5 s instead of 0.04 s.
    """
    with suppress(sqlite3.OperationalError), closing(sqlite3.connect(file, timeout=SURVEY)) as connection:  # somebody writes: they will
        connection.execute(f"PRAGMA analysis_limit = {ROWS_LOOKED_AT}")
        connection.execute("ANALYZE")


def engine_of(client: ClientRecorder) -> Engine:
    """The engine that the client itself writes through, with its pool of connections."""
    engine: Engine = _get_store(client.store.uri).engine
    return engine


@contextmanager
def transaction(engine: Engine) -> Iterator[Connection]:
    """Committed at the end, rolled back on any exception."""
    with engine.connect() as connection:
        for pragma in PRAGMAS if engine.dialect.name == SQLITE else ():
            connection.exec_driver_sql(pragma)
        connection.commit()  # foreign_keys has no effect within a transaction
        with connection.begin():
            yield connection
