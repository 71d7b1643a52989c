"""The recorder that writes whole blocks of runs into MLflow's database: one transaction, a few inserts, MLflow's own tables.

Read back through MLflow, its runs are the client recorder's. It saves the dozen transactions that the client spends on each
run and nothing else: the connection is MLflow's, or one as MLflow's, with its journal, its flushing to the disk and its foreign keys.
"""

from __future__ import annotations

import logging
import sqlite3
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import Future
from contextlib import closing, contextmanager, suppress
from functools import partial
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from mlflow.store.db.db_types import DATABASE_ENGINES, SQLITE
from mlflow.store.tracking.dbmodels.models import SqlExperiment
from mlflow.tracking._tracking_service.utils import _get_store
from sqlalchemy import Connection, Engine, event, select
from sqlalchemy.exc import IntegrityError

from linfit.errors import RecordingError
from linfit.system import is_windows
from linfit.tracking.amending import amend_runs
from linfit.tracking.background import Background, require_done
from linfit.tracking.block import Block, RunIds, make_block
from linfit.tracking.client import ClientRecorder
from linfit.tracking.columns import find_obstacle
from linfit.tracking.database_history import TableQueries
from linfit.tracking.history import History
from linfit.tracking.inserter import Request, connected, transact
from linfit.tracking.model import Predictor
from linfit.tracking.patience import one_line, patiently, persist
from linfit.tracking.readback import find_difference, remove_runs
from linfit.tracking.recorder import Recorder, at_once
from linfit.tracking.run_records import Amendment, Row
from linfit.tracking.sqlite_files import HARDENED
from linfit.tracking.statements import active, insert_block, statements

#: A commit is on the disk when it returns: SQLite flushes the folder too from which it has removed its journal. Else a power loss
#: would bring the journal back, and with it what was before.
DURABLE = "PRAGMA synchronous = EXTRA"
#: What MLflow's own sessions ask of SQLite when they write, but for how long SQLite itself waits for a lock: meanwhile no signal is heard.
PRAGMAS = ("PRAGMA foreign_keys = ON", "PRAGMA busy_timeout = 1000", DURABLE, *HARDENED)
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
        self.ids = RunIds()
        self.grown = False
        self._is_right: bool | None = None  # what is known once the first block has been read back
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

    def end(
        self, run_id: str, row: Row, files: Sequence[Path] = (), model: Predictor | None = None
    ) -> None:
        if self._background is not None:
            self._background.close()
        self.client.end(run_id, row, files, model)
        if self.grown and self.store.file is not None:
            survey(self.store.file)

    def add(self, rows: Sequence[Row]) -> list[str]:
        """All runs in one transaction: they are all there, finished, or none is."""
        if not rows:
            return []
        if self._is_right is False:
            return self._idle.add(rows)
        if self.parent is not None:
            block, request = self._request(rows)
            self._insert(request)
            return self._checked(block, rows)
        with one_line(self.store):
            block = make_block(rows, self.ids, int(self._idle.experiment_id), self._artifacts())
            persist(self.store, self._write, block)
        self.grown = True
        return self._checked(block, rows)

    def submit(self, rows: Sequence[Row]) -> Future[list[str]]:
        """A large block goes into a SQLite file in the background; several wait there for their turn."""
        small = len(rows) < LARGE or is_windows()  # where no process knows that its parent is gone
        if self.store.file is None or small or self.parent is not None or self._is_right is False:
            return at_once(self.add, rows)
        block, request = self._request(rows)
        self._background = self._background or Background(self.store, PRAGMAS)
        return self._background.submit(
            request, partial(self._checked, block, rows), self._deleted()
        )

    def _request(self, rows: Sequence[Row]) -> tuple[Block, Request]:
        """The rows as a block, and the transaction that adds it to a SQLite file."""
        self._location = (
            self._location or self._artifacts()
        )  # what is read while a block is written waits for that block
        with one_line(self.store):
            block = make_block(rows, self.ids, int(self.client.experiment_id), self._location)
        self.grown = True
        return block, (active(block), statements(block, self.ids))

    def _checked(self, block: Block, rows: Sequence[Row]) -> list[str]:
        """The ids of a block that is written, of which the first is read back; where it is wrong, the client's take its place."""
        if self._is_right is None:
            try:
                different = persist(self.store, find_difference, self.client.client, block)
            except RecordingError as error:
                different = str(error)
            self._is_right = not different
            if different:
                _warn(
                    self.client,
                    f"what was written into its tables reads back otherwise ({different})",
                )
        return block.ids if self._is_right else self._replace(block, rows)

    def _replace(self, block: Block, rows: Sequence[Row]) -> list[str]:
        try:
            persist(self.store, self._remove, block)
        except RecordingError:  # its tables let nothing go
            self.client.history().discard(block.ids)
        return self.client.add(rows)

    def attach(self, run_id: str, files: Sequence[Path], folder: str | None = None) -> None:
        self._idle.attach(run_id, files, folder)

    def tag(self, run_id: str, tags: Mapping[str, str]) -> None:
        self._idle.tag(run_id, tags)

    def amend(self, amendments: Mapping[str, Amendment]) -> None:
        """All of it in one transaction."""
        if self._background is not None:
            self._background.wait()
        if self._is_right is False:
            self.client.amend(amendments)
            return
        with one_line(self.store):
            persist(self.store, self._amend, amendments)

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
        history = self._idle.history()
        if self._is_right is False:
            return history
        fits = TableQueries(self.store, self.engine, history.experiment_id)
        return History(self.store, history.client, history.experiment_id, fits)

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

    def _insert(self, request: Request) -> None:
        """As the process in the background does it."""
        with one_line(self.store), closing(connected(str(self.store.file), PRAGMAS)) as database:
            require_done(
                patiently(self.store, transact, database, request, self.parent), self._deleted()
            )

    def _write(self, block: Block) -> None:
        for attempt in range(1, ATTEMPTS + 1):
            try:
                with transaction(self.engine) as connection:
                    insert_block(connection, block, self.ids)
                return
            except IntegrityError:  # perhaps another process was quicker to add a dataset
                if attempt == ATTEMPTS:
                    raise

    def _remove(self, block: Block) -> None:
        with transaction(self.engine) as connection:
            remove_runs(connection, block.ids)

    def _amend(self, amendments: Mapping[str, Amendment]) -> None:
        with transaction(self.engine) as connection:
            amend_runs(connection, amendments)


def fastest(client: ClientRecorder, parent: int | None = None) -> Recorder:
    """A DatabaseRecorder (for `parent`) if the client's store is a database with the columns that it knows; otherwise the client."""
    if client.store.file is not None:
        keep_commits(engine_of(client))
    if urlsplit(client.store.uri).scheme.split("+")[0] not in DATABASE_ENGINES:
        return client
    obstacle = persist(client.store, find_obstacle, engine_of(client))
    if not obstacle:
        return DatabaseRecorder(client, parent)
    _warn(client, obstacle)
    return client


def _warn(client: ClientRecorder, why: str) -> None:
    slower = "runs are written one by one through MLflow's client, which is slower"
    logging.getLogger(__name__).warning("the store %s: %s: %s", client.store, why, slower)


def survey(file: Path) -> None:
    """Lets SQLite look how the rows of a database are spread, which takes it a few hundredths of a second.

    Without it, MLflow's search sorted by a metric compares every run with every other: 10,000 runs took it 5 s instead of 0.04 s.
    """
    with (
        suppress(sqlite3.OperationalError),
        closing(sqlite3.connect(file, timeout=SURVEY)) as connection,
    ):  # somebody writes: they will
        connection.execute(f"PRAGMA analysis_limit = {ROWS_LOOKED_AT}")
        connection.execute("ANALYZE")


def keep_commits(engine: Engine) -> None:
    """Have every commit of a SQLite engine on the disk when it returns, those of MLflow's own sessions too."""
    if not event.contains(engine, "checkout", _ask_durability):
        event.listen(engine, "checkout", _ask_durability)


def _ask_durability(connection: sqlite3.Connection, *_: object) -> None:
    connection.execute(DURABLE)


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
