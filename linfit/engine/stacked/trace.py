"""Results of a block: paths, and the steps of convergence, divergence and the tolerance.

A program runs WINDOW steps and keeps their losses and weights; the trace then checks all of them
at once. So every step is checked, at little cost. What a fit computed in the window after its end
is discarded.

n samples, p features, q targets; b fits of a block, a rows of its program, w steps of a window,
k recorded steps.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from linfit.engine.fit import Fit, FitPath, Status
from linfit.engine.stacked.blocks import Task
from linfit.engine.stacked.step_times import StepTimes
from linfit.engine.stopping import (
    BELOW_EVERY_LOSS,
    Tolerance,
    divergence_limit,
    divergence_times,
    resolve_tolerance,
)
from linfit.problem.types import Array, Mask

RowIndices = NDArray[np.int64]
NOT_REACHED = -1
MAX_GATHERED = 2**20
"""Most numbers that one evaluation of excess losses gathers."""


@dataclass(frozen=True)
class _Window:
    """w steps from `first` on, of the fits `rows` `[a]`."""

    first: int
    rows: RowIndices
    losses: Array
    """`[w, a]`"""
    weights: NDArray[Any]
    """`[w, a, p, q]`"""
    norms: Array | None
    """Gradient norms `[w, a]`, if a stopping rule needs them."""
    excess: Array
    """Excess losses `[w, a]`, NaN where they are not yet asked for."""


class StackTrace:
    """Recorded steps and ends of the b fits of a block."""

    def __init__(self, tasks: Sequence[Task]) -> None:
        b = len(tasks)
        _, p, q = tasks[0].data.rounded.shape
        # Besides the recorded steps there may be one more, at which the fit diverges or converges.
        k = 1 + max(len(task.schedule) for task in tasks)
        self.tasks = tasks
        self.dtype = tasks[0].config.dtype
        self.losses = np.empty((b, k))
        self.weights = np.empty((b, k, p, q), dtype=self.dtype)
        self.lengths = np.array([len(task.schedule) for task in tasks])  # [b]
        self.last = np.array([task.config.steps for task in tasks])  # [b]
        self.diverged_at = np.full(b, NOT_REACHED)
        self.reached_at = np.full(b, NOT_REACHED)
        self.converged_at = np.full(b, NOT_REACHED)
        ends = [task.optimizer.count_steps(task.config.steps) for task in tasks]
        self.ends_at = np.array([NOT_REACHED if end is None else end for end in ends])
        self.open = np.ones(b, dtype=bool)
        self.step_times = StepTimes(b)
        self.limit = np.full(b, np.nan)
        self.schedules = _group_by_schedule(tasks)
        self.optima = _Optima(tasks)

        stops = [task.config.stop for task in tasks]
        starts = np.stack([task.initial_weights.numpy() for task in tasks])  # [b, p, q]
        initial = self.optima.excess(np.arange(b), starts)
        self.times = np.array([divergence_times(task.config) for task in tasks])
        self.tolerance = self._tolerance([task.config.record.tolerance for task in tasks], initial)
        self.goal = self._tolerance([stop.excess_loss or 0.0 for stop in stops], initial)
        self.goal.screen[[stop.excess_loss is None for stop in stops]] = BELOW_EVERY_LOSS
        # None becomes NaN, which no norm is at most.
        self.flat = np.array([stop.gradient_norm for stop in stops], dtype=np.float64)
        self.watches_norms = not np.isnan(self.flat).all()

    def _tolerance(self, shares: Sequence[float], initial: Array) -> Tolerance:
        minimum = self.optima.losses
        at_zero = self.optima.at_zero
        p = self.weights.shape[2]
        return resolve_tolerance(np.array(shares), initial, minimum, at_zero, p, self.dtype)

    def count_remaining_steps(self, step: int) -> int:
        """Return how many steps open fits still make from `step` on."""
        return int(np.maximum(self.last[self.open] - step, 0).sum())

    def observe(
        self,
        first: int,
        rows: RowIndices,
        losses: Array,
        weights: NDArray[Any],
        norms: Array | None = None,
    ) -> Mask:
        """Enter w steps of a fits from step `first` on.

        Return which of the fits are open `[a]`.

        `losses` `[w, a]` and `weights` `[w, a, p, q]` are those of the fits `rows` `[a]`; `norms`
        `[w, a]`, of their gradients, are needed if `watches_norms`.
        """
        window = _Window(first, rows, losses, weights, norms, np.full(losses.shape, np.nan))
        if first == 0:
            at_zero = self.optima.at_zero[rows]
            self.limit[rows] = divergence_limit(self.times[rows], losses[0], at_zero)
            if norms is not None:
                self.flat[rows] *= norms[0]

        slots = np.arange(len(losses))[:, None]  # [w, 1]
        counts = self.open[rows] & (first + slots <= self.last[rows])  # [w, a]
        over = counts & ~(losses <= self.limit[rows])  # also true of NaN
        diverged = over.any(axis=0)  # [a]
        ended = np.where(diverged, over.argmax(axis=0), len(losses))  # [a]

        counts &= slots < ended
        self._enter_convergence(window, counts)
        converged = self.converged_at[rows] >= first  # [a]
        diverged &= ~converged
        ended = np.where(converged, self.converged_at[rows] - first, ended)
        counts &= ~converged | (slots <= ended)
        self._enter_reached(self.reached_at, self.tolerance, window, counts)

        self._enter_path(window)
        self.diverged_at[rows[diverged]] = first + ended[diverged]
        for column in np.flatnonzero(diverged | converged).tolist():
            self._enter_end(window, column, int(ended[column]))
        self.open[rows] &= ~diverged & ~converged & (self.last[rows] >= first + len(losses))
        return self.open[rows]

    def _enter_convergence(self, window: _Window, counts: Mask) -> None:
        """Enter the first step at which a stopping rule holds, among steps that count `[w, a]`."""
        self._enter_reached(self.converged_at, self.goal, window, counts)
        slots = np.arange(len(window.losses))[:, None]
        self._enter_first(counts & (window.first + slots == self.ends_at[window.rows]), window)
        if window.norms is None:
            return
        flat = counts & (window.norms <= self.flat[window.rows])  # [w, a]
        self._enter_first(flat, window)

    def _enter_first(self, holds: Mask, window: _Window) -> None:
        """Enter the first step at which a rule `holds` `[w, a]`, unless another did before."""
        for column in np.flatnonzero(holds.any(axis=0)).tolist():
            row = window.rows[column]
            step = window.first + int(holds[:, column].argmax())
            known = self.converged_at[row]
            if known == NOT_REACHED or step < known:
                self.converged_at[row] = step

    def _enter_reached(
        self, reached_at: NDArray[np.int64], tolerance: Tolerance, window: _Window, counts: Mask
    ) -> None:
        """Enter the first step within a tolerance, among steps that count `[w, a]`."""
        near = counts & (window.losses <= tolerance.screen[window.rows])
        slots, columns = np.nonzero(near)
        if not len(slots):
            return
        rows = window.rows[columns]
        reached = self._measure_excess(window, slots, columns) <= tolerance.threshold[rows]
        # `slots` increase, so that the first index of a row is its earliest step.
        found, earliest = np.unique(rows[reached], return_index=True)
        reached_at[found] = window.first + slots[reached][earliest]
        tolerance.screen[found] = BELOW_EVERY_LOSS

    def _measure_excess(self, window: _Window, slots: RowIndices, columns: RowIndices) -> Array:
        """Return the excess losses `[m]` of these steps and fits, each computed once."""
        missing = np.isnan(window.excess[slots, columns])
        at = slots[missing], columns[missing]
        window.excess[at] = self.optima.excess(window.rows[at[1]], window.weights[at])
        return window.excess[slots, columns]

    def _enter_path(self, window: _Window) -> None:
        """Enter the recorded steps of the window, schedule by schedule."""
        first = window.first
        rows = window.rows
        for schedule, member in self.schedules:
            start, stop = np.searchsorted(schedule, (first, first + len(window.losses)))
            if start == stop:
                continue
            own = np.flatnonzero(member[rows] & self.open[rows])
            taken = np.ix_(schedule[start:stop] - first, own)
            self.losses[rows[own], start:stop] = window.losses[taken].T
            self.weights[rows[own], start:stop] = window.weights[taken].swapaxes(0, 1)

    def _enter_end(self, window: _Window, column: int, slot: int) -> None:
        """Enter the last step of an ended fit, over what was entered after it."""
        row = window.rows[column]
        end = np.searchsorted(self.tasks[row].schedule, window.first + slot)
        self.losses[row, end] = window.losses[slot, column]
        self.weights[row, end] = window.weights[slot, column]
        self.lengths[row] = end + 1

    def build_fits(self) -> Iterator[tuple[int, Fit]]:
        """Yield (index, fit) of each task."""
        for row, task in enumerate(self.tasks):
            diverged_at = _step_or_none(self.diverged_at[row])
            converged_at = _step_or_none(self.converged_at[row])
            length = int(self.lengths[row])
            steps = task.schedule
            status = Status.COMPLETED
            if diverged_at is not None:
                steps = np.append(steps[: length - 1], diverged_at)
                status = Status.DIVERGED
            elif converged_at is not None:
                steps = np.append(steps[: length - 1], converged_at)
                status = Status.CONVERGED
            path = FitPath(
                steps, self.losses[row, :length].copy(), self.weights[row, :length].copy()
            )
            fit = Fit(
                task.config,
                status,
                task.data.problem,
                task.optimum,
                path,
                _step_or_none(self.reached_at[row]),
                diverged_at,
                step_seconds=self.step_times.per_step(row),
            )
            yield task.index, fit


def _step_or_none(step: np.int64) -> int | None:
    if step == NOT_REACHED:
        return None
    return int(step)


def _group_by_schedule(tasks: Sequence[Task]) -> list[tuple[RowIndices, Mask]]:
    """Return each schedule of recorded steps with the fits `[b]` that follow it."""
    owner = np.array([id(task.schedule) for task in tasks])
    schedules = {id(task.schedule): task.schedule for task in tasks}
    return [(schedule, owner == key) for key, schedule in schedules.items()]


class _Optima:
    """The optima of b fits: u different ones, each shared by one or more fits."""

    def __init__(self, tasks: Sequence[Task]) -> None:
        distinct = {id(task.data): task for task in tasks}
        number = {key: index for index, key in enumerate(distinct)}
        self.number = np.array([number[id(task.data)] for task in tasks])  # [b]
        self.optima = [task.optimum for task in distinct.values()]
        targets = [task.data.rounded.y for task in distinct.values()]
        self.samples = targets[0].size
        self.scale = self.optima[0].scale  # one for all: a stack has one loss and one shape
        self.roots = np.stack([optimum.root for optimum in self.optima])  # [u, min(n, p), p]
        self.weights = np.stack([optimum.weights for optimum in self.optima])  # [u, p, q]
        losses = np.array([optimum.loss for optimum in self.optima])
        at_zero = np.array([self.scale * float(np.square(y).sum()) for y in targets])
        self.losses = losses[self.number]  # [b]
        self.at_zero = at_zero[self.number]  # [b]

    def excess(self, rows: RowIndices, weights: NDArray[Any]) -> Array:
        """Return the excess losses `[m]` of `rows` `[m]`.

        The rows are fits, at weights `[m, p, q]`.
        """
        if not self.optima[0].is_known:
            return np.full(len(rows), np.nan)
        if self.optima[0].around is not None:
            return self._robust_excess(self.number[rows], weights.astype(np.float64))
        found = np.empty(len(rows))
        size = max(1, MAX_GATHERED // self.roots[0].size)
        with np.errstate(over="ignore", invalid="ignore"):  # of a fit that diverges
            for start in range(0, len(rows), size):
                part = slice(start, start + size)
                number = self.number[rows[part]]
                away = weights[part].astype(np.float64) - self.weights[number]
                squares = np.square(self.roots[number] @ away)
                found[part] = self.scale * squares.sum(axis=(-2, -1))
        return found

    def _robust_excess(self, numbers: RowIndices, weights: Array) -> Array:
        """Like `excess` for a loss that is not quadratic, one optimum at a time."""
        found = np.empty(len(numbers))
        size = max(1, MAX_GATHERED // self.samples)
        for number in np.unique(numbers).tolist():
            own = np.flatnonzero(numbers == number)
            for start in range(0, len(own), size):
                part = own[start : start + size]
                found[part] = self.optima[number].excess_loss(weights[part])
        return found
