"""Notes on the data that were fitted: told once on stderr, and kept with the run."""

from __future__ import annotations

from linfit.engine.fit import Fit
from linfit.sweeps.explanation import notice

#: Different notes that are told; the run keeps more.
MOST = 20


class Remarks:
    """The notes of all fitted problems, each once, in order of appearance."""

    def __init__(self) -> None:
        self.kept: dict[str, None] = {}

    def take(self, fit: Fit) -> None:
        """Tell the user the new notes on a fit's problem."""
        if fit.problem is None:
            return
        for note in fit.problem.notes:
            if note not in self.kept:
                self.kept[note] = None
                if len(self.kept) <= MOST:
                    notice(f"note: {note}")

    def end(self) -> None:
        """Tell the user how many notes were not shown."""
        if len(self.kept) > MOST:
            notice(f"{len(self.kept) - MOST} more notes are kept with the run")
