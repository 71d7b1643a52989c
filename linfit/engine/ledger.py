"""What the fits of a block leave behind: their paths, where they reached the tolerance, where they diverged.

A program runs WINDOW steps at a time and remembers each one's losses and weights; the ledger then looks at them all at once.
So every step is looked at, and looking is cheap. What a fit did in the window after it ended counts for nothing.

n samples, p features, q targets; b fits of a block, a rows of its program, w steps of a window, k recorded steps.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from linfit.engine.blocks import Task
from linfit.engine.fit import Fit, Path, Status
from linfit.engine.limits import divergence_limit, tolerance_screen, tolerance_threshold
from linfit.problem.problem import Array

Rows = NDArray[np.int64]
Mask = NDArray[np.bool_]
NEVER = -1
NOWHERE = -1.0
"""A loss that no loss is below."""
GATHERED = 2**20
"""Numbers that one evaluation of excess losses may gather."""


@dataclass(frozen=True)
class _Within:
    """For each fit `[b]` an excess loss, and the loss above which its excess loss is larger."""

    threshold: Array
    screen: Array


class Ledger:
    """The books of a block of b fits."""

    def __init__(self, tasks: Sequence[Task]) -> None:
        b, (_, p, q) = len(tasks), tasks[0].data.seen.shape
        k = 1 + max(
            len(task.schedule) for task in tasks
        )  # one more than recorded: where a fit diverges or converges
        self.tasks = tasks
        self.dtype = tasks[0].config.dtype
        self.losses = np.empty((b, k))
        self.weights = np.empty((b, k, p, q), dtype=self.dtype)
        self.lengths = np.array([len(task.schedule) for task in tasks])  # [b]
        self.last = np.array([task.config.steps for task in tasks])  # [b]
        self.diverged_at = np.full(b, NEVER)
        self.reached_at = np.full(b, NEVER)
        self.converged_at = np.full(b, NEVER)
        self.open = np.ones(b, dtype=bool)
        self.times = np.array([task.config.stop.divergence for task in tasks])
        self.limit = np.full(b, np.nan)
        self.schedules = _members(tasks)
        self.optima = _Optima(tasks)
        starts = np.stack([task.start.numpy() for task in tasks])  # [b, p, q]
        initial = self.optima.excess(np.arange(b), starts)
        self.tolerance = self._within([task.config.record.tolerance for task in tasks], initial)
        stops = [task.config.stop for task in tasks]
        self.goal = self._within([stop.excess_loss or 0.0 for stop in stops], initial)
        self.goal.screen[[stop.excess_loss is None for stop in stops]] = NOWHERE
        self.flat = np.array(
            [np.nan if stop.gradient_norm is None else stop.gradient_norm for stop in stops]
        )
        self.watches_norms = not bool(np.isnan(self.flat).all())

    def _within(self, shares: Sequence[float], initial: Array) -> _Within:
        p = self.weights.shape[2]
        threshold = tolerance_threshold(np.array(shares), initial)
        return _Within(
            threshold,
            tolerance_screen(self.optima.losses, threshold, self.optima.at_zero, p, self.dtype),
        )

    def to_go(self, step: int) -> int:
        """The steps that the fits which have not ended make from this one on."""
        return int(np.maximum(self.last[self.open] - step, 0).sum())

    def look(
        self,
        first: int,
        rows: Rows,
        losses: Array,
        weights: NDArray[Any],
        norms: Array | None = None,
    ) -> Mask:
        """Enters the losses `[w, a]` and weights `[w, a, p, q]` of the rows `[a]` from step `first` on; True for what goes on.

        `norms` `[w, a]` are the gradients', where `watches_norms` asks for them.
        """
        if first == 0:
            self.limit[rows] = divergence_limit(
                self.times[rows], losses[0], self.optima.at_zero[rows]
            )
            if norms is not None:
                self.flat[rows] *= norms[0]
        slots = np.arange(len(losses))[:, None]  # [w, 1]
        counts = self.open[rows] & (first + slots <= self.last[rows])  # [w, a]
        over = counts & ~(losses <= self.limit[rows])  # also true of NaN
        diverged = over.any(axis=0)  # [a]
        ended = np.where(diverged, over.argmax(axis=0), len(losses))  # [a]
        counts &= slots < ended
        self._enter_convergence(first, rows, counts, losses, weights, norms)
        converged = self.converged_at[rows] >= first  # [a]
        diverged &= ~converged
        ended = np.where(converged, self.converged_at[rows] - first, ended)
        counts &= ~converged | (slots <= ended)
        self._enter(
            self.reached_at,
            self.tolerance,
            first,
            rows,
            counts & (losses <= self.tolerance.screen[rows]),
            weights,
        )
        self._enter_path(first, rows, losses, weights)
        self.diverged_at[rows[diverged]] = first + ended[diverged]
        for column in np.flatnonzero(diverged | converged).tolist():
            slot = int(ended[column])
            self._enter_end(rows[column], first + slot, losses[slot, column], weights[slot, column])
        self.open[rows] &= ~diverged & ~converged & (self.last[rows] >= first + len(losses))
        return self.open[rows]

    def _enter_convergence(
        self,
        first: int,
        rows: Rows,
        counts: Mask,
        losses: Array,
        weights: NDArray[Any],
        norms: Array | None,
    ) -> None:
        """The first step at which a stopping rule says that a fit has converged."""
        self._enter(
            self.converged_at,
            self.goal,
            first,
            rows,
            counts & (losses <= self.goal.screen[rows]),
            weights,
        )
        if norms is None:
            return
        flat = counts & (norms <= self.flat[rows])  # [w, a]
        for column in np.flatnonzero(flat.any(axis=0)).tolist():
            step, known = first + int(flat[:, column].argmax()), self.converged_at[rows[column]]
            self.converged_at[rows[column]] = step if known == NEVER else min(step, known)

    def _enter(
        self,
        found_at: NDArray[np.int64],
        within: _Within,
        first: int,
        rows: Rows,
        near: Mask,
        weights: NDArray[Any],
    ) -> None:
        """The first step at which a fit is within such a distance, looked for where its loss is near."""
        slots, columns = np.nonzero(near)
        if not len(slots):
            return
        reached = (
            self.optima.excess(rows[columns], weights[slots, columns])
            <= within.threshold[rows[columns]]
        )
        found, earliest = np.unique(rows[columns[reached]], return_index=True)
        found_at[found] = first + slots[reached][earliest]
        within.screen[found] = NOWHERE

    def _enter_path(self, first: int, rows: Rows, losses: Array, weights: NDArray[Any]) -> None:
        for schedule, member in self.schedules:
            start, stop = np.searchsorted(schedule, (first, first + len(losses)))
            if start == stop:
                continue
            own = np.flatnonzero(member[rows] & self.open[rows])
            taken = np.ix_(schedule[start:stop] - first, own)
            self.losses[rows[own], start:stop] = losses[taken].T
            self.weights[rows[own], start:stop] = weights[taken].swapaxes(0, 1)

    def _enter_end(self, row: int, step: int, loss: float, weights: NDArray[Any]) -> None:
        column = np.searchsorted(self.tasks[row].schedule, step)
        self.losses[row, column], self.weights[row, column] = loss, weights
        self.lengths[row] = column + 1

    def fits(self) -> Iterator[tuple[int, Fit]]:
        """The fits, with their places."""
        ends = (
            column.tolist()
            for column in (self.lengths, self.diverged_at, self.converged_at, self.reached_at)
        )
        for row, (task, length, diverged_at, converged_at, reached_at) in enumerate(
            zip(self.tasks, *ends, strict=True)
        ):
            steps, status = task.schedule, Status.COMPLETED
            if diverged_at != NEVER or converged_at != NEVER:
                steps = np.append(steps[: length - 1], max(diverged_at, converged_at))
                status = Status.CONVERGED if diverged_at == NEVER else Status.DIVERGED
            yield (
                task.place,
                Fit(
                    task.config,
                    status,
                    task.data.problem,
                    task.optimum,
                    Path(
                        steps, self.losses[row, :length].copy(), self.weights[row, :length].copy()
                    ),
                    None if reached_at == NEVER else reached_at,
                    None if diverged_at == NEVER else diverged_at,
                ),
            )


def _members(tasks: Sequence[Task]) -> list[tuple[Rows, Mask]]:
    """Each schedule of recorded steps, and which fits `[b]` follow it."""
    owner = np.array([id(task.schedule) for task in tasks])
    return [
        (schedule, owner == key)
        for key, schedule in {id(task.schedule): task.schedule for task in tasks}.items()
    ]


class _Optima:
    """The optima of b fits, of which several may share one: u different ones."""

    def __init__(self, tasks: Sequence[Task]) -> None:
        data = list({id(task.data): task.data for task in tasks}.values())
        number = {id(part): index for index, part in enumerate(data)}
        self.number = np.array([number[id(task.data)] for task in tasks])  # [b]
        self.optima = optima = [
            task.optimum for task in {id(task.data): task for task in tasks}.values()
        ]
        self.samples = data[0].seen.y.size
        self.scale = optima[0].scale  # of one loss and one shape
        self.roots = np.stack([optimum.root for optimum in optima])  # [u, min(n, p), p]
        self.weights = np.stack([optimum.weights for optimum in optima])  # [u, p, q]
        self.losses = np.array([optimum.loss for optimum in optima])[self.number]  # [b]
        self.at_zero = np.array(
            [self.scale * float(np.square(part.seen.y).sum()) for part in data]
        )[self.number]  # [b]

    def excess(self, rows: Rows, weights: NDArray[Any]) -> Array:
        """The excess losses `[m]` of weights `[m, p, q]` of the fits `rows` `[m]`, each as its own optimum's `excess`."""
        if self.optima[0].robust is not None:
            return self._robust(self.number[rows], weights.astype(np.float64))
        found = np.empty(len(rows))
        size = max(1, GATHERED // self.roots[0].size)
        with np.errstate(over="ignore", invalid="ignore"):  # a fit on its way to divergence
            for start in range(0, len(rows), size):
                number = self.number[rows[start : start + size]]
                away = weights[start : start + size].astype(np.float64) - self.weights[number]
                found[start : start + size] = self.scale * np.square(self.roots[number] @ away).sum(
                    axis=(-2, -1)
                )
        return found

    def _robust(self, numbers: Rows, weights: Array) -> Array:
        """The same for a loss that is not quadratic, an optimum at a time."""
        found = np.empty(len(numbers))
        for number in np.unique(numbers).tolist():
            own = np.flatnonzero(numbers == number)
            size = max(1, GATHERED // self.samples)
            for start in range(0, len(own), size):
                part = own[start : start + size]
                found[part] = self.optima[number].excess(weights[part])
        return found
