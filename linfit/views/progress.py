"""A bar on stderr while a sweep runs: how many are done, at what rate, how long it will still take."""

from __future__ import annotations

from collections.abc import Sequence

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from linfit.engine.fit import Status
from linfit.sweeps.recording import Done


class ProgressBar:
    """An observer of a sweep that draws a bar; where stderr is no terminal it is drawn once, at the end."""

    def __init__(self) -> None:
        columns = (BarColumn(), MofNCompleteColumn(), TextColumn("{task.fields[rate]}"), TimeElapsedColumn(), TimeRemainingColumn())
        self.progress = Progress(TextColumn("fits"), *columns, TextColumn("{task.fields[trouble]}"), console=Console(stderr=True))
        self.task = self.progress.add_task("fits", rate="", trouble="", start=False)
        self.begun = False
        self.counts = dict.fromkeys(Status, 0)

    def begin(self, total: int) -> None:
        self.progress.update(self.task, total=total)
        if not self.begun:
            self.begun = True
            self.progress.start_task(self.task)
            self.progress.start()

    def advance(self, done: Sequence[Done]) -> None:
        for entry in done:
            self.counts[entry.status] += 1
        trouble = ", ".join(f"{self.counts[status]} {status.value}" for status in (Status.DIVERGED, Status.FAILED) if self.counts[status])
        self.progress.update(self.task, advance=len(done), rate=self._rate(len(done)), trouble=trouble)

    def end(self) -> None:
        if self.begun:
            self.begun = False
            self.progress.stop()

    def _rate(self, more: int) -> str:
        task = self.progress.tasks[self.task]
        return f"{(task.completed + more) / task.elapsed:.1f}/s" if task.elapsed else ""
