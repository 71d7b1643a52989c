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
from linfit.tracking.messages import BROKEN, LOGGED, OPEN, RAISED
from linfit.tracking.model import Predictor
from linfit.tracking.processes import ChildProcess, SerialWorker
from linfit.tracking.recorder import Recorder
from linfit.tracking.run_records import Amendment, Row
from linfit.tracking.store import Store, command

if TYPE_CHECKING:
    from linfit.tracking.history import History

_T = TypeVar("_T")


class EndedError(RecordingError):
    """The recording process has ended before it answered."""


class RemoteRecorder:
    """Have the recording process open the store and record; if that process ends early, go on here.

    An error that is raised there is raised here. An unexpected one becomes RuntimeError with its
    traceback.
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

    def wait(self) -> None:
        self._opened.result()

    @property
    def experiment_id(self) -> str:
        return self._opened.result()

    def begin(self, row: Row) -> str:
        return self._call(Recorder.begin, row)

    def resume(self, run_id: str, tags: dict[str, str]) -> None:
        self._call(Recorder.resume, run_id, tags)

    def end(
        self, run_id: str, row: Row, files: Sequence[Path] = (), model: Predictor | None = None
    ) -> None:
        self._call(Recorder.end, run_id, row, list(files), model)

    def add(self, rows: Sequence[Row]) -> list[str]:
        return self.submit(rows).result()

    def submit(self, rows: Sequence[Row]) -> Future[list[str]]:
        self.wait()
        return self._worker.submit_unless_failed(self._request, Recorder.add, (list(rows),))

    def attach(self, run_id: str, files: Sequence[Path], folder: str | None = None) -> None:
        self._call(Recorder.attach, run_id, list(files), folder)

    def tag(self, run_id: str, tags: Mapping[str, str]) -> None:
        self._call(Recorder.tag, run_id, dict(tags))

    def amend(self, amendments: Mapping[str, Amendment]) -> None:
        self._call(Recorder.amend, dict(amendments))

    def presentation(self) -> dict[str, str]:
        return self._call(Recorder.presentation)

    def present(self, tags: Mapping[str, str]) -> None:
        self._call(Recorder.present, dict(tags))

    def children(self, parent: str, retries: Mapping[int, str] = {}) -> dict[int, str]:
        return self._call(Recorder.children, parent, dict(retries))

    def history(self) -> History | None:
        self._worker.wait_until_idle()
        return self._here.history()

    def where(self) -> str:
        return command(self.store)

    @cached_property
    def _here(self) -> Recorder:
        return self._open_here(*self._settings)

    def _open(self) -> str:
        """Return the id of the MLflow experiment.

        If the recording process ends before it has opened the store, the store is opened here.
        """
        try:
            return str(self._exchange(OPEN, *self._settings))
        except EndedError:
            return self._here.experiment_id

    def _call(self, method: Callable[..., _T], *arguments: Any) -> _T:
        self.wait()
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
        raise EndedError(
            f"the store {self.store.file} failed: "
            f"the process that writes to it has ended with exit code {code}"
        )
