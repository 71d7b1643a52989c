"""From configs to blocks: what each fit needs is loaded once, fits of one stack are brought together, a full stack is cut.

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
from linfit.method.batches import Minibatch
from linfit.method.optimizers import Optimizer
from linfit.method.schedules import Constant
from linfit.method.stacks import kind
from linfit.problem.accuracy import with_warning
from linfit.problem.penalties import Shrinkage
from linfit.problem.problem import Array, Problem
from linfit.problem.theory import NONE, Optimum, optima
from linfit.settings import StackedEngine

WINDOW = 32
"""Steps between two looks at the losses."""
LARGEST = 2048
"""Fits in a block: beyond, a fit costs little less, and results come later."""
FIRST = 512
"""Those in the first of several, so that there is something to record while the next is computed."""
KEPT = 2**14
"""Problems that are remembered for fits to come: a sweep of any length takes no more memory than one of so many seeds."""
OVERHEAD = 2**11
"""Bytes that Python's objects take for a fit or a problem, roughly."""


@dataclass(eq=False)
class Data:
    """A problem and how its fits see it, rounded to their dtype; fits whose data are the same share one."""

    problem: Problem
    seen: Problem
    X: Array
    """The features seen `[n, p]`, one array for all data that have these features."""
    shrinkage: Shrinkage = NONE
    """Of the penalty, which moves the optimum."""
    known: Optimum | None = None


@dataclass(eq=False, slots=True)
class Task:
    """One fit of a stack before it runs: its place among the configs, its data, its initial weights `[p, q]`."""

    place: int
    config: FitConfig
    data: Data
    start: Tensor
    schedule: NDArray[np.int64]
    """The steps recorded `[k]`."""
    informed: Optimizer | None = None

    @property
    def optimizer(self) -> Optimizer:
        """The config's optimizer, with what the problem decides of it once the optimum has been found."""
        return self.informed or self.config.optimizer

    @property
    def moved_as(self) -> Hashable:
        """What fits share whose weights one update moves."""
        optimizer = self.optimizer
        count = optimizer.count(self.data.seen) if optimizer.averages() else None
        return kind(optimizer), isinstance(self.config.schedule, Constant), count

    @property
    def optimum(self) -> Optimum:
        """The exact answer, once it has been found."""
        assert self.data.known is not None
        return self.data.known


@dataclass(eq=False)
class Block:
    """Fits of one stack that run together, at most so many, and the bytes that the largest of them takes."""

    most: int = LARGEST
    tasks: list[Task] = field(default_factory=list)
    largest: int = 0

    def has_room(self, task: Task) -> bool:
        return len(self.tasks) < self.most and (len(self.tasks) + 1) * max(
            self.largest, bytes_of(task)
        ) <= memory(task.config)

    def add(self, task: Task) -> None:
        self.tasks.append(task)
        self.largest = max(self.largest, bytes_of(task))


def blocks(configs: Sequence[FitConfig]) -> Iterator[list[Task] | tuple[int, Fit]]:
    """Blocks of fits that run together, cut where memory ends; a fit that cannot even begin comes as failed, with its place."""
    loader = Loader()
    filling: dict[Hashable, Block] = {}
    most = FIRST
    for place, config in enumerate(configs):
        try:
            task = loader.task(place, config)
        except (Exception, SystemExit):  # a component that exits has not begun anything
            yield place, Fit(config, Status.FAILED, error=traceback.format_exc())
            continue
        stack = stack_of(task)
        block = filling.get(stack)
        if block is None or not block.has_room(task):
            if block is not None:
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
    """What fits of one stack have in common."""
    config = task.config
    shared = (config.model, config.loss, config.gradient, config.device)
    how = (
        config.shrinkage().strength > 0,
        _batch(config),
        config.dtype,
        config.threads,
        config.deterministic,
        memory(config),
    )
    return (task.data.seen.shape, *map(identity, shared), *how)


def _batch(config: FitConfig) -> Hashable:
    """What fits of one stack share of their batches: not the seed."""
    return (
        (config.batch.size, config.batch.replacement)
        if isinstance(config.batch, Minibatch)
        else None
    )


def identity(component: Component) -> Hashable:
    """What is equal for equal components only: −0.0 is not 0.0. A component without fields is its class."""
    return (
        type(component)
        if len(vars(component)) == 1
        else (type(component), component.model_dump_json())
    )


def data_key(config: FitConfig) -> Hashable:
    """What is equal for fits whose data are the same."""
    drawn = (
        config.dataset.drawn_from(config.seed),
        config.split.drawn_from(config.seed) if config.split.validation else None,
    )
    parts = map(identity, (config.dataset, config.features))
    weighted = (config.mean_over, identity(config.loss)) if config.dataset.weighted() else None
    return (
        *parts,
        weighted,
        *drawn,
        config.split.validation,
        config.gradient.summarizes,
        config.threads,
        config.dtype,
    )


def memory(config: FitConfig) -> int:
    """The bytes that a block may take."""
    assert isinstance(config.engine, StackedEngine)
    return config.engine.memory


def bytes_of(task: Task) -> int:
    """What a fit takes of its block: data, products with weights and residuals, window, optimizer, path and exact answer."""
    n, (_, p, q) = len(task.data.X), task.data.seen.shape
    batch = task.config.batch
    m = 3 * batch.size * (p + q) if isinstance(batch, Minibatch) else 0
    in_dtype = m + n * p + 4 * n * p * q + 8 * n * q + (WINDOW + 32 + len(task.schedule)) * p * q
    return (
        in_dtype * task.start.element_size()
        + 8 * (2 * n * p + p * p + 2 * len(task.schedule))
        + OVERHEAD
    )


class Loader:
    """Loads what fits need, and remembers it for others that need the same; `size` is about how many bytes it holds."""

    def __init__(self) -> None:
        self.size = 0
        self._problems: dict[Hashable, tuple[Problem, Problem, Array]] = {}
        self._data: dict[Hashable, Data] = {}
        self._starts: dict[Hashable, Tensor] = {}
        self._schedules: dict[Hashable, NDArray[np.int64]] = {}
        self._arrays: dict[bytes, Array] = {}

    @property
    def num_problems(self) -> int:
        return len(self._problems)

    def task(self, place: int, config: FitConfig) -> Task:
        """The fit with all it needs; raises whatever its dataset or its initialization raises."""
        data = self._load(config)
        return Task(place, config, data, self._draw(config, data.seen), self._schedule(config))

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
            self._problems[source] = problem, seen, self._same(seen.X)
            self.size += 2 * (problem.X.nbytes + problem.y.nbytes) + OVERHEAD
        return self._problems[source]

    def _same(self, array: Array) -> Array:
        """The array with these bytes that is there already: features that do not depend on the seed are kept once."""
        content = (
            hashlib.blake2b(np.ascontiguousarray(array).data, digest_size=32).digest()
            + repr(array.shape).encode()
        )
        return self._arrays.setdefault(content, array)

    def _draw(self, config: FitConfig, seen: Problem) -> Tensor:
        (_, p, q), dtype = seen.shape, getattr(torch, config.dtype)
        key = (identity(config.init), config.seed, p, q, dtype)
        if key not in self._starts:
            start = config.init.draw(p, q, config.seed, dtype)
            if start.shape != (p, q) or start.dtype != dtype:
                raise ValueError(
                    f"init {config.init.name} drew {start.dtype} {list(start.shape)}, asked for {dtype} {[p, q]}"
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
    """Finds the optima of those problems of a block that have none yet, all at once, and lets the optimizers know."""
    if not tasks:
        return
    missing = list({id(task.data): task.data for task in tasks if task.data.known is None}.values())
    found = optima(
        [data.seen for data in missing], tasks[0].config.loss, [data.shrinkage for data in missing]
    )
    for data, known in zip(missing, found, strict=True):
        data.known = known
        data.problem = with_warning(data.problem, known, tasks[0].config.dtype)
    for task in tasks:
        task.informed = task.config.optimizer.know(task.optimum)
