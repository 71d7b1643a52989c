"""What a recorder is: it carries rows to where they are kept, and decides nothing about them."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

from linfit.tracking.model import Predictor
from linfit.tracking.run_records import Amendment, Row

if TYPE_CHECKING:
    from linfit.tracking.history import History

T = TypeVar("T")


class Recorder(Protocol):
    """Where runs go. A run is begun and ended (a single run, the parent of a sweep), or added whole (its children)."""

    @property
    def experiment_id(self) -> str:
        """The id of the MLflow experiment; empty where nothing is kept."""

    def wait(self) -> None:
        """Until the store is open; RecordingError if it cannot be opened."""

    def begin(self, row: Row) -> str:
        """A new RUNNING run with the row's tags and params; returns its id."""

    def resume(self, run_id: str, tags: dict[str, str]) -> None:
        """Makes a run that has ended, or that a killed process left, RUNNING again, with more tags."""

    def end(
        self, run_id: str, row: Row, files: Sequence[Path] = (), model: Predictor | None = None
    ) -> None:
        """Ends a run that was begun: metrics, dataset, new tags, files, the model, then the status."""

    def add(self, rows: Sequence[Row]) -> list[str]:
        """Whole runs, each there finished or not at all as far as the store allows; returns their ids."""

    def submit(self, rows: Sequence[Row]) -> Future[list[str]]:
        """The same without waiting, where the recorder can go on meanwhile; whatever else it is asked to do, it does this before."""

    def attach(self, run_id: str, files: Sequence[Path], folder: str | None = None) -> None:
        """Adds files to a run, in a folder of its artifacts if one is named."""

    def tag(self, run_id: str, tags: Mapping[str, str]) -> None:
        """Sets tags of a run."""

    def amend(self, amendments: Mapping[str, Amendment]) -> None:
        """Gives recorded runs, by id, what they lack; runs that have it already stay as they are."""

    def presentation(self) -> dict[str, str]:
        """The tags of the MLflow experiment."""

    def present(self, tags: Mapping[str, str]) -> None:
        """Sets tags of the MLflow experiment."""

    def children(self, parent: str, retries: Mapping[int, str] = {}) -> dict[int, str]:
        """The ids of a sweep's runs that are all there, by row, without those that are run again; what is there in part is discarded."""

    def history(self) -> History | None:
        """What the store knows of earlier runs; None where nothing is kept."""

    def where(self) -> str:
        """How to look at it: a command or an address."""


def at_once(call: Callable[..., T], *arguments: Any) -> Future[T]:
    """What comes out of a call that is made here and now."""
    future: Future[T] = Future()
    try:
        future.set_result(call(*arguments))
    except Exception as error:
        future.set_exception(error)
    return future
