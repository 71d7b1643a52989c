"""The recording process, in which MLflow lives while linfit's own process fits.

prestart.py starts it, and remote.py sends it requests (messages.py). It opens one recorder and
calls that recorder's methods. It exits when its connection is closed, or with its parent.
"""

from __future__ import annotations

import logging
import os
import pickle
import signal
import sys
import traceback
from collections.abc import Sequence
from contextlib import suppress
from multiprocessing.connection import Connection
from typing import Any

from linfit.errors import LinfitError
from linfit.settings import MLflowTracking
from linfit.system.host import exit_with_parent
from linfit.system.scratch import share_scratch
from linfit.tracking.store.store import create_empty_store, resolve_store
from linfit.tracking.write.background.messages import (
    BROKEN,
    DONE,
    LOGGED,
    OPEN,
    RAISED,
    receive_frame,
)
from linfit.tracking.write.open import open_recorder_here
from linfit.tracking.write.recorder import Recorder

#: Seconds between two checks for the parent, on systems that do not end this process with it.
PARENT_PAUSE = 0.1


class RecorderServer:
    """Serve `parent`: open its recorder, then call the recorder's methods."""

    def __init__(self, connection: Connection, parent: int) -> None:
        self.connection = connection
        self.parent = parent
        self.recorder: Recorder | None = None

    def serve(self) -> None:
        """Answer requests until the connection is closed."""
        with suppress(BrokenPipeError):
            while (request := receive_frame(self.connection)) is not None:
                self.connection.send_bytes(self._answer(request))

    def _answer(self, request: bytes) -> bytes:
        try:
            name, arguments = pickle.loads(request)
            return pickle.dumps((DONE, self._call(name, arguments)))
        except Exception as error:
            if isinstance(error, (LinfitError, OSError, ValueError)):
                # Not every error can be pickled.
                with suppress(Exception):
                    return pickle.dumps((RAISED, error))
            report = f"{type(error).__name__}: {error}\n{traceback.format_exc()}"
            return pickle.dumps((BROKEN, report))

    def _call(self, name: str, arguments: Sequence[Any]) -> Any:
        if name == OPEN:
            return self._open(*arguments)
        return getattr(self.recorder, name)(*arguments)

    def _open(self, tracking: MLflowTracking, experiment: str) -> str:
        """Open the recorder, and return the id of its MLflow experiment."""
        recorder = open_recorder_here(tracking, experiment, self.parent)
        self.recorder = recorder
        return recorder.experiment_id


class LogForwarder(logging.Handler):
    """Send log records to the parent, which logs them."""

    def __init__(self, connection: Connection) -> None:
        super().__init__(logging.WARNING)
        self.connection = connection

    def emit(self, record: logging.LogRecord) -> None:
        """Send one record, unless the parent is gone."""
        content = (record.name, record.levelno, record.getMessage())
        with suppress(BrokenPipeError):
            self.connection.send_bytes(pickle.dumps((LOGGED, content)))


def serve_recorder(parent: int, scratch: str, elsewhere: bool, handle: int) -> None:
    """Serve the process `parent` over its connection.

    Use its folder for temporary files. `elsewhere` is True if `parent` will not ask for the default
    store.
    """
    # A signal for all processes of a job is meant for the parent, which ends this process.
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)
    exit_with_parent(parent, PARENT_PAUSE)
    share_scratch(scratch)
    # What libraries print belongs to the log, and never among results.
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())

    # Imported now, and not when the first request has come.
    import linfit.tracking.write.database  # noqa: F401

    connection = Connection(handle)
    logging.getLogger().addHandler(LogForwarder(connection))
    if not elsewhere:
        prepare_default_store()
    RecorderServer(connection, parent).serve()
    # Nothing is left to tidy up, and the modules of MLflow would take their time.
    os._exit(0)


def prepare_default_store() -> None:
    """Create the default store's content in advance, if absent."""
    # Errors are reported when the store is opened.
    with suppress(Exception):
        file = resolve_store().file
        if file is not None and not file.exists():
            create_empty_store()
