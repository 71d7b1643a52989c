"""The recorder that writes whole blocks of runs into MLflow's database: one transaction, a few
inserts, MLflow's own tables.

MLflow reads its runs as it reads those of the client recorder. Only the dozen transactions are
saved that the client spends on each run: journal, flushing to the disk and foreign keys are those
of MLflow's connections.
"""

from __future__ import annotations

import logging
import os
import sqlite3
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import Future
from contextlib import closing, contextmanager, suppress
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from mlflow.store.db.db_types import DATABASE_ENGINES, SQLITE
from mlflow.store.tracking.dbmodels.models import SqlExperiment
from mlflow.tracking._tracking_service.utils import _get_store
from sqlalchemy import Connection, Engine, event, select
from sqlalchemy.exc import IntegrityError

from linfit.errors import RecordingError
from linfit.tracking.model import ModelFiles
from linfit.tracking.read.database_history import TableQueries
from linfit.tracking.read.history import History
from linfit.tracking.schema.run_records import Amendment, RunRecord
from linfit.tracking.store.retry import as_recording_error, call_with_retry
from linfit.tracking.store.sqlite_files import HARDENING_PRAGMAS
from linfit.tracking.write.amending import amend_runs
from linfit.tracking.write.background.processes import SerialWorker
from linfit.tracking.write.client import ClientRecorder
from linfit.tracking.write.columns import find_obstacle
from linfit.tracking.write.readback import find_difference, remove_runs
from linfit.tracking.write.recorder import Recorder, call_now
from linfit.tracking.write.rows import RunBlock, RunIds, build_run_block
from linfit.tracking.write.sql import insert_block

#: Has a commit on the disk when it returns: SQLite then also flushes the folder from which it has
#: removed its journal. Otherwise a power loss could restore the journal, and with it the state
#: before the commit.
DURABLE_COMMITS = "PRAGMA synchronous = EXTRA"
#: What MLflow's own sessions ask of SQLite when they write, except for the timeout of locks: SQLite
#: hears no signal while it waits.
WRITING_PRAGMAS = (
    "PRAGMA foreign_keys = ON",
    "PRAGMA busy_timeout = 1000",
    DURABLE_COMMITS,
    *HARDENING_PRAGMAS,
)
#: The error of a process that records for another one, which is gone.
ORPHANED = "the process that inserts rows is not a child of this one, and commits nothing"
#: Attempts to write a block where another process may have added its dataset first.
MAX_ATTEMPTS = 3
#: Rows of each index that SQLite samples.
ANALYSIS_LIMIT = 400
#: Seconds for which its analysis waits for a lock.
ANALYZE_TIMEOUT = 0.2


class DatabaseRecorder:
    """Add blocks of runs to the database of `client`.

    Single runs and parents are started and ended through `client`. Blocks are written by a thread,
    in their order, while the main thread goes on. Everything else waits for them. `parent` is the
    process that this one records for: if that is gone, nothing is added.
    """

    def __init__(self, client: ClientRecorder, parent: int | None = None) -> None:
        self.client = client
        self.store = client.store
        self.parent = parent
        self.engine = find_engine(client)
        self.ids = RunIds()
        self.has_grown = False
        self._location = ""
        self._worker = SerialWorker()
        #: Known once the first block has been read back.
        self._is_right: bool | None = None

    @property
    def _idle(self) -> ClientRecorder:
        """The client, once no block is being written."""
        self._worker.wait_until_idle()
        return self.client

    def wait_until_open(self) -> None:
        return None

    def start_run(self, row: RunRecord) -> str:
        return self._idle.start_run(row)

    def resume_run(self, run_id: str, tags: dict[str, str]) -> None:
        self._idle.resume_run(run_id, tags)

    def end_run(
        self,
        run_id: str,
        row: RunRecord,
        files: Sequence[Path] = (),
        model: ModelFiles | None = None,
    ) -> None:
        self._idle.end_run(run_id, row, files, model)
        if self.has_grown and self.store.file is not None:
            analyze(self.store.file)

    def break_off_run(self, run_id: str, row: RunRecord) -> bool:
        return self._idle.break_off_run(run_id, row)

    def log_runs(self, rows: Sequence[RunRecord]) -> list[str]:
        return self.log_runs_async(rows).result()

    def log_runs_async(self, rows: Sequence[RunRecord]) -> Future[list[str]]:
        """Write all runs in one transaction.

        It adds each of them as a finished run, or none.
        """
        if not rows:
            return call_now(list)
        if self._is_right is False:
            return call_now(self._idle.log_runs, rows)

        # The thread also reads what it needs: Ctrl-C, which is raised in the main thread, would
        # leave a query there half read, and the database locked.
        return self._worker.submit_unless_failed(self._add, rows)

    def log_artifacts(self, run_id: str, files: Sequence[Path], folder: str | None = None) -> None:
        self._idle.log_artifacts(run_id, files, folder)

    def set_tags(self, run_id: str, tags: Mapping[str, str]) -> None:
        self._idle.set_tags(run_id, tags)

    def amend_runs(self, amendments: Mapping[str, Amendment]) -> None:
        """Amend all runs in one transaction."""
        client = self._idle
        if self._is_right is False:
            client.amend_runs(amendments)
            return
        with as_recording_error(self.store):
            call_with_retry(self.store, self._amend, amendments)

    def experiment_tags(self) -> dict[str, str]:
        return self._idle.experiment_tags()

    def set_experiment_tags(self, tags: Mapping[str, str]) -> None:
        self._idle.set_experiment_tags(tags)

    @property
    def experiment_id(self) -> str:
        return self.client.experiment_id

    def find_children(self, parent: str, retries: Mapping[int, str] = {}) -> dict[int, str]:
        return self.open_history().find_complete(parent, retries)

    def open_history(self) -> History:
        history = self._idle.open_history()
        if self._is_right is False:
            return history
        fits = TableQueries(self.store, self.engine, history.experiment_id)
        return History(self.store, history.client, history.experiment_id, fits)

    def how_to_view(self) -> str:
        return self.client.how_to_view()

    def _artifacts(self) -> str:
        """Return the address of the experiment's artifacts; RecordingError if it was deleted."""
        query = select(SqlExperiment.lifecycle_stage, SqlExperiment.artifact_location).where(
            SqlExperiment.experiment_id == int(self.client.experiment_id)
        )

        def read() -> Any:
            with begin_transaction(self.engine) as connection:
                return connection.execute(query).first()

        found = call_with_retry(self.store, read)
        if found is None or found.lifecycle_stage != "active":
            raise RecordingError(self._deleted())
        return str(found.artifact_location)

    def _deleted(self) -> str:
        name = self.client.name
        return (
            f"the MLflow experiment {name!r} was deleted in {self.store} while its runs were added"
        )

    def _add(self, rows: Sequence[RunRecord]) -> list[str]:
        """Write a block, read the first one back, and return the ids of its runs.

        If it reads back otherwise, the client writes its runs instead.
        """
        self._location = self._location or self._artifacts()
        with as_recording_error(self.store):
            block = build_run_block(rows, self.ids, int(self.client.experiment_id), self._location)
        self.has_grown = True
        try:
            call_with_retry(self.store, self._write, block)
        except (UnicodeError, OverflowError) as error:
            # The driver cannot pass a value on.
            raise RecordingError(
                f"the store {self.store.file or self.store} failed: {error}"
            ) from error
        if self._is_right is None:
            self._is_right = self._reads_back(block)
        if self._is_right:
            return block.run_ids
        return self._replace(block, rows)

    def _write(self, block: RunBlock) -> None:
        for attempt in range(1, MAX_ATTEMPTS + 1):
            try:
                with begin_transaction(self.engine) as connection:
                    if not insert_block(connection, block, self.ids):
                        raise RecordingError(self._deleted())
                    self._require_parent()
                return
            except IntegrityError:
                # Another process may have added a dataset first.
                if attempt == MAX_ATTEMPTS:
                    raise

    def _require_parent(self) -> None:
        """Raise RecordingError if the process that this one records for is gone.

        This is checked while SQLite's lock is held: a process that resumes the sweep waits for the
        lock before it reads.
        """
        if self.parent is not None and os.getppid() != self.parent:
            raise RecordingError(ORPHANED)

    def _reads_back(self, block: RunBlock) -> bool:
        try:
            different = call_with_retry(self.store, find_difference, self.client.client, block)
        except RecordingError as error:
            different = str(error)
        if different:
            why = f"what was written into its tables reads back otherwise ({different})"
            _warn(self.client, why)
        return not different

    def _replace(self, block: RunBlock, rows: Sequence[RunRecord]) -> list[str]:
        try:
            call_with_retry(self.store, self._remove, block)
        except RecordingError:
            # The tables do not let the runs go: they are deleted as a user would delete them.
            self.client.open_history().discard_runs(block.run_ids)
        return self.client.log_runs(rows)

    def _remove(self, block: RunBlock) -> None:
        with begin_transaction(self.engine) as connection:
            remove_runs(connection, block.run_ids)

    def _amend(self, amendments: Mapping[str, Amendment]) -> None:
        with begin_transaction(self.engine) as connection:
            amend_runs(connection, amendments)


def best_recorder_for(client: ClientRecorder, parent: int | None = None) -> Recorder:
    """Return a DatabaseRecorder if possible, else the client.

    It is possible if the store is a database whose columns are known. `parent` is the process that
    the recorder works for.
    """
    if client.store.file is not None:
        make_commits_durable(find_engine(client))
    if urlsplit(client.store.uri).scheme.split("+")[0] not in DATABASE_ENGINES:
        return client
    obstacle = call_with_retry(client.store, find_obstacle, find_engine(client))
    if not obstacle:
        return DatabaseRecorder(client, parent)
    _warn(client, obstacle)
    return client


def _warn(client: ClientRecorder, why: str) -> None:
    slower = "runs are written one by one through MLflow's client, which is slower"
    logging.getLogger(__name__).warning("the store %s: %s: %s", client.store, why, slower)


def analyze(file: Path) -> None:
    """Have SQLite sample how a database's rows are distributed.

    Do nothing if it is locked. This takes a few hundredths of a second. Without it, MLflow's search
    sorted by a metric compares every run with every other: 10,000 runs took 5 s instead of 0.04 s.
    """
    with (
        suppress(sqlite3.OperationalError),
        closing(sqlite3.connect(file, timeout=ANALYZE_TIMEOUT)) as connection,
    ):
        connection.execute(f"PRAGMA analysis_limit = {ANALYSIS_LIMIT}")
        connection.execute("ANALYZE")


def make_commits_durable(engine: Engine) -> None:
    """Have a SQLite engine's commits on disk when they return.

    This includes the commits of MLflow's sessions.
    """
    if not event.contains(engine, "checkout", _ask_durability):
        event.listen(engine, "checkout", _ask_durability)


def _ask_durability(connection: sqlite3.Connection, *_: object) -> None:
    connection.execute(DURABLE_COMMITS)


def find_engine(client: ClientRecorder) -> Engine:
    """Return the client's engine, with its pool of connections."""
    engine: Engine = _get_store(client.store.uri).engine
    return engine


@contextmanager
def begin_transaction(engine: Engine) -> Iterator[Connection]:
    """Commit at the end, and roll back on any exception."""
    with engine.connect() as connection:
        if engine.dialect.name == SQLITE:
            for pragma in WRITING_PRAGMAS:
                connection.exec_driver_sql(pragma)
        # foreign_keys has no effect within a transaction.
        connection.commit()
        with connection.begin():
            yield connection
