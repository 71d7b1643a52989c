"""A bar on stderr while fits run: how many are done, at what rate, how long it will still take."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from datetime import timedelta
from math import ceil

from rich.console import Console
from rich.filesize import pick_unit_and_suffix
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

from linfit.engine.fit import Status
from linfit.sweeps.recording import Done

#: Seconds between two looks of the bar, and before a fit alone has one.
BETWEEN, PATIENCE = 0.1, 1.0


class ProgressBar:
    """An observer that draws a bar; where stderr is no terminal it is drawn once, at the end of a sweep.

    Making steps and recording fits are timed apart: how long the steps take that are left, and the fits, follows from how long
    those took that are done.
    """

    def __init__(self, console: Console | None = None, clock: Callable[[], float] = time.monotonic) -> None:
        self.console, self.clock = console or Console(stderr=True), clock
        texts = [TextColumn(f"{{task.fields[{name}]}}") for name in ("fits", "rate", "left", "trouble")]
        columns = (texts[0], BarColumn(bar_width=20), texts[1], TimeElapsedColumn(), *texts[2:])
        self.progress = Progress(*columns, console=self.console, get_time=clock)
        self.task = self.progress.add_task("", total=None, fits="", rate="", left="", trouble="", start=False)
        self.begun = False

    def begin(self, total: int, steps: int) -> None:
        """So many fits are to be done, of so many steps; said again, with those before among them, where more come later."""
        self.total, self.steps = total, steps
        if not self.begun:
            self.begun = True
            self.done = self.made = self.spared = 0
            self.computing = self.recording = 0.0
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
        self.computing += self._since()
        self.timed = False
        if self.now >= self.due:
            self._draw()

    def advance(self, done: Sequence[Done]) -> None:
        """Fits have been recorded."""
        self.done += len(done)
        for entry in done:
            self.counts[entry.status] += 1
        if self.timed:
            self.recording += self._since()
        else:  # what ends a block of fits is not what each of them costs
            self.computing += self._since()
        self.timed = True
        if self.now >= self.due or self.done == self.total:
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
        if not self.made and not self.done:
            return None
        to_make = self.steps - self.spared - self.made if self.done < self.total else 0  # those of failed fits are never made
        steps = self.computing * to_make / max(self.made, 1)
        return steps + self.recording * (self.total - self.done) / max(self.done, 1)

    def _draw(self) -> None:
        self.progress.start()
        self.due = self.now + BETWEEN
        spent, left = self.computing + self.recording, self._left()
        trouble = ", ".join(f"{self.counts[status]} {status.value}" for status in (Status.DIVERGED, Status.FAILED) if self.counts[status])
        self.progress.update(
            self.task,
            completed=spent,
            total=None if left is None else spent + left,
            fits=f"{self.done}/{self.total} fits",
            rate=_rate(self.made / self.computing) if self.made and self.computing else "",
            left="" if left is None else f"{timedelta(seconds=ceil(left))} left",
            trouble=trouble,
        )


def _rate(value: float) -> str:
    unit, suffix = pick_unit_and_suffix(int(value), ["", "k", "M", "G"], 1000)
    return f"{value / unit:.3g}{suffix} steps/s"
