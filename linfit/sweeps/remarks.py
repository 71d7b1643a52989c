"""What the user should know of the data that were fitted: told once on stderr, whatever the number of fits, and kept with the run."""

from __future__ import annotations

from linfit.engine.fit import Fit
from linfit.sweeps.explanation import notice

#: Different sentences that are told; the run keeps more.
MOST = 20


class Remarks:
    """The notes of all problems that were fitted, each once, in the order in which they came."""

    def __init__(self) -> None:
        self.kept: dict[str, None] = {}

    def take(self, fit: Fit) -> None:
        """Tells what is new of a fit's problem."""
        for note in () if fit.problem is None else fit.problem.notes:
            if note not in self.kept:
                self.kept[note] = None
                if len(self.kept) <= MOST:
                    notice(f"note: {note}")

    def end(self) -> None:
        """Says how many were not told."""
        if len(self.kept) > MOST:
            notice(f"{len(self.kept) - MOST} more notes are kept with the run")
