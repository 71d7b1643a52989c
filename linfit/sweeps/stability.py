"""Which fits are unstable: their learning rate is above the largest at which the weights do not grow without end.

n samples, p features, q targets.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from weakref import WeakKeyDictionary

from linfit.config import FitConfig
from linfit.engine.blocks import Data, Task, blocks, find_optima
from linfit.method.stable_lr import find_largest_stable_lr, has_stable_lr_bound
from linfit.problem.theory import largest_curvatures, largest_penalized_curvatures
from linfit.settings import StackedEngine


def unstable(configs: Sequence[FitConfig]) -> dict[int, tuple[float, float]]:
    """The learning rate and the largest stable one of each fit for which it is exceeded, by its place; data are loaded for it."""
    limits = Limits()
    return {
        place: both for block in _loaded(configs) for place, both in limits.above(block).items()
    }


def doubtful(configs: Sequence[FitConfig]) -> dict[int, tuple[float, float]]:
    """The same of fits by batches, which may diverge above the bound and need not."""
    limits = Limits()
    return {
        place: both for block in _loaded(configs) for place, both in limits.doubtful(block).items()
    }


def bounds(configs: Sequence[FitConfig]) -> dict[int, float]:
    """The largest stable learning rate of each fit for which one is stated, by its place; data are loaded for it."""
    limits = Limits()
    return {
        place: bound for block in _loaded(configs) for place, bound in limits.bounds(block).items()
    }


def _loaded(configs: Sequence[FitConfig]) -> Iterator[list[Task]]:
    return (
        block
        for block in blocks([as_stacked(config) for config in configs])
        if isinstance(block, list)
    )


class Limits:
    """Which learning rates are above the largest stable one; the largest curvature of the same data is computed once."""

    def __init__(self) -> None:
        self._curvature: WeakKeyDictionary[Data, float] = WeakKeyDictionary()

    def above(self, block: Sequence[Task]) -> dict[int, tuple[float, float]]:
        """The learning rate and the largest stable one of each task for which it is exceeded, by the task's place."""
        return self._exceeded([task for task in block if task.config.batch.is_full])

    def doubtful(self, block: Sequence[Task]) -> dict[int, tuple[float, float]]:
        """The same of tasks that go by batches: for them the bound is enough, and not always necessary."""
        return self._exceeded([task for task in block if not task.config.batch.is_full])

    def _exceeded(self, block: Sequence[Task]) -> dict[int, tuple[float, float]]:
        limits = self.bounds(block) if block else {}
        both = {
            task.place: (_lr(task), limits[task.place]) for task in block if task.place in limits
        }
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
        stated = (
            has_stable_lr_bound(optimizer, config.batch)
            and optimizer.largest_stable_lr(1.0, 1) is not None
        )
        return stated and config.loss.quadratic and config.schedule.is_constant

    def _bound(self, task: Task) -> float | None:
        data = task.data
        n, _, q = data.seen.shape
        return find_largest_stable_lr(
            task.optimizer,
            task.config.batch,
            self._curvature[data],
            data.X,
            task.config.loss.scale(n, q),
            data.shrinkage.strength,
            task.optimizer.count(data.seen),
        )

    def _find(self, data: Sequence[Data], like: FitConfig) -> None:
        missing = [part for part in dict.fromkeys(data) if part not in self._curvature]
        if not missing:
            return
        n, _, q = missing[0].seen.shape
        scale = like.loss.scale(n, q)
        self._find_shifted([part for part in missing if not part.shrinkage.exempt], scale)
        exempt: dict[int, list[Data]] = {}
        for part in missing:
            if part.shrinkage.exempt:
                exempt.setdefault(id(part.X), []).append(part)
        for parts in exempt.values():
            shrinkages = [part.shrinkage for part in parts]
            found = largest_penalized_curvatures(parts[0].X, scale, shrinkages)
            self._curvature.update(zip(parts, found.tolist(), strict=True))

    def _find_shifted(self, data: Sequence[Data], scale: float) -> None:
        """A penalty of all weights adds its strength to every curvature."""
        features = {id(part.X): part.X for part in data}
        if not features:
            return
        found = largest_curvatures(list(features.values()), scale)
        curvature = dict(zip(features, found.tolist(), strict=True))
        self._curvature.update(
            {part: curvature[id(part.X)] + part.shrinkage.strength for part in data}
        )


def as_stacked(config: FitConfig) -> FitConfig:
    """The config as one that is cut into blocks: those of the engine `single` are loaded and grouped in the same way."""
    return (
        config
        if isinstance(config.engine, StackedEngine)
        else config.model_copy(update={"engine": StackedEngine()})
    )


def _lr(task: Task) -> float:
    return float(vars(task.optimizer)["lr"])
