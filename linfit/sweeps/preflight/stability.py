"""Fits whose learning rate is above the largest at which the weights stay bounded.

n samples, p features, q targets.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TypeVar
from weakref import WeakKeyDictionary

from linfit.config import FitConfig
from linfit.engine.stacked.blocks import FitData, Task, cut_into_blocks, find_optima
from linfit.method.stable_lr import find_largest_stable_lr, has_stable_lr_bound
from linfit.problem.theory.optimum import (
    compute_largest_curvatures,
    compute_largest_penalized_curvatures,
)
from linfit.settings import StackedEngine

Found = TypeVar("Found")


def find_unstable(configs: Sequence[FitConfig]) -> dict[int, tuple[float, float]]:
    """Return (learning rate, largest stable one) of each unstable fit, by its index.

    Loads the data.
    """
    return _collect(configs, StabilityLimits().find_above)


def find_doubtful(configs: Sequence[FitConfig]) -> dict[int, tuple[float, float]]:
    """Return (learning rate, bound) of each fit by batches above its bound, by its index.

    Such a fit may diverge. Loads the data.
    """
    return _collect(configs, StabilityLimits().find_doubtful)


def find_bounds(configs: Sequence[FitConfig]) -> dict[int, float]:
    """Return the largest stable learning rate of each fit that has one, by its index.

    Loads the data.
    """
    return _collect(configs, StabilityLimits().find_bounds)


def _collect(
    configs: Sequence[FitConfig], of_block: Callable[[Sequence[Task]], dict[int, Found]]
) -> dict[int, Found]:
    """Return the results of all blocks of the fits whose data can be loaded."""
    found: dict[int, Found] = {}
    for block in cut_into_blocks([to_stacked(config) for config in configs]):
        if isinstance(block, list):
            found.update(of_block(block))
    return found


class StabilityLimits:
    """Largest stable learning rates; the largest curvature of the same data is computed once."""

    def __init__(self) -> None:
        self._curvature: WeakKeyDictionary[FitData, float] = WeakKeyDictionary()

    def find_above(self, block: Sequence[Task]) -> dict[int, tuple[float, float]]:
        """Return (learning rate, largest stable one) of each unstable task, by its index."""
        return self._exceeded([task for task in block if task.config.batch.is_full])

    def find_doubtful(self, block: Sequence[Task]) -> dict[int, tuple[float, float]]:
        """Return (learning rate, bound) of each task by batches above its bound, by its index.

        For such a task the bound is sufficient, but not always necessary.
        """
        return self._exceeded([task for task in block if not task.config.batch.is_full])

    def find_bounds(self, block: Sequence[Task]) -> dict[int, float]:
        """Return the largest stable learning rate of each task that has one, by its index."""
        if not block:
            return {}
        find_optima([task for task in block if task.config.optimizer.needs_optimum()])
        stated = [task for task in block if self.has_bound(task)]
        self._find([task.data for task in stated], block[0].config)
        found = {task.index: self._bound(task) for task in stated}
        return {index: bound for index, bound in found.items() if bound is not None}

    def has_bound(self, task: Task) -> bool:
        """Return True if the optimizer states a bound, which its settings may decide.

        Bounds hold for a quadratic loss and a constant learning rate.
        """
        config = task.config
        if not config.loss.quadratic or not config.schedule.is_constant:
            return False
        if not has_stable_lr_bound(task.optimizer, config.batch):
            return False
        return task.optimizer.largest_stable_lr(1.0, 1) is not None

    def _exceeded(self, block: Sequence[Task]) -> dict[int, tuple[float, float]]:
        limits = self.find_bounds(block)
        exceeded: dict[int, tuple[float, float]] = {}
        for task in block:
            bound = limits.get(task.index)
            if bound is None:
                continue
            lr = float(vars(task.optimizer)["lr"])
            if lr > bound:
                exceeded[task.index] = (lr, bound)
        return exceeded

    def _bound(self, task: Task) -> float | None:
        data = task.data
        n, _, q = data.rounded.shape
        return find_largest_stable_lr(
            task.optimizer,
            task.config.batch,
            task.config.gradient,
            self._curvature[data],
            data.X,
            task.config.loss.scale(n, q),
            data.shrinkage.strength,
            task.optimizer.count_samples(data.rounded),
        )

    def _find(self, data: Sequence[FitData], like: FitConfig) -> None:
        """Compute the largest curvatures that are still unknown."""
        missing = [part for part in dict.fromkeys(data) if part not in self._curvature]
        if not missing:
            return
        n, _, q = missing[0].rounded.shape
        scale = like.loss.scale(n, q)
        self._find_shifted([part for part in missing if not part.shrinkage.exempt], scale)

        # An exempt intercept changes more than a shift: curvatures are found for each penalty.
        exempt: dict[int, list[FitData]] = {}
        for part in missing:
            if part.shrinkage.exempt:
                exempt.setdefault(id(part.X), []).append(part)
        for parts in exempt.values():
            shrinkages = [part.shrinkage for part in parts]
            found = compute_largest_penalized_curvatures(parts[0].X, scale, shrinkages)
            self._curvature.update(zip(parts, found.tolist(), strict=True))

    def _find_shifted(self, data: Sequence[FitData], scale: float) -> None:
        """Compute curvatures of features; a penalty of all weights adds its strength to each."""
        features = {id(part.X): part.X for part in data}
        if not features:
            return
        found = compute_largest_curvatures(list(features.values()), scale)
        curvature = dict(zip(features, found.tolist(), strict=True))
        for part in data:
            self._curvature[part] = curvature[id(part.X)] + part.shrinkage.strength


def to_stacked(config: FitConfig) -> FitConfig:
    """Return the config for the engine `stacked`, whose fits are loaded and cut into blocks."""
    if isinstance(config.engine, StackedEngine):
        return config
    return config.model_copy(update={"engine": StackedEngine()})
