"""The process for a recorder, begun before anything else is: by the time that the recorder is opened, MLflow is imported there.

It is not begun where MLflow is imported already, nor where a process does not know that its parent is gone.
"""

from __future__ import annotations

import gc
import os
import sys
from collections.abc import Sequence
from contextlib import suppress

from linfit.scratch import scratch_folder
from linfit.system import is_windows
from linfit.tracking.processes import Child

#: It imports from the same places, so that what is found here is found there, and looks for circles among new objects as seldom.
PROGRAM = """
import gc, sys
gc.set_threshold({objects})
sys.path[:] = {path!r}
from linfit.tracking.desk import main
main({parent}, {scratch!r}, {elsewhere})
"""
URI, SQLITE = "tracking.uri=", "sqlite:"
#: What says that nothing is recorded, or that MLflow is asked before anything is run, or that runs are recorded by other processes.
UNRECORDED = {
    *("tracking", "hydra/launcher", "--skip-done"),
    *("--help", "-h", "--hydra-help", "--cfg", "-c", "--info", "-i", "--shell-completion", "-sc"),
}

_waiting: list[Child] = []
if hasattr(os, "register_at_fork"):  # what speaks to it is one process
    os.register_at_fork(after_in_child=_waiting.clear)


def begin(words: Sequence[str]) -> None:
    """For a command with these words, where it saves time."""
    if "mlflow" not in sys.modules and not is_windows() and worthwhile(words) and not _waiting:
        begin_anyhow(elsewhere=any(word.startswith(URI) for word in words))


def worthwhile(words: Sequence[str]) -> bool:
    """Whether a command with these words records, as far as they say, in a SQLite file."""
    typed = [word.removeprefix(URI) for word in words if word.startswith(URI)]
    addresses = typed or [os.environ.get("MLFLOW_TRACKING_URI") or SQLITE]
    return UNRECORDED.isdisjoint(word.partition("=")[0] for word in words) and all(
        one.startswith(SQLITE) for one in addresses
    )


def begin_anyhow(elsewhere: bool) -> None:
    """`elsewhere` says that the store is not the default one."""
    with suppress(OSError):  # where there is no room for another process, this one does it
        scratch = str(scratch_folder())
        program = PROGRAM.format(
            objects=gc.get_threshold()[0],
            path=sys.path,
            parent=os.getpid(),
            scratch=scratch,
            elsewhere=elsewhere,
        )
        _waiting.append(Child([sys.executable, "-P", "-c", program], None))


def waiting() -> Child | None:
    """The process that has had a head start, for the one who asks first."""
    return _waiting.pop() if _waiting else None


def dismiss() -> None:
    """Lets it go where nobody has asked for it."""
    if (child := waiting()) is not None:
        child.close()
