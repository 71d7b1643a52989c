"""A stack as one tensor program: r fits of one shape, model, loss and gradient, whose optimizers may differ.

    X `[r, p, 1, n]`, y `[r, q, n]`   samples last, so that sums over them run along memory; `[1, …]` where all fits share them
    W, ∂loss/∂W `[r, p, q]`           each optimizer kind moves its own contiguous rows
    losses `[r]`

A fit's bits depend on nothing beside its own config, because no operation lets them: updates are elementwise and made of
operations that IEEE 754 rounds correctly (linfit/method/stacks.py); predictions, gradients and losses are elementwise
products and sums of one fit's numbers along axes whose lengths are n, p and q. Such a sum's order follows from those
lengths and the strides, which are the same for every r of two or more; a lone fit is doubled, since torch sums
a single number with all its threads. No matrix product is called, so neither its kernels nor their alignment matter.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import groupby

import numpy as np
import torch
from torch import Tensor

from linfit.engine.blocks import Task
from linfit.engine.stacked_batches import Batches
from linfit.method.batches import Minibatch
from linfit.method.gradients import penalized_stack
from linfit.method.optimizers import Optimizer
from linfit.method.schedules import Constant, Schedule
from linfit.method.stacks import Columns, Memory, Update
from linfit.problem.penalties import Shrinkage
from linfit.problem.problem import Array

#: The schedules of s fits, each with the steps that it makes.
Schedules = Sequence[tuple[Schedule, int]]


@dataclass
class Part:
    """The rows of one kind of optimizer, and how they move."""

    rows: slice
    optimizer: Optimizer
    columns: Columns
    memory: Memory
    update: Update
    schedules: Schedules
    count: float
    """Samples of the problem, by which an optimizer that averages divides."""


class Program:
    """Runs rows of tasks; `tasks` come sorted by the kind of their optimizers, so that each kind's rows are contiguous."""

    def __init__(self, tasks: Sequence[Task]) -> None:
        first = tasks[0].config
        self.config = first
        self.dtype, self.device = (
            first.gradient.data_dtype(getattr(torch, first.dtype)),
            torch.device(first.device.name),
        )
        self.loss = tasks[0].data.seen.objective(first.loss)
        self.X = self._data([task.data.X for task in tasks]).unsqueeze(2)  # [r, p, 1, n]
        self.y = self._data([task.data.seen.y for task in tasks])  # [r, q, n]
        self.W = torch.stack([task.start for task in tasks]).to(self.device)  # [r, p, q]
        self.parts: list[Part] = []
        start = 0
        for _, members in groupby(tasks, lambda task: task.moved_as):
            own = list(members)
            place = slice(start, start + len(own))
            start, like = place.stop, self.W[place]
            schedules = [(task.config.schedule, task.config.steps) for task in own]
            columns = Columns([task.optimizer for task in own], like)
            count = own[0].optimizer.count(own[0].data.seen)
            self._add(place, columns, Memory(like), schedules, count)
        self.batches = (
            Batches(tasks, self.X, self.y) if isinstance(first.batch, Minibatch) else None
        )
        self.strength, self.mask = self._penalties([task.data.shrinkage for task in tasks])
        self._bind()

    def _penalties(self, shrinkages: Sequence[Shrinkage]) -> tuple[Tensor | None, Tensor | None]:
        """Strengths `[r, 1, 1]` and masks `[r, p, 1]` of the penalties, None where no fit has one."""
        strengths = np.array([shrinkage.strength for shrinkage in shrinkages])
        if not strengths.any():
            return None, None
        masks = np.stack([shrinkage.mask(self.W.shape[1]) for shrinkage in shrinkages])
        strength = torch.from_numpy(strengths).to(self.dtype).to(self.device)
        mask = torch.from_numpy(masks).to(self.W)
        return strength[:, None, None], mask[:, :, None]

    def _add(
        self, rows: slice, columns: Columns, memory: Memory, schedules: Schedules, count: float
    ) -> None:
        optimizer = columns.components[0]
        assert isinstance(optimizer, Optimizer)
        update = optimizer.stacked(columns, memory, count)
        if not isinstance(schedules[0][0], Constant):
            update = rescaled(update, columns, schedules)
        self.parts.append(Part(rows, optimizer, columns, memory, update, schedules, count))

    def _data(self, arrays: Sequence[Array]) -> Tensor:
        """`[r, m, n]` from arrays `[n, m]`, `[1, m, n]` where all are the same one."""
        distinct = {id(array): array for array in arrays}
        stacked = (
            torch.from_numpy(np.stack(list(distinct.values())).swapaxes(1, 2))
            .to(self.dtype)
            .contiguous()
            .to(self.device)
        )
        if len(distinct) in (1, len(arrays)):
            return stacked
        number = {key: place for place, key in enumerate(distinct)}
        return stacked[torch.tensor([number[id(array)] for array in arrays], device=self.device)]

    def _bind(self) -> None:
        config = self.config
        if self.batches is None:
            self.evaluate = config.gradient.stacked(config.model, self.loss, self.X, self.y)
        else:
            self.evaluate = self.batches.bind(config, self.X, self.y, len(self.W))
        if self.strength is not None and self.mask is not None:
            self.evaluate = penalized_stack(self.evaluate, self.strength, self.mask)

    def window(self, steps: int) -> tuple[Tensor, Tensor]:
        """Room for the losses `[steps, r]` and the weights `[steps, r, p, q]` of so many steps."""
        return self.W.new_empty(steps, len(self.W)), self.W.new_empty(steps, *self.W.shape)

    def update(self, k: int, gradient: Tensor) -> None:
        """The k-th update, counted from 1, of every row."""
        for part in self.parts:
            part.update(k, self.W[part.rows], gradient[part.rows])

    def select(self, rows: Sequence[int]) -> None:
        """Goes on with these rows only, in this order."""
        places = torch.tensor(rows, device=self.device)
        self.X, self.y = (data if len(data) == 1 else data[places] for data in (self.X, self.y))
        self.W = self.W[places]
        if self.batches is not None:
            self.batches.select(rows)
        if self.strength is not None and self.mask is not None:
            self.strength, self.mask = self.strength[places], self.mask[places]
        parts, self.parts = self.parts, []
        start = 0
        for part in parts:
            own = [row - part.rows.start for row in rows if part.rows.start <= row < part.rows.stop]
            if not own:
                continue
            place = slice(start, start + len(own))
            start = place.stop
            like = self.W[place]
            memory = part.memory.select(torch.tensor(own, device=self.device), like)
            self._add(
                place,
                part.columns.select(own, like),
                memory,
                [part.schedules[row] for row in own],
                part.count,
            )
        self._bind()


def rescaled(update: Update, columns: Columns, schedules: Schedules) -> Update:
    """The update of s fits, each of its moves multiplied by what its schedule makes of the learning rate."""
    lr = columns["lr"].ravel()  # [s]
    alike: dict[tuple[str, int], list[int]] = {}
    for row, (schedule, steps) in enumerate(schedules):
        alike.setdefault((schedule.model_dump_json(), steps), []).append(row)

    def factors(updates: range) -> Array:
        made = np.array(updates).reshape(-1, 1) - 1  # [w, 1]
        found = np.empty((len(made), len(lr)))
        for (_, steps), rows in alike.items():
            found[:, rows] = schedules[rows[0]][0].factors(made, lr[rows], steps)
        return found[:, :, None, None]

    factor = columns.by_step(factors)

    def rescaled_update(k: int, W: Tensor, g: Tensor) -> None:
        before = W.clone()
        update(k, W, g)
        W.sub_(before).mul_(factor(k)).add_(before)

    return rescaled_update
