"""Many fits as a few tensor programs: the steps of the single engine, for all fits of a stack.

    config → task (blocks.py) → block, cut at the memory limit → program (program.py)
           → trace (ledger.py) → fit

Fits of one stack agree in shapes, model, loss, gradient, dtype, device, threads and determinism.
They may differ in optimizer, hyperparameters, seeds, data, initial weights, steps and in what is
recorded. Fits that have ended leave the program.

n samples, p features, q targets, r fits of a stack, w steps of a window.
"""

from __future__ import annotations

import time
import traceback
from collections.abc import Hashable, Iterator, Sequence
from itertools import chain
from operator import itemgetter

import numpy as np
import torch
from torch import Tensor

from linfit.config import FitConfig
from linfit.engine.determinism import torch_settings
from linfit.engine.fit import Fit, Status
from linfit.engine.listening import ProgressCallback, ignore_progress
from linfit.engine.stacked.blocks import WINDOW, Task, cut_into_blocks, find_optima
from linfit.engine.stacked.program import Program
from linfit.engine.stacked.trace import RowIndices, StackTrace
from linfit.engine.stopping import gradient_norm

#: Steps of the first window.
FIRST_WINDOW = 2
COMPACT_BELOW = 0.75
"""Ended fits leave if at most this share of the rows is active: leaving copies the other rows."""


def fit_stacks(
    configs: Sequence[FitConfig], report: ProgressCallback = ignore_progress
) -> Iterator[tuple[int, Fit]]:
    """Run configs whose parts all have a stacked rule.

    Yield (index, fit), block by block.

    The fits of a block are in order. A fit whose data or initial weights raise is `failed`, and the
    others go on; a program that raises fails its block.
    """
    for block in cut_into_blocks(configs):
        if isinstance(block, tuple):
            yield block
        else:
            yield from _fit_block(block, report)


def _fit_block(block: Sequence[Task], report: ProgressCallback) -> list[tuple[int, Fit]]:
    ignored = np.errstate(over="ignore", invalid="ignore")  # hyperparameters may be infinite
    try:
        with torch_settings(block[0].config), ignored:
            return sorted(run_block(block, report).build_fits(), key=itemgetter(0))
    except (Exception, SystemExit):  # a component may call sys.exit
        error = traceback.format_exc()
        return [(task.index, Fit(task.config, Status.FAILED, error=error)) for task in block]


def run_block(block: Sequence[Task], report: ProgressCallback = ignore_progress) -> StackTrace:
    """Descend with a block's fits at once; return their trace."""
    find_optima(block)
    tasks = group_by_optimizer(block)
    ledger = StackTrace(tasks)
    rows = pad_single_row(np.arange(len(tasks)))
    program = Program([tasks[row] for row in rows])
    losses, weights = program.allocate_window(WINDOW)  # [w, r], [w, r, p, q]
    norms = allocate_norms(losses) if ledger.watches_norms else None
    last = int(ledger.last.max())
    to_go = ledger.count_remaining_steps(0)

    for first, count in plan_windows(last + 1):
        ledger.step_times.start_window()
        evaluating = 0.0
        for slot in range(count):
            begun = time.perf_counter()
            losses[slot], gradient = program.evaluate(program.W)
            evaluating += time.perf_counter() - begun
            weights[slot] = program.W
            if norms is not None:
                norms[slot] = gradient_norm(gradient)
            if first + slot < last:
                program.update_weights(first + slot + 1, gradient)

        observed = losses[:count].cpu().numpy().astype(np.float64)
        ledger.step_times.end_window(rows, program.take_shares(evaluating), count)

        # Steps up to `planned` were made; from there to `left` they are spared by fits that ended.
        planned = ledger.count_remaining_steps(first + count)
        is_active = ledger.observe(
            first,
            rows,
            observed,
            weights[:count].cpu().numpy(),
            None if norms is None else norms[:count].cpu().numpy(),
        )
        left = ledger.count_remaining_steps(first + count)
        report(to_go - planned, planned - left)
        to_go = left

        active = pad_single_row(np.flatnonzero(is_active))
        if not len(active):
            break
        if len(active) <= COMPACT_BELOW * len(rows):
            rows = rows[active]
            program.keep_rows(active.tolist())
            losses, weights = program.allocate_window(WINDOW)
            if norms is not None:
                norms = allocate_norms(losses)
    return ledger


def plan_windows(steps: int) -> Iterator[tuple[int, int]]:
    """Yield first step and length of each window: 2, 2, 4, 8, … up to WINDOW.

    The first ones are short, since methods that need few steps end there.
    """
    first = 0
    while first < steps:
        count = min(max(first, FIRST_WINDOW), WINDOW, steps - first)
        yield first, count
        first += count


def allocate_norms(losses: Tensor) -> Tensor:
    """Return an empty tensor for gradient norms `[w, r]`, in float64."""
    return torch.empty_like(losses, dtype=torch.float64)


def group_by_optimizer(block: Sequence[Task]) -> list[Task]:
    """Return a block's tasks, grouped by their optimizers' kind."""
    kinds: dict[Hashable, list[Task]] = {}
    for task in block:
        kinds.setdefault(task.update_key, []).append(task)
    return list(chain.from_iterable(kinds.values()))


def pad_single_row(rows: RowIndices) -> RowIndices:
    """Return a single row twice, several rows unchanged.

    The reason is in program.py.
    """
    return np.repeat(rows, 2) if len(rows) == 1 else rows
