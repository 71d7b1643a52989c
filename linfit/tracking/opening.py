"""The recorder that a config asks for."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from concurrent.futures import Future
from pathlib import Path

from linfit.errors import RecordingError
from linfit.scratch import note_store
from linfit.settings import MLflowTracking, NoTracking, Tracking
from linfit.tracking.direct import open_store
from linfit.tracking.head_start import dismiss, waiting
from linfit.tracking.leftovers import remove_leftovers
from linfit.tracking.migrations import require_current
from linfit.tracking.model import Predictor
from linfit.tracking.recorder import Recorder, at_once
from linfit.tracking.remote import RemoteRecorder
from linfit.tracking.run_records import Amendment, Row
from linfit.tracking.store import locate


class NullRecorder:
    """Keeps nothing."""

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


def open_recorder(tracking: Tracking, experiment: str) -> Recorder:
    """The recorder that `tracking` asks for, its store made if absent; RecordingError if that cannot be, from here or from `wait`."""
    if isinstance(tracking, MLflowTracking):
        store = locate(tracking.uri, tracking.artifacts)
        if (
            store.file is not None
        ):  # MLflow is imported for other databases: where the recorder opens them
            require_current(store)
            remove_leftovers()  # a caller's script is no command
            note_store(store.file)
        if store.file is not None and (process := waiting()) is not None:
            there = tracking.model_copy(update={"uri": store.uri, "artifacts": store.artifacts})
            return RemoteRecorder(process, store, there, experiment)
        dismiss()
        return open_store(tracking, experiment)
    dismiss()
    if isinstance(tracking, NoTracking):
        return NullRecorder()
    raise RecordingError(
        f"tracking {tracking.name!r} has no recorder: choose tracking=mlflow or tracking=none"
    )
