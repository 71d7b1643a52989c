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

from linfit.scratch import scratch_folder
from linfit.system import is_windows
from linfit.tracking.processes import ChildProcess

#: It imports from the same folders as this process, and collects garbage as seldom.
PROGRAM = """
import gc, sys
gc.set_threshold({objects})
sys.path[:] = {path!r}
from linfit.tracking.desk import serve_recorder
serve_recorder({parent}, {scratch!r}, {elsewhere}, int(sys.argv[-1]))
"""
URI = "tracking.uri="
SQLITE = "sqlite:"
#: Words of commands that record nothing, ask MLflow before they run anything, or leave recording to
#: other processes.
UNRECORDED = {
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


def begin(words: Sequence[str]) -> None:
    """Start the recording process for a command with these words, if that saves time."""
    if "mlflow" in sys.modules or is_windows() or _waiting:
        return
    if worthwhile(words):
        begin_anyhow(elsewhere=any(word.startswith(URI) for word in words))


def worthwhile(words: Sequence[str]) -> bool:
    """Return True if a command with these words records in a SQLite file, as far as they tell."""
    if not UNRECORDED.isdisjoint(word.partition("=")[0] for word in words):
        return False
    typed = [word.removeprefix(URI) for word in words if word.startswith(URI)]
    addresses = typed or [os.environ.get("MLFLOW_TRACKING_URI") or SQLITE]
    return all(address.startswith(SQLITE) for address in addresses)


def begin_anyhow(elsewhere: bool) -> None:
    """Start the recording process; `elsewhere` is True if the store is not the default one."""
    # If no process can be started, this one records.
    with suppress(OSError):
        program = PROGRAM.format(
            objects=gc.get_threshold()[0],
            path=sys.path,
            parent=os.getpid(),
            scratch=str(scratch_folder()),
            elsewhere=elsewhere,
        )
        _waiting.append(ChildProcess([sys.executable, "-P", "-c", program]))


def waiting() -> ChildProcess | None:
    """Return the recording process to the first caller; None to others, or if none was started."""
    return _waiting.pop() if _waiting else None


def dismiss() -> None:
    """Let the recording process exit if nobody has taken it."""
    child = waiting()
    if child is not None:
        child.close()
