"""What fits cost in time, measured on a few of them for a few steps: the only way that is honest on any machine.

n samples, p features, q targets.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np

from linfit.config import FitConfig
from linfit.engine.blocks import Task
from linfit.engine.single import fit_one
from linfit.engine.stacked import run
from linfit.engine.threads import threads
from linfit.settings import SingleEngine

#: Numbers of a sample's features, times targets, up to which so many steps are timed; a few steps of a larger one.
SMALL, STEPS, FEW = 2**22, 128, 4
MOST_STACKED, MOST_SINGLE = 512, 4


@dataclass(frozen=True)
class Cost:
    """Seconds for a fit beside its steps, and for each of its steps."""

    fit: float
    step: float

    def seconds(self, num_fits: int, num_steps: int) -> float:
        """About how long so many fits take, that make so many steps together."""
        return num_fits * self.fit + num_steps * self.step


def sampled(tasks: Sequence[Task], single: bool) -> list[Task]:
    """Some of the tasks of one shape, evenly taken: enough to time, few enough to be quick."""
    n, p, q = tasks[0].data.seen.shape
    most = MOST_SINGLE if single else max(1, min(MOST_STACKED, SMALL // (n * p * q)))
    return list(tasks[:: -(-len(tasks) // most)])


def measure(sample: Sequence[Task], single: bool) -> Cost | None:
    """What the fits of a sample cost, in the engine that runs them; None where one of them raises."""
    n, p, q = sample[0].data.seen.shape
    steps = STEPS if len(sample) * n * p * q <= SMALL else FEW
    attempt = _single if single else _stacked
    try:
        with threads(sample[0].config.threads):
            _timed(attempt, sample[:2], 1)  # what is loaded when it is first used is not the fits'
            begun = _timed(attempt, sample, 0)
            none, some = _timed(attempt, sample, 0), _timed(attempt, sample, steps)
    except (Exception, SystemExit):  # a component that exits
        return None
    return Cost(begun / len(sample), max(0.0, some - none) / (len(sample) * steps))


def _timed(attempt: Callable[[Sequence[Task]], None], sample: Sequence[Task], steps: int) -> float:
    schedule = np.array(sorted({0, steps}))
    short = [replace(task, config=task.config.model_copy(update={"steps": steps}), schedule=schedule) for task in sample]
    start = time.perf_counter()
    attempt(short)
    return time.perf_counter() - start


def _stacked(tasks: Sequence[Task]) -> None:
    for _ in run(tasks).fits():
        pass


def _single(tasks: Sequence[Task]) -> None:
    for task in tasks:
        fit_one(_alone(task.config))


def _alone(config: FitConfig) -> FitConfig:
    return config.model_copy(update={"engine": SingleEngine()})
