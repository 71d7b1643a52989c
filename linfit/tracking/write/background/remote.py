"""The recorder whose MLflow lives in the recording process.

MLflow takes as long to import as torch does, and a new store half as long again. Two processes do
both at once on two cores.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from linfit.errors import RecordingError
from linfit.settings import MLflowTracking
from linfit.tracking.model import ModelFiles
from linfit.tracking.schema.run_records import Amendment, RunRecord
from linfit.tracking.store.store import Store, format_store_command
from linfit.tracking.write.background.messages import BROKEN, LOGGED, OPEN, RAISED
from linfit.tracking.write.background.processes import ChildProcess, SerialWorker
from linfit.tracking.write.recorder import Recorder

if TYPE_CHECKING:
    from linfit.tracking.read.history import History

_T = TypeVar("_T")


class ProcessEndedError(RecordingError):
    """The recording process has ended before it answered."""


class RemoteRecorder:
    """Have the recording process open the store and record.

    If that process ends early, go on here. An error that is raised there is raised here. An
    unexpected one becomes RuntimeError with its traceback.
    """

    def __init__(
        self,
        child: ChildProcess,
        store: Store,
        tracking: MLflowTracking,
        experiment: str,
        open_here: Callable[[MLflowTracking, str], Recorder],
    ) -> None:
        self.store = store
        self._child = child
        self._settings = (tracking, experiment)
        self._open_here = open_here
        self._worker = SerialWorker()
        self._opened = self._worker.submit(self._open)

    def wait_until_open(self) -> None:
        self._opened.result()

    @property
    def experiment_id(self) -> str:
        return self._opened.result()

    def start_run(self, row: RunRecord) -> str:
        return self._call(Recorder.start_run, row)

    def resume_run(self, run_id: str, tags: dict[str, str]) -> None:
        self._call(Recorder.resume_run, run_id, tags)

    def end_run(
        self,
        run_id: str,
        row: RunRecord,
        files: Sequence[Path] = (),
        model: ModelFiles | None = None,
    ) -> None:
        self._call(Recorder.end_run, run_id, row, list(files), model)

    def break_off_run(self, run_id: str, row: RunRecord) -> bool:
        return self._call(Recorder.break_off_run, run_id, row)

    def log_runs(self, rows: Sequence[RunRecord]) -> list[str]:
        return self.log_runs_async(rows).result()

    def log_runs_async(self, rows: Sequence[RunRecord]) -> Future[list[str]]:
        self.wait_until_open()
        return self._worker.submit_unless_failed(self._request, Recorder.log_runs, (list(rows),))

    def log_artifacts(self, run_id: str, files: Sequence[Path], folder: str | None = None) -> None:
        self._call(Recorder.log_artifacts, run_id, list(files), folder)

    def set_tags(self, run_id: str, tags: Mapping[str, str]) -> None:
        self._call(Recorder.set_tags, run_id, dict(tags))

    def amend_runs(self, amendments: Mapping[str, Amendment]) -> None:
        self._call(Recorder.amend_runs, dict(amendments))

    def experiment_tags(self) -> dict[str, str]:
        return self._call(Recorder.experiment_tags)

    def set_experiment_tags(self, tags: Mapping[str, str]) -> None:
        self._call(Recorder.set_experiment_tags, dict(tags))

    def find_children(self, parent: str, retries: Mapping[int, str] = {}) -> dict[int, str]:
        return self._call(Recorder.find_children, parent, dict(retries))

    def open_history(self) -> History | None:
        self._worker.wait_until_idle()
        return self._here.open_history()

    def how_to_view(self) -> str:
        return format_store_command(self.store)

    @cached_property
    def _here(self) -> Recorder:
        return self._open_here(*self._settings)

    def _open(self) -> str:
        """Return the id of the MLflow experiment.

        If the recording process ends before it has opened the store, the store is opened here.
        """
        try:
            return str(self._exchange(OPEN, *self._settings))
        except ProcessEndedError:
            return self._here.experiment_id

    def _call(self, method: Callable[..., _T], *arguments: Any) -> _T:
        self.wait_until_open()
        future: Future[_T] = self._worker.submit(self._request, method, arguments)
        return future.result()

    def _request(self, method: Callable[..., _T], arguments: Sequence[Any]) -> _T:
        """Call a method of the recorder in the recording process.

        If that process ended before the request, the call is made here.
        """
        name = method.__name__
        answer: _T
        if self._child.process.poll() is None:
            answer = self._exchange(name, *arguments)
        else:
            answer = getattr(self._here, name)(*arguments)
        return answer

    def _exchange(self, name: str, *arguments: Any) -> Any:
        self._child.send((name, arguments))
        kind, content = self._receive_answer()
        if kind == RAISED:
            raise content
        if kind == BROKEN:
            raise RuntimeError(content)
        return content

    def _receive_answer(self) -> tuple[str, Any]:
        """Return the answer, and log the records that come before it."""
        while (message := self._child.receive()) is not None:
            kind, content = message
            if kind != LOGGED:
                return kind, content
            name, level, text = content
            logging.getLogger(name).log(level, text)
        code = self._child.wait()
        raise ProcessEndedError(
            f"the store {self.store.file} failed: "
            f"the process that writes to it has ended with exit code {code}"
        )
