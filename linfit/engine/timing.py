"""Time that fits take, measured on a few of them for a few steps on this machine.

n samples, p features, q targets.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from timeit import timeit

import numpy as np

from linfit.engine.determinism import torch_settings
from linfit.engine.single import fit_one
from linfit.engine.stacked.blocks import Task, find_optima
from linfit.engine.stacked.program import Program
from linfit.engine.stacked.run import group_by_optimizer, run_block
from linfit.settings import SingleEngine

#: Fits of which the overhead is timed: at most FITS, and at most NUMBERS of n · p · q in all.
TIMED_NUMBERS = 2**20
TIMED_FITS = 256
#: Fits of the single engine that are timed.
TIMED_SINGLE_FITS = 4
#: Steps that are timed; fewer if they take longer than PATIENCE seconds.
TIMED_STEPS = 128
TIMING_SECONDS = 0.5
#: Steps before the clock starts.
WARM_UP_STEPS = 2


@dataclass(frozen=True)
class Cost:
    """Seconds of a fit without steps, and of each step."""

    per_fit: float
    per_step: float

    def estimate_seconds(self, num_fits: int, num_steps: int) -> float:
        """Estimate the time of `num_fits` fits with `num_steps` steps overall."""
        return num_fits * self.per_fit + num_steps * self.per_step


def measure_cost(block: Sequence[Task], single: bool) -> Cost | None:
    """Measure a block's fits in the engine that runs them.

    None if one of them raises.

    The overhead is timed on a few fits. Steps of the stacked engine are timed on the whole block,
    since they cost more if the block does not fit in the processor's caches.
    """
    try:
        with torch_settings(block[0].config):
            if single:
                return _measure_single(block)
            return _measure_stacked(block)
    except (Exception, SystemExit):  # a component may call sys.exit
        return None


def sample_evenly(tasks: Sequence[Task], most: int) -> list[Task]:
    """Return at most `most` of the tasks, evenly spaced."""
    return list(tasks[:: -(-len(tasks) // most)])


def _measure_stacked(block: Sequence[Task]) -> Cost:
    n, p, q = block[0].data.rounded.shape
    most = max(1, min(TIMED_FITS, TIMED_NUMBERS // (n * p * q)))
    sample = [_without_steps(task) for task in sample_evenly(block, most)]
    run_block(sample[:1])  # the first call loads libraries, which is not the fits' time
    overhead = timeit(lambda: list(run_block(sample).build_fits()), number=1)

    find_optima([task for task in block if task.config.optimizer.needs_optimum()])
    tasks = group_by_optimizer(block)
    if len(tasks) == 1:
        tasks *= 2
    program = Program(tasks)
    return Cost(overhead / len(sample), _measure_step(program) / len(block))


def _measure_step(program: Program) -> float:
    start = time.perf_counter()
    k = 0
    for k in range(1, WARM_UP_STEPS + TIMED_STEPS + 1):
        _, gradient = program.evaluate(program.W)
        program.update_weights(k, gradient)
        if k == WARM_UP_STEPS:
            start = time.perf_counter()
        elif time.perf_counter() - start > TIMING_SECONDS:
            break
    return (time.perf_counter() - start) / max(1, k - WARM_UP_STEPS)


def _measure_single(block: Sequence[Task]) -> Cost:
    sample = sample_evenly(block, TIMED_SINGLE_FITS)
    _fit_all(sample[:1], 1)
    overhead = timeit(lambda: _fit_all(sample, 0), number=1)
    total = timeit(lambda: _fit_all(sample, TIMED_STEPS), number=1)
    return Cost(overhead / len(sample), max(0.0, total - overhead) / (len(sample) * TIMED_STEPS))


def _fit_all(tasks: Sequence[Task], steps: int) -> None:
    for task in tasks:
        fit_one(task.config.model_copy(update={"steps": steps, "engine": SingleEngine()}))


def _without_steps(task: Task) -> Task:
    config = task.config.model_copy(update={"steps": 0})
    return replace(task, config=config, schedule=np.array([0]))
