"""The recorder of `tracking=none`, which records nothing."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from concurrent.futures import Future
from pathlib import Path

from linfit.tracking.model import ModelFiles
from linfit.tracking.schema.run_records import Amendment, RunRecord
from linfit.tracking.write.recorder import call_now


class NullRecorder:
    """Record nothing."""

    experiment_id = ""

    def wait_until_open(self) -> None:
        return None

    def start_run(self, row: RunRecord) -> str:
        return ""

    def resume_run(self, run_id: str, tags: dict[str, str]) -> None:
        return None

    def end_run(
        self,
        run_id: str,
        row: RunRecord,
        files: Sequence[Path] = (),
        model: ModelFiles | None = None,
    ) -> None:
        return None

    def break_off_run(self, run_id: str, row: RunRecord) -> bool:
        return True

    def log_runs(self, rows: Sequence[RunRecord]) -> list[str]:
        return [""] * len(rows)

    def log_runs_async(self, rows: Sequence[RunRecord]) -> Future[list[str]]:
        return call_now(self.log_runs, rows)

    def log_artifacts(self, run_id: str, files: Sequence[Path], folder: str | None = None) -> None:
        return None

    def set_tags(self, run_id: str, tags: Mapping[str, str]) -> None:
        return None

    def amend_runs(self, amendments: Mapping[str, Amendment]) -> None:
        return None

    def experiment_tags(self) -> dict[str, str]:
        return {}

    def set_experiment_tags(self, tags: Mapping[str, str]) -> None:
        return None

    def find_children(self, parent: str, retries: Mapping[int, str] = {}) -> dict[int, str]:
        return {}

    def open_history(self) -> None:
        return None

    def how_to_view(self) -> str:
        return "nothing was recorded (tracking=none)"
