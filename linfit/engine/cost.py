"""What fits cost in time, measured on a few of them for a few steps: the only way that is honest on any machine.

n samples, p features, q targets.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np

from linfit.engine.blocks import Task, find_optima
from linfit.engine.determinism import computing
from linfit.engine.program import Program
from linfit.engine.single import fit_one
from linfit.engine.stacked import by_optimizer, run
from linfit.settings import SingleEngine

#: Numbers of a sample's features, times targets, and fits of it, up to which what surrounds the steps is timed.
NUMBERS, FITS, FITS_SINGLE = 2**20, 256, 4
#: Steps that are timed at the most, seconds after which fewer will do, and steps before the clock starts.
STEPS, PATIENCE, WARM = 128, 0.5, 2


@dataclass(frozen=True)
class Cost:
    """Seconds for a fit beside its steps, and for each of its steps."""

    fit: float
    step: float

    def seconds(self, num_fits: int, num_steps: int) -> float:
        """About how long so many fits take, that make so many steps together."""
        return num_fits * self.fit + num_steps * self.step


def measure(block: Sequence[Task], single: bool) -> Cost | None:
    """What the fits of a block cost, in the engine that runs them; None where one of them raises.

    What surrounds the steps is timed on a few fits; the steps of the stacked engine on the whole block, since they cost more
    where it does not fit in the processor's caches.
    """
    try:
        with computing(block[0].config):
            return _single(block) if single else _stacked(block)
    except (Exception, SystemExit):  # a component that exits
        return None


def sampled(tasks: Sequence[Task], most: int) -> list[Task]:
    """At most so many of the tasks, evenly taken."""
    return list(tasks[:: -(-len(tasks) // most)])


def _stacked(block: Sequence[Task]) -> Cost:
    n, p, q = block[0].data.seen.shape
    sample = [
        _without_steps(task) for task in sampled(block, max(1, min(FITS, NUMBERS // (n * p * q))))
    ]
    _timed(lambda: run(sample[:1]))  # what is loaded when it is first used is not the fits'
    begun = _timed(lambda: list(run(sample).fits()))
    find_optima([task for task in block if task.config.optimizer.asks()])
    tasks = by_optimizer(block)
    program = Program(tasks if len(tasks) > 1 else tasks * 2)
    return Cost(begun / len(sample), _seconds_a_step(program) / len(block))


def _seconds_a_step(program: Program) -> float:
    start, k = time.perf_counter(), 0
    for k in range(1, WARM + STEPS + 1):
        _, gradient = program.evaluate(program.W)
        program.update(k, gradient)
        if k == WARM:
            start = time.perf_counter()
        elif time.perf_counter() - start > PATIENCE:
            break
    return (time.perf_counter() - start) / max(1, k - WARM)


def _single(block: Sequence[Task]) -> Cost:
    sample = sampled(block, FITS_SINGLE)
    _fit_all(sample[:1], 1)
    begun, all_of_it = _timed(lambda: _fit_all(sample, 0)), _timed(lambda: _fit_all(sample, STEPS))
    return Cost(begun / len(sample), max(0.0, all_of_it - begun) / (len(sample) * STEPS))


def _fit_all(tasks: Sequence[Task], steps: int) -> None:
    for task in tasks:
        fit_one(task.config.model_copy(update={"steps": steps, "engine": SingleEngine()}))


def _without_steps(task: Task) -> Task:
    return replace(task, config=task.config.model_copy(update={"steps": 0}), schedule=np.array([0]))


def _timed(action: Callable[[], object]) -> float:
    start = time.perf_counter()
    action()
    return time.perf_counter() - start
