"""The recorder whose MLflow lives in a process of its own, which imports it, and makes the store, while this one imports torch.

MLflow takes as long to import as torch does, and a new store half as long again; a machine with two cores does both at once.
"""

from __future__ import annotations

import logging
import pickle
from collections.abc import Mapping, Sequence
from concurrent.futures import Future
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from linfit.errors import RecordingError
from linfit.settings import MLflowTracking
from linfit.tracking.direct import open_store
from linfit.tracking.model import Predictor
from linfit.tracking.processes import Child, Line
from linfit.tracking.recorder import Recorder
from linfit.tracking.run_records import Amendment, Row
from linfit.tracking.store import Store, command

if TYPE_CHECKING:
    from linfit.tracking.history import History

#: What an answer begins with: what comes back, what was raised, of what nobody expects the traceback; or before it, something to be logged.
DONE, RAISED, BROKEN, LOGGED = "done", "raised", "broken", "logged"
#: The request that opens the recorder.
OPEN = "open"


class EndedError(RecordingError):
    """The process has ended in the middle of what it was asked to do."""


class RemoteRecorder:
    """Has a process record, which opens the store meanwhile; where that process ends before its time, what is left is done here.

    What is raised there is raised here, or what nobody expects as RuntimeError with its traceback.
    """

    def __init__(
        self, child: Child, store: Store, tracking: MLflowTracking, experiment: str
    ) -> None:
        self.store, self._child, self._settings = store, child, (tracking, experiment)
        self._line = Line()
        self._opened = self._line.do(self._open)

    def wait(self) -> None:
        self._opened.result()

    @property
    def experiment_id(self) -> str:
        return self._opened.result()

    def begin(self, row: Row) -> str:
        return str(self._do("begin", row))

    def resume(self, run_id: str, tags: dict[str, str]) -> None:
        self._do("resume", run_id, tags)

    def end(
        self, run_id: str, row: Row, files: Sequence[Path] = (), model: Predictor | None = None
    ) -> None:
        self._do("end", run_id, row, list(files), model)

    def add(self, rows: Sequence[Row]) -> list[str]:
        return self.submit(rows).result()

    def submit(self, rows: Sequence[Row]) -> Future[list[str]]:
        self.wait()
        return self._line.attempt(self._asked, "add", (list(rows),))

    def attach(self, run_id: str, files: Sequence[Path], folder: str | None = None) -> None:
        self._do("attach", run_id, list(files), folder)

    def tag(self, run_id: str, tags: Mapping[str, str]) -> None:
        self._do("tag", run_id, dict(tags))

    def amend(self, amendments: Mapping[str, Amendment]) -> None:
        self._do("amend", dict(amendments))

    def presentation(self) -> dict[str, str]:
        return dict(self._do("presentation"))

    def present(self, tags: Mapping[str, str]) -> None:
        self._do("present", dict(tags))

    def children(self, parent: str, retries: Mapping[int, str] = {}) -> dict[int, str]:
        return dict(self._do("children", parent, dict(retries)))

    def history(self) -> History | None:
        self._line.wait()
        return self._here.history()

    def where(self) -> str:
        return command(self.store)

    @cached_property
    def _here(self) -> Recorder:
        return open_store(*self._settings)

    def _open(self) -> str:
        """The id of the MLflow experiment; where the process ends before it begins, what is wrong shows here."""
        try:
            return str(self._told(OPEN, self._settings))
        except EndedError:
            return self._here.experiment_id

    def _do(self, name: str, *arguments: Any) -> Any:
        self.wait()
        return self._line.do(self._asked, name, arguments).result()

    def _asked(self, name: str, arguments: Sequence[Any]) -> Any:
        """What comes of it there, or here where the process has ended while it was asked for nothing."""
        if self._child.process.poll() is not None:
            return getattr(self._here, name)(*arguments)
        return self._told(name, arguments)

    def _told(self, name: str, arguments: Sequence[Any]) -> Any:
        self._child.tell(pickle.dumps((name, arguments)))
        kind, said = self._heard()
        if kind == RAISED:
            raise said
        if kind == BROKEN:
            raise RuntimeError(said)
        return said

    def _heard(self) -> tuple[str, Any]:
        """The answer; what is logged before goes to the log."""
        while (content := self._child.answer()) is not None:
            kind, said = pickle.loads(content)
            if kind != LOGGED:
                return kind, said
            name, level, text = said
            logging.getLogger(name).log(level, text)
        code = self._child.end()
        raise EndedError(
            f"the store {self.store.file} failed: the process that writes to it has ended with exit code {code}"
        )
