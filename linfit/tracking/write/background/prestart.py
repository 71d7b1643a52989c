"""Start the recording process before anything else: by the time the recorder is opened, that
process has imported MLflow.

It is not started if MLflow is imported here already, nor on Windows, where a process does not
notice the end of its parent.
"""

from __future__ import annotations

import gc
import os
import sys
from collections.abc import Sequence
from contextlib import suppress

from linfit.system.host import is_windows
from linfit.system.scratch import ensure_scratch_folder
from linfit.tracking.write.background.processes import ChildProcess

#: It imports from the same folders as this process, and collects garbage as seldom.
SERVER_PROGRAM = """
import gc, sys
gc.set_threshold({objects})
sys.path[:] = {path!r}
from linfit.tracking.write.background.server import serve_recorder
serve_recorder({parent}, {scratch!r}, {elsewhere}, int(sys.argv[-1]))
"""
URI_OVERRIDE = "tracking.uri="
SQLITE_PREFIX = "sqlite:"
#: Words of commands that record nothing, ask MLflow before they run anything, or leave recording to
#: other processes.
WORDS_WITHOUT_RECORDER = {
    "tracking",
    "hydra/launcher",
    "--skip-done",
    "--help",
    "-h",
    "--hydra-help",
    "--cfg",
    "-c",
    "--info",
    "-i",
    "--shell-completion",
    "-sc",
}

_waiting: list[ChildProcess] = []
# A connection belongs to one process: a forked child has none.
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_waiting.clear)


def prestart_process(words: Sequence[str]) -> None:
    """Start the recording process early, if that saves time.

    It is for a command with these words.
    """
    if "mlflow" in sys.modules or is_windows() or _waiting:
        return
    if should_prestart(words):
        start_process(elsewhere=any(word.startswith(URI_OVERRIDE) for word in words))


def should_prestart(words: Sequence[str]) -> bool:
    """Return True if a command seems to record in SQLite.

    That is in a file, as far as the command's words tell.
    """
    if not WORDS_WITHOUT_RECORDER.isdisjoint(word.partition("=")[0] for word in words):
        return False
    typed = [word.removeprefix(URI_OVERRIDE) for word in words if word.startswith(URI_OVERRIDE)]
    addresses = typed or [os.environ.get("MLFLOW_TRACKING_URI") or SQLITE_PREFIX]
    return all(address.startswith(SQLITE_PREFIX) for address in addresses)


def start_process(elsewhere: bool) -> None:
    """Start the recording process.

    `elsewhere` is True if the store is not the default one.
    """
    # If no process can be started, this one records.
    with suppress(OSError):
        program = SERVER_PROGRAM.format(
            objects=gc.get_threshold()[0],
            path=sys.path,
            parent=os.getpid(),
            scratch=str(ensure_scratch_folder()),
            elsewhere=elsewhere,
        )
        _waiting.append(ChildProcess([sys.executable, "-P", "-c", program]))


def take_process() -> ChildProcess | None:
    """Return the recording process to the first caller.

    None to others, or if none was started.
    """
    return _waiting.pop() if _waiting else None


def discard_process() -> None:
    """Let the recording process exit if nobody has taken it."""
    child = take_process()
    if child is not None:
        child.discard()
