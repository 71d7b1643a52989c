"""Notes on the data that were fitted: told once on stderr, and kept with the run."""

from __future__ import annotations

from linfit.engine.fit import Fit
from linfit.sweeps.config_files.messages import notify_user

#: Different notes that are told; the run keeps more.
MAX_TOLD = 20


class DataNotes:
    """The notes of all fitted problems, each once, in order of appearance."""

    def __init__(self) -> None:
        self.notes: dict[str, None] = {}

    def add_notes(self, fit: Fit) -> None:
        """Tell the user the new notes on a fit and its problem."""
        if fit.problem is None:
            return
        for note in (*fit.config.notes(), *fit.problem.notes):
            if note not in self.notes:
                self.notes[note] = None
                if len(self.notes) <= MAX_TOLD:
                    notify_user(f"note: {note}")

    def tell_rest(self) -> None:
        """Tell the user how many notes were not shown."""
        if len(self.notes) > MAX_TOLD:
            notify_user(f"{len(self.notes) - MAX_TOLD} more notes are kept with the run")
