"""Many fits as a few tensor programs: the same steps as the single engine's, for every fit of a stack at once.

    config → task (blocks.py) → block, cut by memory → program (program.py) → ledger (ledger.py) → fit

A stack is what agrees in shapes, model, loss, gradient, dtype, device, threads and
determinism. Optimizers, hyperparameters, seeds, data,
initial weights, steps and what is recorded differ freely inside one. Fits that ended leave the program.

n samples, p features, q targets, r fits of a stack, w steps of a window.
"""

from __future__ import annotations

import traceback
from collections.abc import Hashable, Iterator, Sequence
from operator import itemgetter

import numpy as np
import torch
from torch import Tensor

from linfit.config import FitConfig
from linfit.engine.blocks import WINDOW, Task, blocks, find_optima
from linfit.engine.determinism import computing
from linfit.engine.fit import Fit, Status
from linfit.engine.ledger import Ledger, Rows
from linfit.engine.listening import Report, unheard
from linfit.engine.program import Program

WORTH_LEAVING = 0.75
"""Ended fits leave when no more than this share of the program's rows goes on: leaving copies the rest."""


def fit_stacks(configs: Sequence[FitConfig], report: Report = unheard) -> Iterator[tuple[int, Fit]]:
    """Runs fit configs whose parts all have a stacked rule: every place in `configs` with its fit, block by block, in order
    within a block.

    A fit whose data or initial weights cannot be had is `failed` and the others go on; a program that raises fails its block.
    """
    for block in blocks(configs):
        if isinstance(block, tuple):
            yield block
            continue
        try:
            with (
                computing(block[0].config),
                np.errstate(over="ignore", invalid="ignore"),
            ):  # hyperparameters may be infinite
                results = sorted(run(block, report).fits(), key=itemgetter(0))
        except (Exception, SystemExit):  # a component that exits has not fitted anything
            error = traceback.format_exc()
            results = [(task.place, Fit(task.config, Status.FAILED, error=error)) for task in block]
        yield from results


def run(block: Sequence[Task], report: Report = unheard) -> Ledger:
    """Gradient descent of a block: losses and gradients where the weights stand, then the updates."""
    find_optima(block)
    tasks = by_optimizer(block)
    ledger = Ledger(tasks)
    rows = doubled(np.arange(len(tasks)))
    program = Program([tasks[row] for row in rows])
    losses, weights = program.window(WINDOW)  # [w, r], [w, r, p, q]
    norms = norms_like(losses) if ledger.watches_norms else None
    last, to_go = int(ledger.last.max()), ledger.to_go(0)
    for first in range(0, last + 1, WINDOW):
        count = min(WINDOW, last + 1 - first)
        for slot in range(count):
            losses[slot], gradient = program.evaluate(program.W)
            weights[slot] = program.W
            if norms is not None:
                norms[slot] = gradient.double().square().sum(dim=(1, 2)).sqrt()
            if first + slot < last:
                program.update(first + slot + 1, gradient)
        seen = losses[:count].cpu().numpy().astype(np.float64), weights[:count].cpu().numpy()
        flatness = None if norms is None else norms[:count].cpu().numpy()
        planned = ledger.to_go(first + count)
        going_on = doubled(np.flatnonzero(ledger.look(first, rows, *seen, flatness)))
        left = ledger.to_go(first + count)
        report(to_go - planned, planned - left)
        to_go = left
        if not len(going_on):
            break
        if len(going_on) <= WORTH_LEAVING * len(rows):
            rows = rows[going_on]
            program.select(going_on.tolist())
            losses, weights = program.window(WINDOW)
            norms = None if norms is None else norms_like(losses)
    return ledger


def norms_like(losses: Tensor) -> Tensor:
    """Room for the norms of the gradients `[w, r]`, in float64 and never that of the losses."""
    return torch.empty_like(losses, dtype=torch.float64)


def by_optimizer(block: Sequence[Task]) -> list[Task]:
    """The block's tasks, those of one kind of optimizer together."""
    kinds: dict[Hashable, list[Task]] = {}
    for task in block:
        kinds.setdefault(task.moved_as, []).append(task)
    return [task for tasks in kinds.values() for task in tasks]


def doubled(rows: Rows) -> Rows:
    """A lone row twice (program.py says why), others as they are."""
    return np.repeat(rows, 2) if len(rows) == 1 else rows
