"""A stack as one tensor program: r fits of one shape, model, loss and gradient.

    X, y                       samples last, so that sums over them run along memory (data.py);
                               from a certain size on in panels (panels.py, forms.py)
    W, ∂loss/∂W `[r, p, q]`    each kind of optimizer moves its own contiguous rows
    losses `[r]`

A fit's bits depend on nothing but its own config, because no operation lets them. Updates are
elementwise, and made of operations that IEEE 754 rounds correctly (linfit/method/stacked_state.py).
Predictions and gradients are matrix products of constant shape, or elementwise products
(linfit/method/products.py). Sums are of one fit's numbers along axes of length n, p and q. The
order of such a sum follows from these lengths and the strides, which are equal for every r of two
or more. A single fit is padded to two rows, since torch sums a single number with all its threads.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from itertools import groupby
from typing import cast

import numpy as np
import torch
from torch import Tensor

from linfit.engine.stacked.batches import StackBatches
from linfit.engine.stacked.blocks import Task
from linfit.engine.stacked.data import Computation, ElementwiseData, StackData
from linfit.engine.stacked.forms import takes_panels
from linfit.engine.stacked.panels import PanelData
from linfit.method.gradients import StackedEvaluation, StackedPenalty, add_stacked_penalty
from linfit.method.models import Model
from linfit.method.optimizers import Optimizer
from linfit.method.products import StackedProducts
from linfit.method.schedules import Schedule
from linfit.method.stacked_state import HyperparameterColumns, OptimizerState, Update
from linfit.problem.losses import Loss
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
        self.tasks = list(tasks)
        self.loss = tasks[0].data.rounded.bind_loss(config.loss)
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
            self.batches = StackBatches(tasks, ElementwiseData(tasks, self.dtype, self.device))
        self.data = self._choose_data(tasks)
        self.penalty = self._stack_penalties(tasks)
        self._bind_evaluate()

    def _choose_data(self, tasks: Sequence[Task]) -> StackData:
        """Return the data in the form that fits of this shape take."""
        if takes_panels(self.config, tasks[0].data.X.shape):
            return PanelData(tasks, self.loss, self.dtype, self.device)
        if self.batches is not None:
            return self.batches.data
        return ElementwiseData(tasks, self.dtype, self.device)

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

    def _bind_evaluate(self) -> None:
        """Set `evaluate`, which maps W to losses and gradients, for the rows of now."""
        config = self.config
        if self.batches is None:
            bind = config.gradient.stacked if self._uses_gradient() else bind_losses_alone
            bound = self.data.bind(partial(bind, config.model, self.loss))
            self.evaluate = cast("StackedEvaluation", bound)
        else:
            losses = self.data.bind(partial(bind_losses, config.model, self.loss))
            self.evaluate = self.batches.bind_evaluation(config, self.loss, losses)
        if self.penalty is not None:
            self.evaluate = add_stacked_penalty(self.evaluate, self.penalty)

    def _uses_gradient(self) -> bool:
        """Return True unless no optimizer and no rule of stopping asks for the gradient."""
        if self.config.gradient.in_float64:  # the losses are computed with it, in another dtype
            return True
        return any(
            task.config.optimizer.uses_gradient or task.config.stop.gradient_norm is not None
            for task in self.tasks
        )

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
        self.W = self.W[indices]
        self.tasks = [self.tasks[row] for row in rows]
        self.data.keep_rows(rows)
        if self.batches is not None:
            self.batches.keep_fits(rows)
            if self.batches.data is not self.data:
                self.batches.data.keep_rows(rows)
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


def bind_losses(model: Model, loss: Loss, X: StackedProducts, y: Tensor) -> Computation:
    """Return the computation of the losses `[r]` alone."""
    return lambda W: (loss.stacked(model.stacked(X, W), y),)


def bind_losses_alone(model: Model, loss: Loss, X: StackedProducts, y: Tensor) -> StackedEvaluation:
    """Return the computation of the losses `[r]`, with gradients of 0."""
    compute = bind_losses(model, loss, X, y)
    return lambda W: (compute(W)[0], torch.zeros_like(W))


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
