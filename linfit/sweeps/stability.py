"""Which fits are unstable: their learning rate is above the largest at which the weights do not grow without end.

n samples, p features, q targets.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from weakref import WeakKeyDictionary

from linfit.config import FitConfig
from linfit.engine.blocks import Data, Task, blocks, find_optima
from linfit.problem.theory import largest_curvatures
from linfit.settings import StackedEngine


def unstable(configs: Sequence[FitConfig]) -> dict[int, tuple[float, float]]:
    """The learning rate and the largest stable one of each fit for which it is exceeded, by its place; data are loaded for it."""
    limits = Limits()
    return {place: both for block in _loaded(configs) for place, both in limits.above(block).items()}


def bounds(configs: Sequence[FitConfig]) -> dict[int, float]:
    """The largest stable learning rate of each fit for which one is stated, by its place; data are loaded for it."""
    limits = Limits()
    return {place: bound for block in _loaded(configs) for place, bound in limits.bounds(block).items()}


def _loaded(configs: Sequence[FitConfig]) -> Iterator[list[Task]]:
    return (block for block in blocks([as_stacked(config) for config in configs]) if isinstance(block, list))


class Limits:
    """Which learning rates are above the largest stable one; the largest curvature of the same data is computed once."""

    def __init__(self) -> None:
        self._curvature: WeakKeyDictionary[Data, float] = WeakKeyDictionary()

    def above(self, block: Sequence[Task]) -> dict[int, tuple[float, float]]:
        """The learning rate and the largest stable one of each task for which it is exceeded, by the task's place."""
        limits = self.bounds(block)
        both = {task.place: (_lr(task), limits[task.place]) for task in block if task.place in limits}
        return {place: (lr, bound) for place, (lr, bound) in both.items() if lr > bound}

    def bounds(self, block: Sequence[Task]) -> dict[int, float]:
        """The largest stable learning rate of each task for which one is stated, by the task's place."""
        find_optima([task for task in block if task.config.optimizer.asks()])
        bounded = [task for task in block if self.known(task)]
        self._find([task.data for task in bounded], block[0].config)
        found = ((task.place, self._bound(task)) for task in bounded)
        return {place: bound for place, bound in found if bound is not None}

    def known(self, task: Task) -> bool:
        """Whether a bound is stated: by the optimizer, whose settings may matter, of a quadratic loss and a learning rate that stays."""
        optimizer, config = task.optimizer, task.config
        stated = optimizer.knows_its_bound() and optimizer.largest_stable_lr(1.0, 1) is not None
        return stated and config.loss.quadratic and config.schedule.name == "none"

    def _bound(self, task: Task) -> float | None:
        curvature = self._curvature[task.data] + task.config.penalty.squared()
        return task.optimizer.largest_stable_lr(curvature, task.data.seen.shape[0])

    def _find(self, data: Sequence[Data], like: FitConfig) -> None:
        missing = [part for part in dict.fromkeys(data) if part not in self._curvature]
        if not missing:
            return
        features = {id(part.X): part.X for part in missing}
        n, _, q = missing[0].seen.shape
        found = largest_curvatures(list(features.values()), like.loss.scale(n, q))
        curvature = dict(zip(features, found.tolist(), strict=True))
        self._curvature.update({part: curvature[id(part.X)] for part in missing})


def as_stacked(config: FitConfig) -> FitConfig:
    """The config as one that is cut into blocks: those of the engine `single` are loaded and grouped in the same way."""
    return config if isinstance(config.engine, StackedEngine) else config.model_copy(update={"engine": StackedEngine()})


def _lr(task: Task) -> float:
    return float(vars(task.optimizer)["lr"])
