"""What a recorder is: it carries rows to where they are kept, and decides nothing about them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Protocol

from linfit.engine.fit import Fit
from linfit.tracking.layout import Row


class Recorder(Protocol):
    """Where runs go. A run is begun and ended (a single run, the parent of a sweep), or added whole (its children)."""

    def begin(self, row: Row) -> str:
        """A new RUNNING run with the row's tags and params; returns its id."""

    def end(self, run_id: str, row: Row, files: Sequence[Path] = (), model: Fit | None = None) -> None:
        """Ends a run that was begun: metrics, dataset, new tags, files, the fit that becomes the model, then the status."""

    def add(self, rows: Sequence[Row]) -> list[str]:
        """Whole runs, each there finished or not at all as far as the store allows; returns their ids."""

    def attach(self, run_id: str, files: Sequence[Path]) -> None:
        """Adds files to a run."""

    def where(self) -> str:
        """How to look at it: a command or an address."""
