"""Turn fit configs into blocks of tasks: load what each fit needs once, group by stack, cut.

n samples, p features, q targets, k recorded steps.
"""

from __future__ import annotations

import hashlib
import traceback
from collections.abc import Hashable, Iterator, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, field, replace

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from linfit.component import Component
from linfit.config import FitConfig
from linfit.engine.determinism import torch_settings
from linfit.engine.fit import Fit, Status
from linfit.engine.stacked.forms import NO_PANELS, refuses_panels, takes_panels
from linfit.method.optimizers import Optimizer
from linfit.method.stacked_state import identify_kind
from linfit.problem.penalties import Shrinkage
from linfit.problem.problem import Problem
from linfit.problem.theory.accuracy import add_warnings
from linfit.problem.theory.memory import estimate_optimum_bytes
from linfit.problem.theory.optimum import NO_PENALTY, Optimum, leave_unknown, solve_problems
from linfit.problem.theory.sufficient_statistics import PartStatistics
from linfit.problem.types import Array
from linfit.settings import StackedEngine

WINDOW = 32
"""Steps between two checks of the losses."""
LARGEST_BLOCK = 2048
"""Most fits in a block. More fits save little time per fit, and delay the results."""
FIRST_BLOCK = 512
"""Most fits in the first of several blocks: these are recorded while the next block runs."""
MAX_REMEMBERED = 2**14
"""Most problems that are cached, so that memory does not grow with the length of a sweep."""
OBJECT_BYTES = 2**11
"""Estimated bytes of the Python objects of a fit or a problem."""


@dataclass(eq=False)
class FitData:
    """The problem of fits, exact and rounded to their dtype.

    One or more fits share it.
    """

    problem: Problem
    rounded: Problem
    X: Array
    """Rounded features `[n, p]`: one array for all data with equal features."""
    shrinkage: Shrinkage = NO_PENALTY
    """Shrinkage of the penalty, on which the optimum depends."""
    optimum: Optimum | None = None


@dataclass(eq=False, slots=True)
class Task:
    """One fit of a stack before it runs.

    `index` is its index among the configs, `initial_weights` its initial weights `[p, q]`.
    """

    index: int
    config: FitConfig
    data: FitData
    initial_weights: Tensor
    schedule: NDArray[np.int64]
    """Recorded steps `[k]`."""
    tuned_optimizer: Optimizer | None = None

    @property
    def optimizer(self) -> Optimizer:
        """The optimizer, tuned to the problem once its optimum is known.

        It is the config's.
        """
        return self.tuned_optimizer or self.config.optimizer

    @property
    def update_key(self) -> Hashable:
        """Key equal for fits whose weights one stacked update moves."""
        optimizer = self.optimizer
        count = None
        if optimizer.averages():
            count = optimizer.count_samples(self.data.rounded)
        return identify_kind(optimizer), self.config.schedule.is_constant, count

    @property
    def optimum(self) -> Optimum:
        """The exact optimum. `find_optima` must have run."""
        assert self.data.optimum is not None
        return self.data.optimum


@dataclass(eq=False)
class TaskBlock:
    """Up to `max_size` fits of one stack that run together.

    `largest_bytes` is the most bytes of one fit, `shared_bytes` those that its fits need in turn,
    `data_bytes` those of its `problems`, by identity.
    """

    max_size: int = LARGEST_BLOCK
    tasks: list[Task] = field(default_factory=list)
    largest_bytes: int = 0
    shared_bytes: int = 0
    data_bytes: int = 0
    problems: set[int] = field(default_factory=set)

    def has_room_for(self, task: Task) -> bool:
        """Return True if the task fits, by number and by memory."""
        count = len(self.tasks) + 1
        largest = max(self.largest_bytes, estimate_bytes(task))
        shared = max(self.shared_bytes, estimate_shared_bytes(task))
        together = count * largest + shared
        added = self._count_added_bytes(task)
        if added or len(self.problems) > 1:  # the data of one problem are needed by a fit alone
            together += self.data_bytes + added
        return count <= self.max_size and together <= memory_limit(task.config)

    def append_task(self, task: Task) -> None:
        """Append a task."""
        self.tasks.append(task)
        self.largest_bytes = max(self.largest_bytes, estimate_bytes(task))
        self.shared_bytes = max(self.shared_bytes, estimate_shared_bytes(task))
        self.data_bytes += self._count_added_bytes(task)
        self.problems.add(id(task.data))

    def _count_added_bytes(self, task: Task) -> int:
        """Return the bytes of the task's data, 0 if another fit of the block has brought them."""
        return 0 if id(task.data) in self.problems else estimate_data_bytes(task)


def estimate_block_bytes(tasks: Sequence[Task], together: int) -> int:
    """Estimate the bytes of a block of tasks, of which `together` run at once."""
    block = TaskBlock()
    for task in tasks:
        block.append_task(task)
    own = together * block.largest_bytes
    return own + block.shared_bytes + block.data_bytes


def cut_into_blocks(configs: Sequence[FitConfig]) -> Iterator[list[Task] | tuple[int, Fit]]:
    """Yield blocks of tasks, cut at the memory limit.

    A fit whose data or initial weights raise is yielded as (index, failed fit).
    """
    loader = TaskLoader()
    filling: dict[Hashable, TaskBlock] = {}
    most = FIRST_BLOCK
    for index, config in enumerate(configs):
        try:
            task = loader.load_task(index, config)
        except (Exception, SystemExit):  # a component may call sys.exit
            yield index, Fit(config, Status.FAILED, error=traceback.format_exc())
            continue

        stack = identify_stack(task)
        block = filling.setdefault(stack, TaskBlock(most))
        if not block.has_room_for(task) and block.tasks:
            yield block.tasks
            most = LARGEST_BLOCK
            block = filling[stack] = TaskBlock(most)
        block.append_task(task)

        if loader.size > memory_limit(config) or loader.num_problems > MAX_REMEMBERED:
            loader = TaskLoader()
            for block in filling.values():
                yield block.tasks
            filling.clear()
    for block in filling.values():
        yield block.tasks


def identify_stack(task: Task) -> Hashable:
    """Return a key that is equal for fits of one stack."""
    config = task.config
    components = (config.model, config.loss, config.gradient, config.device)
    return (
        task.data.rounded.shape,
        task.data.rounded.weights is not None,
        *map(identify_component, components),
        config.shrinkage().kind,
        config.batch.stack_key(),
        config.dtype,
        config.threads,
        config.deterministic,
        config.has_answer(),
        memory_limit(config),
    )


def identify_component(component: Component) -> Hashable:
    """Return a key that is equal for equal components only.

    −0.0 and 0.0 have different keys. The key of a component without fields is its class.
    """
    if len(vars(component)) == 1:
        return type(component)
    return type(component), component.model_dump_json()


def data_key(config: FitConfig) -> Hashable:
    """Return a key that fits with equal data share."""
    weighted = None
    if config.dataset.is_weighted():
        weighted = (config.mean_over, identify_component(config.loss))
    return (
        identify_component(config.dataset),
        identify_component(config.features),
        weighted,
        config.dataset.resolve_seed(config.seed),
        config.split.identify_samples(config.seed),
        config.loss.target_kind,
        config.gradient.uses_summary,
        config.threads,
        config.dtype,
    )


def memory_limit(config: FitConfig) -> int:
    """Return the most bytes that a block may take."""
    assert isinstance(config.engine, StackedEngine)
    return config.engine.memory


def estimate_bytes(task: Task) -> int:
    """Estimate the bytes of a fit in its block.

    It counts window, optimizer state, path, optimum, and where products are elementwise these,
    residuals and data too, of which each fit then has its own.
    """
    n = len(task.data.X)
    _, p, q = task.data.rounded.shape
    k = len(task.schedule)
    minibatch = 3 * task.config.batch.num_drawn() * (p + q)
    if task.config.gradient.reduces_variance:
        minibatch += n * q
    in_dtype = minibatch + (WINDOW + 32 + k) * p * q
    in_float64 = p * p + 2 * k
    if not takes_panels(task.config, task.data.X.shape):
        in_dtype += n * p + 4 * n * p * q + 8 * n * q
        in_float64 += 2 * n * p
    elif not task.config.batch.is_full:
        in_dtype += n * p
    updates = task.config.optimizer.count_update_bytes((n, p, q), task.config.loss)
    numbers = in_dtype * task.initial_weights.element_size() + 8 * in_float64
    return numbers + updates + OBJECT_BYTES


def estimate_data_bytes(task: Task) -> int:
    """Estimate the bytes of a problem that fits in panels share, as it is laid out for them."""
    if not takes_panels(task.config, task.data.X.shape):
        return 0
    numbers = task.data.X.size + task.data.rounded.y.size
    return numbers * task.initial_weights.element_size()


def estimate_shared_bytes(task: Task) -> int:
    """Estimate the bytes that the fits of a block need in turn, to find their optima."""
    if not task.config.has_answer():
        return 0
    return estimate_optimum_bytes(task.data.rounded.shape, task.config.loss)


class TaskLoader:
    """Load what fits need and cache it.

    `size` estimates the bytes in the cache.
    """

    def __init__(self) -> None:
        self.size = 0
        self._problems: dict[Hashable, tuple[Problem, Problem, Array]] = {}
        self._data: dict[Hashable, FitData] = {}
        self._starts: dict[Hashable, Tensor] = {}
        self._schedules: dict[Hashable, NDArray[np.int64]] = {}
        self._arrays: dict[bytes, Array] = {}
        self._parts: dict[Hashable, PartStatistics | None] = {}

    @property
    def num_problems(self) -> int:
        """Number of cached problems."""
        return len(self._problems)

    def load_task(self, index: int, config: FitConfig) -> Task:
        """Return the fit with all that it needs.

        Raise what its dataset or its init raises.
        """
        data = self._load(config)
        return Task(index, config, data, self._draw(config, data.rounded), self._schedule(config))

    def _load(self, config: FitConfig) -> FitData:
        source = data_key(config)
        shrinkage = config.shrinkage()
        key = (source, identify_component(config.loss), shrinkage, config.has_answer())
        if key not in self._data:
            self._data[key] = FitData(*self._read(source, config), shrinkage)
            self.size += OBJECT_BYTES
        return self._data[key]

    def _read(self, source: Hashable, config: FitConfig) -> tuple[Problem, Problem, Array]:
        if source not in self._problems:
            with torch_settings(config) if config.gradient.uses_summary else nullcontext():
                problem = config.problem(self._find_part_statistics(config))
            if refuses_panels(config, problem.X.shape):
                problem = replace(problem, notes=(*problem.notes, NO_PANELS))
            seen = problem.cast(config.dtype)
            self._problems[source] = problem, seen, self._share(seen.X)
            self.size += 2 * (problem.X.nbytes + problem.y.nbytes) + OBJECT_BYTES
        return self._problems[source]

    def _find_part_statistics(self, config: FitConfig) -> PartStatistics | None:
        """Return the statistics of the split's parts, which all its folds share."""
        if not config.gradient.uses_summary or not config.split.holds_out():
            return None
        key = data_key(config.model_copy(update={"split": config.split.first_fold()}))
        if key not in self._parts:
            found = config.part_statistics()
            self._parts[key] = found
            self.size += OBJECT_BYTES + (0 if found is None else found.nbytes)
        return self._parts[key]

    def _share(self, array: Array) -> Array:
        """Return the cached array with these bytes: features that no seed changes are kept once."""
        digest = hashlib.blake2b(np.ascontiguousarray(array).data, digest_size=32).digest()
        return self._arrays.setdefault(digest + repr(array.shape).encode(), array)

    def _draw(self, config: FitConfig, seen: Problem) -> Tensor:
        _, p, q = seen.shape
        dtype = getattr(torch, config.dtype)
        key = (identify_component(config.init), config.seed, p, q, dtype)
        if key not in self._starts:
            start = config.init.draw(p, q, config.seed, dtype)
            if start.shape != (p, q) or start.dtype != dtype:
                raise ValueError(
                    f"init {config.init.name} drew {start.dtype} {list(start.shape)}, "
                    f"asked for {dtype} {[p, q]}"
                )
            self._starts[key] = start
            self.size += start.nbytes + OBJECT_BYTES
        return self._starts[key]

    def _schedule(self, config: FitConfig) -> NDArray[np.int64]:
        key = (config.record.every, config.steps)
        if key not in self._schedules:
            self._schedules[key] = np.array(config.record.recorded_steps(config.steps))
            self.size += self._schedules[key].nbytes
        return self._schedules[key]


def find_optima(tasks: Sequence[Task]) -> None:
    """Find a block's missing optima; tune the optimizers to them."""
    if not tasks:
        return
    first = tasks[0].config
    missing: dict[int, FitData] = {}
    for task in tasks:
        if task.data.optimum is None:
            missing[id(task.data)] = task.data
    problems = [data.rounded for data in missing.values()]
    shrinkages = [data.shrinkage for data in missing.values()]
    if first.has_answer():
        found = solve_problems(problems, first.loss, shrinkages)
    else:
        needed = any(task.config.optimizer.needs_moments for task in tasks)
        found = leave_unknown(problems, first.loss, shrinkages, needed)
    for data, known in zip(missing.values(), found, strict=True):
        data.optimum = known
        data.problem = add_warnings(data.problem, known, first.dtype)
    for task in tasks:
        task.tuned_optimizer = task.config.optimizer.tuned_to(task.optimum)
