"""From configs to blocks: what each fit needs is loaded once, fits of one stack are brought together, a full stack is cut.

n samples, p features, q targets, k recorded steps.
"""

from __future__ import annotations

import hashlib
import traceback
from collections.abc import Hashable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from linfit.config import FitConfig
from linfit.engine.fit import Fit, Status
from linfit.problem.problem import Array, Problem
from linfit.problem.theory import Optimum, optima

WINDOW = 32
"""Steps between two looks at the losses."""
LARGEST = 4096
"""Fits in a block: beyond, a fit costs no less, and results come later."""


@dataclass(eq=False)
class Data:
    """A problem as its fits see it, rounded to their dtype; fits whose data are the same share one."""

    problem: Problem
    seen: Problem
    optimum: Optimum | None = None


@dataclass(eq=False, slots=True)
class Task:
    """One fit of a stack before it runs: its place among the configs, its data, its initial weights `[p, q]`."""

    place: int
    config: FitConfig
    data: Data
    start: Tensor
    schedule: Array
    """The steps recorded `[k]`."""

    @property
    def optimum(self) -> Optimum:
        assert self.data.optimum is not None
        return self.data.optimum


def blocks(configs: Sequence[FitConfig]) -> Iterator[list[Task] | tuple[int, Fit]]:
    """Blocks of fits that run together, none larger than its memory allows; a fit that cannot even begin comes as failed."""
    loader = Loader()
    open_blocks: dict[Hashable, list[Task]] = {}
    room: dict[Hashable, int] = {}
    for place, config in enumerate(configs):
        try:
            task = loader.task(place, config)
            stack = (task.data.seen.shape, config.model, config.loss, config.gradient, config.dtype, config.device, config.threads)
        except (Exception, SystemExit):  # a component that exits has not begun anything
            yield place, Fit(config, Status.FAILED, error=traceback.format_exc())
            continue
        block = open_blocks.setdefault(stack, [])
        room[stack] = room.get(stack, config.engine.memory) - bytes_of(task)
        if block and (room[stack] < 0 or len(block) == LARGEST):
            yield loader.completed(open_blocks.pop(stack))
            open_blocks[stack], room[stack] = [], config.engine.memory - bytes_of(task)
        open_blocks[stack].append(task)
        if loader.size > config.engine.memory:
            loader.forget()
            for stack in list(open_blocks):
                yield loader.completed(open_blocks.pop(stack))
    for block in open_blocks.values():
        yield loader.completed(block)


def _drawn(config: FitConfig, p: int, q: int) -> Tensor:
    dtype = getattr(torch, config.dtype)
    start = config.init.draw(p, q, config.seed, dtype)
    if start.shape != (p, q) or start.dtype != dtype:
        raise ValueError(f"init {config.init.name} drew {start.dtype} {list(start.shape)} where {dtype} {[p, q]} was asked for")
    return start


def bytes_of(task: Task) -> int:
    """What a fit takes of its block: data, their products with weights or residuals, the window, the optimizer, the path."""
    n, p, q = task.data.seen.shape
    numbers = n * p + 4 * n * p * q + 8 * n * q + (WINDOW + 32 + len(task.schedule)) * (p * q + 2) + 2 * p * p
    return numbers * task.start.element_size()


class Loader:
    """Loads what fits need, and remembers it for others that need the same."""

    def __init__(self) -> None:
        self.size = 0
        self._data: dict[Hashable, Data] = {}
        self._starts: dict[Hashable, Tensor] = {}
        self._schedules: dict[Hashable, Any] = {}
        self._arrays: dict[bytes, Array] = {}

    def forget(self) -> None:
        self.__init__()  # type: ignore[misc]

    def task(self, place: int, config: FitConfig) -> Task:
        data = self._load(config)
        _, p, q = data.seen.shape
        start = (config.init, config.seed, p, q, config.dtype)
        if start not in self._starts:
            self._starts[start] = _drawn(config, p, q)
        schedule = (config.record.every, config.steps)
        if schedule not in self._schedules:
            self._schedules[schedule] = np.array(config.record.steps(config.steps))
        return Task(place, config, data, self._starts[start], self._schedules[schedule])

    def _load(self, config: FitConfig) -> Data:
        key = (config.dataset, config.dataset.drawn_from(config.seed), config.dtype, config.loss)
        if key not in self._data:
            problem = config.dataset.load(config.seed)
            seen = problem.cast(config.dtype)
            self._data[key] = Data(problem, Problem(self._same(seen.X), seen.y, seen.features, seen.targets, seen.source, seen.truth))
            self.size += 2 * (problem.X.nbytes + problem.y.nbytes)
        return self._data[key]

    def _same(self, array: Array) -> Array:
        """The array with these bytes that is there already: features that do not depend on the seed are kept once."""
        content = hashlib.blake2b(np.ascontiguousarray(array).data, digest_size=32).digest() + repr(array.shape).encode()
        return self._arrays.setdefault(content, array)

    @staticmethod
    def completed(block: list[Task]) -> list[Task]:
        """The block with the optimum of each of its problems."""
        missing = list({id(task.data): task.data for task in block if task.data.optimum is None}.values())
        for data, optimum in zip(missing, optima([data.seen for data in missing], block[0].config.loss), strict=True):
            data.optimum = optimum
        return block
