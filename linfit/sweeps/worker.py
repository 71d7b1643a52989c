"""What a worker process does before anything else. It imports next to nothing, so that from its first moment it ends with its parent."""

from __future__ import annotations

import sys

from linfit.scratch import share_scratch
from linfit.system import exit_with_parent, ignore_interrupts

#: Seconds between two looks at whether the parent is there, where the system does not tell.
PAUSE = 0.2


def begin(parent: int, scratch: str, path: list[str]) -> None:
    """Ready a worker: Ctrl-C is its parent's business, whose folder for temporary files it uses, and which it never outlives."""
    exit_with_parent(parent, PAUSE)
    ignore_interrupts()
    share_scratch(scratch)
    sys.path[:] = path
