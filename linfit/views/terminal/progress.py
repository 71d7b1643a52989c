"""A bar on stderr while fits run: how many are done, at what rate, how long the rest will take."""

from __future__ import annotations

import sys
import time
from collections import deque
from collections.abc import Callable, Sequence
from datetime import timedelta
from math import ceil
from typing import Any

from rich.console import Console
from rich.filesize import pick_unit_and_suffix
from rich.progress import BarColumn, Progress, ProgressColumn, TextColumn, TimeElapsedColumn

from linfit.engine.fit import Status
from linfit.sweeps.run.block_pipeline import CompletedFit
from linfit.views.terminal.tables import open_console as console_for

#: Seconds between two drawings of the bar.
REDRAW_SECONDS = 0.1
#: Seconds before a lone fit has a bar.
LONE_FIT_SECONDS = 1.0
#: The most times at which the number of steps is remembered.
MOST_MARKS = 30
#: Seconds of computing between two of these times.
MARK_SECONDS = 1.0
#: Columns of a terminal that has room for the whole bar.
WIDE_TERMINAL = 80
#: Columns of a terminal that has room for what Ctrl-C keeps.
KEPT_TERMINAL = 110
#: Columns of a terminal that has room for the time that is left.
NARROW_TERMINAL = 40


class ProgressBar:
    """An observer that draws a bar.

    Without a terminal it is drawn once, at the end of a sweep.

    Making steps and recording fits are timed apart. The time for the steps that are left follows
    from the last half minute or more: from their rate, and from the share of them that was made
    where fits ended before their last step. The time for recording follows from the fits handed
    over so far. The time until the first steps says nothing of the others: it goes to imports and
    to the data.
    """

    def __init__(
        self, console: Console | None = None, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self.console = console or console_for(sys.stderr)
        self.clock = clock
        columns = self._choose_columns()
        self.progress = Progress(*columns, console=self.console, get_time=clock)
        fields: dict[str, Any] = {
            "fits": "",
            "rate": "",
            "left": "",
            "trouble": "",
        }
        self.task = self.progress.add_task(
            "",
            total=None,
            start=False,
            **fields,
        )
        self.begun = False

    def _choose_columns(self) -> Sequence[ProgressColumn]:
        """Return the columns for which a terminal has room: all, or those that say most."""
        fits, rate, left, trouble = (
            TextColumn(f"{{task.fields[{name}]}}") for name in ("fits", "rate", "left", "trouble")
        )
        if self.console.width >= WIDE_TERMINAL:
            return fits, BarColumn(bar_width=20), rate, TimeElapsedColumn(), left, trouble
        return (fits, left, trouble) if self.console.width >= NARROW_TERMINAL else (fits,)

    def begin(self, total: int, steps: int) -> None:
        """Start with the numbers of fits and of all their steps.

        Called again, with the earlier fits included, when more fits come later.
        """
        self.total = total
        self.steps = steps
        if not self.begun:
            self._reset()
        self.now = self.clock()
        if total > 1:
            self._draw()
        else:
            self.due = self.now + LONE_FIT_SECONDS if self.console.is_terminal else float("inf")

    def _reset(self) -> None:
        self.begun = True
        self.done = self.handed = self.made = self.spared = 0
        self.computing = self.recording = 0.0
        self.marks: deque[tuple[float, int, int]] = deque(maxlen=MOST_MARKS)
        self.counts = dict.fromkeys(Status, 0)
        self.timed = False
        self.progress.reset(self.task, total=None)

    def on_steps(self, made: int, spared: int) -> None:
        """Count steps that were made, and steps that no fit will make any more."""
        self.made += made
        self.spared += spared
        since = self._since()
        if self.marks:
            self.computing += since
        if not self.marks or self.computing >= self.marks[-1][0] + MARK_SECONDS:
            self.marks.append((self.computing, self.made, self.spared))
        self.timed = False
        # A whole fit may have ended: it is handed over at once, and more is known then.
        ended = spared and not self.handed
        if self.now >= self.due and not ended:
            self._draw()

    def advance(self, done: Sequence[CompletedFit]) -> None:
        """Count fits that were recorded."""
        self.done += len(done)
        self.handed = min(self.total, max(self.handed + 1, self.done))
        for entry in done:
            self.counts[entry.status] += 1
        if self.timed:
            self.recording += self._since()
        else:  # the end of a block of fits is no cost of each of them
            self.computing += self._since()
        self.timed = True
        all_done = self.done == self.total and self.progress.live.is_started
        if self.now >= self.due or all_done:
            self._draw()

    def end(self) -> None:
        """Leave the bar on the screen."""
        if self.begun:
            self.begun = False
            if self.progress.live.is_started:
                self.progress.stop()

    def _since(self) -> float:
        before = self.now
        self.now = self.clock()
        return self.now - before

    def _left(self) -> float | None:
        """Return the seconds that are left, None where they are unknown."""
        # Steps of fits that failed are never made.
        to_make = self.steps - self.spared - self.made if self.done < self.total else 0
        seconds, made, spared = self._recent()
        if to_make and not (seconds and made):
            return None
        if self.handed:  # until then nobody knows if the others will end as early
            made += spared
        making = to_make * seconds / made if to_make else 0.0
        return making + self.recording * (self.total - self.handed) / max(self.handed, 1)

    def _recent(self) -> tuple[float, int, int]:
        """Return the computing seconds since the oldest mark, with the steps made and spared."""
        if not self.marks:
            return 0.0, 0, 0
        seconds, made, spared = self.marks[0]
        return self.computing - seconds, self.made - made, self.spared - spared

    def _draw(self) -> None:
        self.progress.start()
        self.due = self.now + REDRAW_SECONDS
        spent = self.computing + self.recording
        left = self._left()
        seconds, made, _ = self._recent()
        lost = {status.value: self.counts[status] for status in (Status.DIVERGED, Status.FAILED)}
        trouble = [f"{count} {status}" for status, count in lost.items() if count]
        self.progress.update(
            self.task,
            completed=spent,
            total=None if left is None else spent + left,
            fits=self._describe_progress(),
            rate=_rate(made / seconds) if seconds and made else "",
            left="" if left is None else f"{timedelta(seconds=ceil(left))} left",
            trouble=", ".join(trouble),
        )

    def _describe_progress(self) -> str:
        """Return the fits that are recorded, the share of steps made, and the fits that have ended.

        Many fits run together: long before the first of them is recorded, their steps go on. Ctrl-C
        keeps fits that have ended, also those that are not recorded yet.
        """
        fits = f"{self.done}/{self.total} fits"
        if self.total == 1 or self.done == self.total or not self.steps:
            return fits
        share = f"{min(self.made + self.spared, self.steps) / self.steps:.0%} of steps"
        if self.console.width < KEPT_TERMINAL:
            return f"{fits}, {share}"
        return f"{fits}, {share}, Ctrl-C keeps {max(self.handed, self.done)}"


def _rate(value: float) -> str:
    unit, suffix = pick_unit_and_suffix(int(value), ["", "k", "M", "G"], 1000)
    return f"{value / unit:.3g}{suffix} steps/s"
