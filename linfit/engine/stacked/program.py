"""A stack as one tensor program: r fits of one shape, model, loss and gradient.

    X `[r, p, 1, n]`, y `[r, q, n]`   samples last, so that sums over them run along memory;
                                      `[1, …]` where all fits share them
    W, ∂loss/∂W `[r, p, q]`           each kind of optimizer moves its own contiguous rows
    losses `[r]`

A fit's bits depend on nothing but its own config, because no operation lets them. Updates are
elementwise, and made of operations that IEEE 754 rounds correctly (linfit/method/stacked_state.py).
Predictions, gradients and losses are elementwise products, and sums of one fit's numbers along axes
of length n, p and q. The order of such a sum follows from these lengths and the strides, which are
equal for every r of two or more. A single fit is padded to two rows, since torch sums a single
number with all its threads. No matrix product is called, so that neither its kernels nor their
alignment matter.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import groupby

import numpy as np
import torch
from torch import Tensor

from linfit.engine.stacked.batches import StackBatches
from linfit.engine.stacked.blocks import Task
from linfit.method.gradients import StackedPenalty, add_stacked_penalty
from linfit.method.optimizers import Optimizer
from linfit.method.schedules import Schedule
from linfit.method.stacked_state import HyperparameterColumns, OptimizerState, Update
from linfit.problem.penalties import stack_shrinkages
from linfit.problem.types import Array

#: Schedules of s fits, each with the number of steps that the fit makes.
FitSchedules = Sequence[tuple[Schedule, int]]


@dataclass
class OptimizerGroup:
    """The rows of one kind of optimizer, and their update."""

    rows: slice
    columns: HyperparameterColumns
    memory: OptimizerState
    update: Update
    schedules: FitSchedules
    count: float
    """Samples of the problem, by which an optimizer that averages divides."""
    seconds: float = 0.0
    """Time that the updates took since the last `take_shares`."""


class Program:
    """Run tasks as rows.

    `tasks` come grouped by `moved_as`: each kind's rows are contiguous.
    """

    def __init__(self, tasks: Sequence[Task]) -> None:
        config = tasks[0].config
        self.config = config
        self.dtype = config.gradient.choose_data_dtype(getattr(torch, config.dtype))
        self.device = torch.device(config.device.name)
        self.loss = tasks[0].data.rounded.bind_loss(config.loss)
        self.X = self._stack_data([task.data.X for task in tasks]).unsqueeze(2)  # [r, p, 1, n]
        self.y = self._stack_data([task.data.rounded.seen_targets for task in tasks])  # [r, q, n]
        self.W = torch.stack([task.initial_weights for task in tasks]).to(self.device)  # [r, p, q]
        self.groups: list[OptimizerGroup] = []
        for _, members in groupby(tasks, lambda task: task.update_key):
            own = list(members)
            rows = self._next_rows(len(own))
            columns = HyperparameterColumns([task.optimizer for task in own], self.W[rows])
            schedules = [(task.config.schedule, task.config.steps) for task in own]
            count = own[0].optimizer.count_samples(own[0].data.rounded)
            self._add_group(rows, columns, OptimizerState(self.W[rows]), schedules, count)

        self.batches: StackBatches | None = None
        if not config.batch.is_full:
            self.batches = StackBatches(tasks, self.X, self.y)
        self.penalty = self._stack_penalties(tasks)
        self._bind_evaluate()

    def _stack_penalties(self, tasks: Sequence[Task]) -> StackedPenalty | None:
        """Return the penalties of the fits, None if they have none."""
        shrinkages = [task.data.shrinkage for task in tasks]
        if shrinkages[0].is_nothing:
            return None
        strengths, masks = stack_shrinkages(shrinkages, self.W.shape[1])
        l1 = np.array([shrinkage.l1 for shrinkage in shrinkages])
        handled = np.array([task.optimizer.handles_l1 for task in tasks])
        strength, whole, corner = (
            torch.from_numpy(values).to(self.dtype).to(self.device)[:, None, None]
            for values in (strengths, l1, np.where(handled, 0, l1))
        )
        mask = torch.from_numpy(masks).to(self.W)
        return StackedPenalty(strength, whole, corner, mask[:, :, None], shrinkages[0].kind)

    def _next_rows(self, count: int) -> slice:
        """Return the `count` rows after those of the last part."""
        start = self.groups[-1].rows.stop if self.groups else 0
        return slice(start, start + count)

    def _add_group(
        self,
        rows: slice,
        columns: HyperparameterColumns,
        memory: OptimizerState,
        schedules: FitSchedules,
        count: float,
    ) -> None:
        optimizer = columns.components[0]
        assert isinstance(optimizer, Optimizer)
        update = optimizer.stacked(columns, memory, count)
        if not schedules[0][0].is_constant:
            update = scale_by_schedule(update, columns, schedules)
        self.groups.append(OptimizerGroup(rows, columns, memory, update, schedules, count))

    def _stack_data(self, arrays: Sequence[Array]) -> Tensor:
        """Return arrays `[n, m]` as `[r, m, n]`.

        The result is `[1, m, n]` if all are one array.
        """
        distinct = {id(array): array for array in arrays}
        samples_last = np.stack(list(distinct.values())).swapaxes(1, 2)
        stacked = torch.from_numpy(samples_last).to(self.dtype).contiguous().to(self.device)
        if len(distinct) in (1, len(arrays)):
            return stacked
        number = {key: index for index, key in enumerate(distinct)}
        return stacked[torch.tensor([number[id(array)] for array in arrays], device=self.device)]

    def _bind_evaluate(self) -> None:
        """Set `evaluate`, which maps W to losses and gradients, for the rows of now."""
        config = self.config
        if self.batches is None:
            self.evaluate = config.gradient.stacked(config.model, self.loss, self.X, self.y)
        else:
            self.evaluate = self.batches.bind_evaluation(
                config, self.loss, self.X, self.y, len(self.W)
            )
        if self.penalty is not None:
            self.evaluate = add_stacked_penalty(self.evaluate, self.penalty)

    def allocate_window(self, steps: int) -> tuple[Tensor, Tensor]:
        """Return empty losses `[steps, r]` and weights `[steps, r, p, q]`."""
        return self.W.new_empty(steps, len(self.W)), self.W.new_empty(steps, *self.W.shape)

    def update_weights(self, k: int, gradient: Tensor) -> None:
        """Make the k-th update, counted from 1, of every row."""
        for part in self.groups:
            begun = time.perf_counter()
            part.update(k, self.W[part.rows], gradient[part.rows])
            part.seconds += time.perf_counter() - begun

    def take_shares(self, seconds: float) -> Array:
        """Return the seconds `[r]` that each row took since the last call.

        That is its part of `seconds`, in which all rows were evaluated, and of its kind's updates.
        """
        shares = np.full(len(self.W), seconds / len(self.W))
        for part in self.groups:
            shares[part.rows] += part.seconds / len(shares[part.rows])
            part.seconds = 0.0
        return shares

    def keep_rows(self, rows: Sequence[int]) -> None:
        """Keep these rows only, in this order."""
        indices = torch.tensor(rows, device=self.device)
        if len(self.X) > 1:
            self.X = self.X[indices]
        if len(self.y) > 1:
            self.y = self.y[indices]
        self.W = self.W[indices]
        if self.batches is not None:
            self.batches.keep_fits(rows)
        if self.penalty is not None:
            self.penalty = self.penalty.select(indices)

        before = self.groups
        self.groups = []
        for part in before:
            first = part.rows.start
            end = part.rows.stop
            own = [row - first for row in rows if first <= row < end]
            if not own:
                continue
            kept = self._next_rows(len(own))
            like = self.W[kept]
            memory = part.memory.select(torch.tensor(own, device=self.device), like)
            schedules = [part.schedules[row] for row in own]
            self._add_group(kept, part.columns.select(own, like), memory, schedules, part.count)
        self._bind_evaluate()


def scale_by_schedule(
    update: Update, columns: HyperparameterColumns, schedules: FitSchedules
) -> Update:
    """Return an update of s fits whose moves follow their schedules.

    Each move is scaled as the schedule scales the learning rate.
    """
    lr = columns["lr"].ravel()  # [s]
    alike: dict[tuple[str, int], list[int]] = {}
    for row, (schedule, steps) in enumerate(schedules):
        alike.setdefault((schedule.model_dump_json(), steps), []).append(row)

    def factors(updates: range) -> Array:
        made = np.array(updates).reshape(-1, 1) - 1  # [w, 1]
        found = np.empty((len(made), len(lr)))
        for (_, steps), rows in alike.items():
            schedule = schedules[rows[0]][0]
            found[:, rows] = schedule.lr_factors(made, lr[rows], steps)
        return found[:, :, None, None]

    factor = columns.compute_by_step(factors)

    def rescaled_update(k: int, W: Tensor, g: Tensor) -> None:
        before = W.clone()
        update(k, W, g)
        W.sub_(before).mul_(factor(k)).add_(before)

    return rescaled_update
