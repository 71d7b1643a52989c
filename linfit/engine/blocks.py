"""Turn fit configs into blocks of tasks: load what each fit needs once, group by stack, cut.

n samples, p features, q targets, k recorded steps.
"""

from __future__ import annotations

import hashlib
import traceback
from collections.abc import Hashable, Iterator, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, field

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from linfit.component import Component
from linfit.config import FitConfig
from linfit.engine.determinism import computing
from linfit.engine.fit import Fit, Status
from linfit.method.optimizers import Optimizer
from linfit.method.stacks import kind
from linfit.problem.accuracy import with_warning
from linfit.problem.penalties import Shrinkage
from linfit.problem.problem import Problem
from linfit.problem.theory import NONE, Optimum, optima
from linfit.problem.types import Array
from linfit.settings import StackedEngine

WINDOW = 32
"""Steps between two checks of the losses."""
LARGEST = 2048
"""Most fits in a block. More fits save little time per fit, and delay the results."""
FIRST = 512
"""Most fits in the first of several blocks: these are recorded while the next block runs."""
KEPT = 2**14
"""Most problems that are cached, so that memory does not grow with the length of a sweep."""
OVERHEAD = 2**11
"""Estimated bytes of the Python objects of a fit or a problem."""


@dataclass(eq=False)
class Data:
    """The problem of one or more fits, exact and rounded to their dtype."""

    problem: Problem
    seen: Problem
    X: Array
    """Rounded features `[n, p]`: one array for all data with equal features."""
    shrinkage: Shrinkage = NONE
    """Shrinkage of the penalty, on which the optimum depends."""
    known: Optimum | None = None


@dataclass(eq=False, slots=True)
class Task:
    """One fit of a stack before it runs.

    `place` is its index among the configs, `start` its initial weights `[p, q]`.
    """

    place: int
    config: FitConfig
    data: Data
    start: Tensor
    schedule: NDArray[np.int64]
    """Recorded steps `[k]`."""
    informed: Optimizer | None = None

    @property
    def optimizer(self) -> Optimizer:
        """The config's optimizer, tuned to the problem once the optimum is known."""
        return self.informed or self.config.optimizer

    @property
    def moved_as(self) -> Hashable:
        """Key that is equal for fits whose weights one stacked update moves."""
        optimizer = self.optimizer
        count = optimizer.count(self.data.seen) if optimizer.averages() else None
        return kind(optimizer), self.config.schedule.is_constant, count

    @property
    def optimum(self) -> Optimum:
        """The exact optimum. `find_optima` must have run."""
        assert self.data.known is not None
        return self.data.known


@dataclass(eq=False)
class Block:
    """Up to `most` fits of one stack that run together.

    `largest` is the most bytes of one fit.
    """

    most: int = LARGEST
    tasks: list[Task] = field(default_factory=list)
    largest: int = 0

    def has_room(self, task: Task) -> bool:
        """Return True if the task fits into this block by number and by memory."""
        count = len(self.tasks) + 1
        largest = max(self.largest, bytes_of(task))
        return count <= self.most and count * largest <= memory(task.config)

    def add(self, task: Task) -> None:
        """Append a task."""
        self.tasks.append(task)
        self.largest = max(self.largest, bytes_of(task))


def blocks(configs: Sequence[FitConfig]) -> Iterator[list[Task] | tuple[int, Fit]]:
    """Yield blocks of tasks, cut at the memory limit.

    A fit whose data or initial weights raise is yielded as (index, failed fit).
    """
    loader = Loader()
    filling: dict[Hashable, Block] = {}
    most = FIRST
    for index, config in enumerate(configs):
        try:
            task = loader.task(index, config)
        except (Exception, SystemExit):  # a component may call sys.exit
            yield index, Fit(config, Status.FAILED, error=traceback.format_exc())
            continue

        stack = stack_of(task)
        block = filling.setdefault(stack, Block(most))
        if not block.has_room(task) and block.tasks:
            yield block.tasks
            most = LARGEST
            block = filling[stack] = Block(most)
        block.add(task)

        if loader.size > memory(config) or loader.num_problems > KEPT:
            loader = Loader()
            yield from (block.tasks for block in filling.values())
            filling.clear()
    yield from (block.tasks for block in filling.values())


def stack_of(task: Task) -> Hashable:
    """Return a key that is equal for fits of one stack."""
    config = task.config
    components = (config.model, config.loss, config.gradient, config.device)
    return (
        task.data.seen.shape,
        *map(identity, components),
        config.shrinkage().strength > 0,
        config.batch.stack_key(),
        config.dtype,
        config.threads,
        config.deterministic,
        memory(config),
    )


def identity(component: Component) -> Hashable:
    """Return a key that is equal for equal components only.

    −0.0 and 0.0 have different keys. The key of a component without fields is its class.
    """
    if len(vars(component)) == 1:
        return type(component)
    return type(component), component.model_dump_json()


def data_key(config: FitConfig) -> Hashable:
    """Return a key that is equal for fits with the same data."""
    split_seed = config.split.drawn_from(config.seed) if config.split.validation else None
    weighted = (config.mean_over, identity(config.loss)) if config.dataset.weighted() else None
    return (
        identity(config.dataset),
        identity(config.features),
        weighted,
        config.dataset.drawn_from(config.seed),
        split_seed,
        config.split.validation,
        config.gradient.summarizes,
        config.threads,
        config.dtype,
    )


def memory(config: FitConfig) -> int:
    """Return the most bytes that a block may take."""
    assert isinstance(config.engine, StackedEngine)
    return config.engine.memory


def bytes_of(task: Task) -> int:
    """Estimate the bytes of a fit in its block.

    It counts data, products with weights and residuals, window, optimizer state, path, optimum.
    """
    n = len(task.data.X)
    _, p, q = task.data.seen.shape
    k = len(task.schedule)
    minibatch = 3 * task.config.batch.num_drawn() * (p + q)
    in_dtype = minibatch + n * p + 4 * n * p * q + 8 * n * q + (WINDOW + 32 + k) * p * q
    in_float64 = 2 * n * p + p * p + 2 * k
    return in_dtype * task.start.element_size() + 8 * in_float64 + OVERHEAD


class Loader:
    """Load what fits need and cache it.

    `size` estimates the bytes in the cache.
    """

    def __init__(self) -> None:
        self.size = 0
        self._problems: dict[Hashable, tuple[Problem, Problem, Array]] = {}
        self._data: dict[Hashable, Data] = {}
        self._starts: dict[Hashable, Tensor] = {}
        self._schedules: dict[Hashable, NDArray[np.int64]] = {}
        self._arrays: dict[bytes, Array] = {}

    @property
    def num_problems(self) -> int:
        """Number of cached problems."""
        return len(self._problems)

    def task(self, index: int, config: FitConfig) -> Task:
        """Return the fit with all that it needs.

        Raise what its dataset or its init raises.
        """
        data = self._load(config)
        return Task(index, config, data, self._draw(config, data.seen), self._schedule(config))

    def _load(self, config: FitConfig) -> Data:
        source = data_key(config)
        shrinkage = config.shrinkage()
        key = (source, identity(config.loss), shrinkage)
        if key not in self._data:
            self._data[key] = Data(*self._read(source, config), shrinkage)
            self.size += OVERHEAD
        return self._data[key]

    def _read(self, source: Hashable, config: FitConfig) -> tuple[Problem, Problem, Array]:
        if source not in self._problems:
            with computing(config) if config.gradient.summarizes else nullcontext():
                problem = config.problem()
            seen = problem.cast(config.dtype)
            self._problems[source] = problem, seen, self._share(seen.X)
            self.size += 2 * (problem.X.nbytes + problem.y.nbytes) + OVERHEAD
        return self._problems[source]

    def _share(self, array: Array) -> Array:
        """Return the cached array with these bytes: features that no seed changes are kept once."""
        digest = hashlib.blake2b(np.ascontiguousarray(array).data, digest_size=32).digest()
        return self._arrays.setdefault(digest + repr(array.shape).encode(), array)

    def _draw(self, config: FitConfig, seen: Problem) -> Tensor:
        _, p, q = seen.shape
        dtype = getattr(torch, config.dtype)
        key = (identity(config.init), config.seed, p, q, dtype)
        if key not in self._starts:
            start = config.init.draw(p, q, config.seed, dtype)
            if start.shape != (p, q) or start.dtype != dtype:
                raise ValueError(
                    f"init {config.init.name} drew {start.dtype} {list(start.shape)}, "
                    f"asked for {dtype} {[p, q]}"
                )
            self._starts[key] = start
            self.size += start.nbytes + OVERHEAD
        return self._starts[key]

    def _schedule(self, config: FitConfig) -> NDArray[np.int64]:
        key = (config.record.every, config.steps)
        if key not in self._schedules:
            self._schedules[key] = np.array(config.record.steps(config.steps))
            self.size += self._schedules[key].nbytes
        return self._schedules[key]


def find_optima(tasks: Sequence[Task]) -> None:
    """Find the missing optima of a block, and tune the optimizers to them."""
    if not tasks:
        return
    first = tasks[0].config
    missing = list({id(task.data): task.data for task in tasks if task.data.known is None}.values())
    problems = [data.seen for data in missing]
    found = optima(problems, first.loss, [data.shrinkage for data in missing])
    for data, known in zip(missing, found, strict=True):
        data.known = known
        data.problem = with_warning(data.problem, known, first.dtype)
    for task in tasks:
        task.informed = task.config.optimizer.know(task.optimum)
