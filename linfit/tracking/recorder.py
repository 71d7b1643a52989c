"""The interface of recorders, which write rows to a store and decide nothing about them."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

from linfit.tracking.model import Predictor
from linfit.tracking.run_records import Amendment, Row

if TYPE_CHECKING:
    from linfit.tracking.history import History

_T = TypeVar("_T")


class Recorder(Protocol):
    """Write runs to a store.

    A single run and the parent of a sweep are started and ended. The fits of a sweep are logged as
    finished runs.
    """

    @property
    def experiment_id(self) -> str:
        """Id of the MLflow experiment; empty if nothing is recorded."""

    def wait(self) -> None:
        """Wait until the store is open; RecordingError if it cannot be opened."""

    def begin(self, row: Row) -> str:
        """Start a RUNNING run with the row's tags and params, and return its id."""

    def resume(self, run_id: str, tags: dict[str, str]) -> None:
        """Set a run that has ended, or whose process was killed, to RUNNING, and add tags."""

    def end(
        self, run_id: str, row: Row, files: Sequence[Path] = (), model: Predictor | None = None
    ) -> None:
        """End a started run.

        Its metrics, dataset, new tags, files and model are logged before its status is set.
        """

    def add(self, rows: Sequence[Row]) -> list[str]:
        """Log finished runs, and return their ids.

        As far as the store allows, a run is recorded completely or not at all.
        """

    def submit(self, rows: Sequence[Row]) -> Future[list[str]]:
        """Like `add`, but return a Future at once where possible.

        Later calls wait for these runs.
        """

    def attach(self, run_id: str, files: Sequence[Path], folder: str | None = None) -> None:
        """Copy files to the artifacts of a run, into a folder if one is named."""

    def tag(self, run_id: str, tags: Mapping[str, str]) -> None:
        """Set tags of a run."""

    def amend(self, amendments: Mapping[str, Amendment]) -> None:
        """Add what recorded runs lack, by run id; leave runs that have it as they are."""

    def presentation(self) -> dict[str, str]:
        """Return the tags of the MLflow experiment."""

    def present(self, tags: Mapping[str, str]) -> None:
        """Set tags of the MLflow experiment."""

    def children(self, parent: str, retries: Mapping[int, str] = {}) -> dict[int, str]:
        """Return the ids of a sweep's complete runs by row, without runs that are retried.

        Runs that were recorded in part are deleted.
        """

    def history(self) -> History | None:
        """Return access to the earlier runs of the store; None if nothing is recorded."""

    def where(self) -> str:
        """Return a command or an address that shows the runs."""


def at_once(call: Callable[..., _T], *arguments: Any) -> Future[_T]:
    """Make a call now, and return its result or error as a Future."""
    future: Future[_T] = Future()
    try:
        future.set_result(call(*arguments))
    except Exception as error:
        future.set_exception(error)
    return future
