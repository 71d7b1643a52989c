"""Start of a worker process. It imports next to nothing, to end with its parent from the start."""

from __future__ import annotations

import sys

from linfit.system.host import exit_with_parent, ignore_interrupts
from linfit.system.scratch import share_scratch

#: Seconds between two looks at the parent process, where the system does not tell of its end.
PARENT_CHECK_SECONDS = 0.2


def initialize_worker(parent: int, scratch: str, path: list[str]) -> None:
    """Prepare a worker process, which never outlives its parent.

    Ctrl-C is the parent's to handle. Temporary files go into the parent's folder.
    """
    exit_with_parent(parent, PARENT_CHECK_SECONDS)
    ignore_interrupts()
    share_scratch(scratch)
    sys.path[:] = path
