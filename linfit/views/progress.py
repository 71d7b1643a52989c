"""A bar on stderr while fits run: how many are done, at what rate, how long it will still take."""

from __future__ import annotations

import sys
import time
from collections import deque
from collections.abc import Callable, Sequence
from datetime import timedelta
from math import ceil

from rich.console import Console
from rich.filesize import pick_unit_and_suffix
from rich.progress import BarColumn, Progress, ProgressColumn, TextColumn, TimeElapsedColumn

from linfit.engine.fit import Status
from linfit.sweeps.recording import Done
from linfit.views.tables import console as console_for

#: Seconds between two looks of the bar, and before a fit alone has one.
BETWEEN, PATIENCE = 0.1, 1.0
#: How many times are remembered at which so many steps were made, and the seconds of computing between two.
MARKS, SPACING = 30, 1.0
#: Columns of a terminal that has room for the whole bar, and of one that has room for the time that is left.
WIDE, NARROW = 80, 40


class ProgressBar:
    """An observer that draws a bar; where stderr is no terminal it is drawn once, at the end of a sweep.

    Making steps and recording fits are timed apart. How long the steps that are left will take follows from the last half
    minute or more: from their rate, and from the share of them that was made where fits ended before their last step. How
    long recording will take follows from the fits handed over so far. The time until the first steps are made says
    nothing of the others: it goes to imports and to the data.
    """

    def __init__(
        self, console: Console | None = None, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self.console, self.clock = console or console_for(sys.stderr), clock
        texts = [
            TextColumn(f"{{task.fields[{name}]}}") for name in ("fits", "rate", "left", "trouble")
        ]
        fits, rate, left, trouble = texts
        self.progress = Progress(
            *self._fitted(fits, rate, left, trouble), console=self.console, get_time=clock
        )
        self.task = self.progress.add_task(
            "", total=None, fits="", rate="", left="", trouble="", start=False
        )
        self.begun = False

    def _fitted(
        self, fits: TextColumn, rate: TextColumn, left: TextColumn, trouble: TextColumn
    ) -> tuple[ProgressColumn, ...]:
        """Return the columns for which a terminal has room: all of them, or the most telling ones."""
        if self.console.width >= WIDE:
            return fits, BarColumn(bar_width=20), rate, TimeElapsedColumn(), left, trouble
        return (fits, left, trouble) if self.console.width >= NARROW else (fits,)

    def begin(self, total: int, steps: int) -> None:
        """So many fits are to be done, of so many steps; said again, with those before among them, where more come later."""
        self.total, self.steps = total, steps
        if not self.begun:
            self.begun = True
            self.done = self.handed = self.made = self.spared = 0
            self.computing = self.recording = 0.0
            self.marks: deque[tuple[float, int, int]] = deque(maxlen=MARKS)
            self.counts, self.timed = dict.fromkeys(Status, 0), False
            self.progress.reset(self.task, total=None)
        self.now = self.clock()
        if total > 1:
            self._draw()
        else:
            self.due = self.now + PATIENCE if self.console.is_terminal else float("inf")

    def passed(self, made: int, spared: int) -> None:
        """Fits have made steps, and will not make others."""
        self.made, self.spared = self.made + made, self.spared + spared
        since = self._since()
        if self.marks:
            self.computing += since
        if not self.marks or self.computing >= self.marks[-1][0] + SPACING:
            self.marks.append((self.computing, self.made, self.spared))
        self.timed = False
        ended = (
            spared and not self.handed
        )  # a whole fit perhaps: then it is handed over at once, and more is known
        if self.now >= self.due and not ended:
            self._draw()

    def advance(self, done: Sequence[Done]) -> None:
        """Fits have been recorded."""
        self.done += len(done)
        self.handed = min(self.total, max(self.handed + 1, self.done))
        for entry in done:
            self.counts[entry.status] += 1
        if self.timed:
            self.recording += self._since()
        else:  # what ends a block of fits is not what each of them costs
            self.computing += self._since()
        self.timed = True
        if self.now >= self.due or (self.done == self.total and self.progress.live.is_started):
            self._draw()

    def end(self) -> None:
        """Leaves the bar as it is; a fit alone was quicker than its bar, or has had it."""
        if self.begun:
            self.begun = False
            if self.progress.live.is_started:
                self.progress.stop()

    def _since(self) -> float:
        before, self.now = self.now, self.clock()
        return self.now - before

    def _left(self) -> float | None:
        """Seconds; None where nothing is known."""
        to_make = (
            self.steps - self.spared - self.made if self.done < self.total else 0
        )  # those of failed fits are never made
        seconds, made, spared = self._recent()
        if to_make and not (seconds and made):
            return None
        if self.handed:  # until then nobody knows whether the others will end as early
            made += spared
        making = to_make * seconds / made if to_make else 0.0
        return making + self.recording * (self.total - self.handed) / max(self.handed, 1)

    def _recent(self) -> tuple[float, int, int]:
        """The seconds of computing since the oldest mark, and the steps made and spared in them."""
        if not self.marks:
            return 0.0, 0, 0
        seconds, made, spared = self.marks[0]
        return self.computing - seconds, self.made - made, self.spared - spared

    def _draw(self) -> None:
        self.progress.start()
        self.due = self.now + BETWEEN
        spent, left = self.computing + self.recording, self._left()
        seconds, made, _ = self._recent()
        trouble = ", ".join(
            f"{self.counts[status]} {status.value}"
            for status in (Status.DIVERGED, Status.FAILED)
            if self.counts[status]
        )
        self.progress.update(
            self.task,
            completed=spent,
            total=None if left is None else spent + left,
            fits=f"{self.done}/{self.total} fits",
            rate=_rate(made / seconds) if seconds and made else "",
            left="" if left is None else f"{timedelta(seconds=ceil(left))} left",
            trouble=trouble,
        )


def _rate(value: float) -> str:
    unit, suffix = pick_unit_and_suffix(int(value), ["", "k", "M", "G"], 1000)
    return f"{value / unit:.3g}{suffix} steps/s"
