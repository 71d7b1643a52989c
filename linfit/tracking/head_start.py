"""The process for a recorder, begun before anything else is: by the time that the recorder is opened, MLflow is imported there.

It is not begun where MLflow is imported already, nor where a process does not know that its parent is gone.
"""

from __future__ import annotations

import gc
import os
import sys

from linfit.tracking.processes import Child

#: It imports from the same places, so that what is found here is found there, and looks for circles among new objects as seldom.
PROGRAM = """
import gc, sys
gc.set_threshold({objects})
sys.path[:] = {path!r}
from linfit.tracking.desk import main
main({parent}, {elsewhere})
"""

_waiting: list[Child] = []


def begin(elsewhere: bool = False) -> None:
    """Where it saves time. `elsewhere` says that the store is not the default one."""
    if "mlflow" not in sys.modules and sys.platform != "win32":
        begin_anyhow(elsewhere)


def begin_anyhow(elsewhere: bool) -> None:
    if not _waiting:
        program = PROGRAM.format(objects=gc.get_threshold()[0], path=sys.path, parent=os.getpid(), elsewhere=elsewhere)
        _waiting.append(Child([sys.executable, "-P", "-c", program], None))


def waiting() -> Child | None:
    """The process that has had a head start, for the one who asks first."""
    return _waiting.pop() if _waiting else None


def dismiss() -> None:
    """Lets it go where nobody has asked for it."""
    if (child := waiting()) is not None:
        child.close()
