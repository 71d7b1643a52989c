"""The recorder of `tracking=none`, which records nothing."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from concurrent.futures import Future
from pathlib import Path

from linfit.tracking.model import Predictor
from linfit.tracking.recorder import at_once
from linfit.tracking.run_records import Amendment, Row


class NullRecorder:
    """Record nothing."""

    experiment_id = ""

    def wait(self) -> None:
        return None

    def begin(self, row: Row) -> str:
        return ""

    def resume(self, run_id: str, tags: dict[str, str]) -> None:
        return None

    def end(
        self, run_id: str, row: Row, files: Sequence[Path] = (), model: Predictor | None = None
    ) -> None:
        return None

    def add(self, rows: Sequence[Row]) -> list[str]:
        return [""] * len(rows)

    def submit(self, rows: Sequence[Row]) -> Future[list[str]]:
        return at_once(self.add, rows)

    def attach(self, run_id: str, files: Sequence[Path], folder: str | None = None) -> None:
        return None

    def tag(self, run_id: str, tags: Mapping[str, str]) -> None:
        return None

    def amend(self, amendments: Mapping[str, Amendment]) -> None:
        return None

    def presentation(self) -> dict[str, str]:
        return {}

    def present(self, tags: Mapping[str, str]) -> None:
        return None

    def children(self, parent: str, retries: Mapping[int, str] = {}) -> dict[int, str]:
        return {}

    def history(self) -> None:
        return None

    def where(self) -> str:
        return "nothing was recorded (tracking=none)"
