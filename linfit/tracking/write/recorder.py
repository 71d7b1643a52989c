"""The interface of recorders, which write rows to a store and decide nothing about them."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

from linfit.tracking.model import ModelFiles
from linfit.tracking.schema.run_records import Amendment, RunRecord

if TYPE_CHECKING:
    from linfit.tracking.read.history import History

_T = TypeVar("_T")


class Recorder(Protocol):
    """Write runs to a store.

    A single run and the parent of a sweep are started and ended. The fits of a sweep are logged as
    finished runs.
    """

    @property
    def experiment_id(self) -> str:
        """Id of the MLflow experiment; empty if nothing is recorded."""

    def wait_until_open(self) -> None:
        """Wait until the store is open.

        RecordingError if it cannot be opened.
        """

    def start_run(self, row: RunRecord) -> str:
        """Start a RUNNING run of the row; return its id.

        It has the row's tags and params.
        """

    def resume_run(self, run_id: str, tags: dict[str, str]) -> None:
        """Set a run to RUNNING, and add tags.

        It had ended, or its process was killed.
        """

    def end_run(
        self,
        run_id: str,
        row: RunRecord,
        files: Sequence[Path] = (),
        model: ModelFiles | None = None,
    ) -> None:
        """End a started run.

        Its metrics, dataset, new tags, files and model are logged before its status is set.
        """

    def break_off_run(self, run_id: str, row: RunRecord) -> bool:
        """End a started run that was broken off, unless the store has its end; True if it had none.

        An interrupt may come after an end is committed, and before its caller knows it.
        """

    def log_runs(self, rows: Sequence[RunRecord]) -> list[str]:
        """Log finished runs, and return their ids.

        As far as the store allows, a run is recorded completely or not at all.
        """

    def log_runs_async(self, rows: Sequence[RunRecord]) -> Future[list[str]]:
        """Like `log_runs`, but return a Future at once where possible.

        Later calls wait for these runs.
        """

    def log_artifacts(self, run_id: str, files: Sequence[Path], folder: str | None = None) -> None:
        """Copy files to a run's artifacts.

        They go into a folder if one is named.
        """

    def set_tags(self, run_id: str, tags: Mapping[str, str]) -> None:
        """Set tags of a run."""

    def amend_runs(self, amendments: Mapping[str, Amendment]) -> None:
        """Add what recorded runs lack, by run id.

        Runs that have it are left as they are.
        """

    def experiment_tags(self) -> dict[str, str]:
        """Return the tags of the MLflow experiment."""

    def set_experiment_tags(self, tags: Mapping[str, str]) -> None:
        """Set tags of the MLflow experiment."""

    def find_children(self, parent: str, retries: Mapping[int, str] = {}) -> dict[int, str]:
        """Return the ids of a sweep's complete runs by row.

        Runs that are retried are left out. Runs that were recorded in part are deleted.
        """

    def open_history(self) -> History | None:
        """Return access to the store's earlier runs.

        None if nothing is recorded.
        """

    def how_to_view(self) -> str:
        """Return a command or an address that shows the runs."""


def call_now(call: Callable[..., _T], *arguments: Any) -> Future[_T]:
    """Call now, and return the result or error as a Future."""
    future: Future[_T] = Future()
    try:
        future.set_result(call(*arguments))
    except Exception as error:
        future.set_exception(error)
    return future
