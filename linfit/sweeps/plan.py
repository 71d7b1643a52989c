"""What `linfit run` would do: how many fits, in which stacks, in how much memory and time, and which of them are unstable.

Data and initial weights are loaded and cut into blocks by the code that a run uses; no fit runs, and nothing is written. For the
time a few steps of a sample are run and forgotten.

n samples, p features, q targets.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Hashable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from linfit.component import Component, Frozen
from linfit.config import FitConfig
from linfit.engine.blocks import Task, blocks, bytes_of, stack_of
from linfit.engine.cost import Cost, measure
from linfit.engine.fit import Fit
from linfit.errors import ConfigError
from linfit.settings import SingleEngine
from linfit.sweeps.enumeration import Enumeration, enumerate_jobs
from linfit.sweeps.forecast import Forecast, Forecasts
from linfit.sweeps.readiness import NONE_LEFT, ready, refuse_unstable
from linfit.sweeps.request import parse_flags
from linfit.sweeps.stability import Limits, as_stacked, unstable

#: Flags of `linfit run` that do something else than run.
ELSEWHERE = ("help", "hydra_help", "cfg", "info", "shell_completion", "experimental_rerun")


@dataclass(frozen=True)
class Stack:
    """Fits that one tensor program runs together, or, in the engine `single` and for the reason `why`, one after the other."""

    engine: str
    shape: tuple[int, int, int]
    """(n, p, q)"""
    model: str
    loss: str
    gradient: str
    dtype: str
    device: str
    threads: int
    num_fits: int
    optimizers: dict[str, int]
    """How many fits each has."""
    blocks: int
    memory: int
    """Bytes of the largest block, about."""
    seconds: float | None
    """About how long fitting takes here; None where that cannot be tried."""
    why: str | None = None


@dataclass(frozen=True)
class Unstable:
    """A fit whose learning rate is above the largest stable one."""

    row: int
    name: str
    optimizer: str
    lr: float
    largest_stable_lr: float


@dataclass(frozen=True)
class Plan:
    """What would run. A fit that cannot even begin stands in `failing`, by its name, with the reason."""

    experiment: str
    sweep: bool
    num_fits: int
    varying: dict[str, list[Any]]
    """The values of each key that the sweep varies, in order."""
    stacks: list[Stack]
    unstable: list[Unstable]
    doubtful: list[Unstable]
    """Fits by batches above the learning rate that is stable whatever is drawn: they may diverge."""
    no_bound_known: dict[str, int]
    """How many fits have an optimizer that states no largest stable learning rate, by optimizer."""
    failing: dict[str, str]
    theory: list[Forecast]
    notes: dict[str, int]
    """What is to be known of the data, with the number of fits that it concerns."""
    left_out: list[Unstable]
    """What --skip-unstable leaves out; none of it is counted above."""

    @property
    def seconds(self) -> float | None:
        """About how long fitting takes; None where a stack's time is not known."""
        known = [stack.seconds for stack in self.stacks if stack.seconds is not None]
        return sum(known) if len(known) == len(self.stacks) else None

    @property
    def memory(self) -> int:
        """Bytes of the largest block, about: they run one after the other."""
        return max((stack.memory for stack in self.stacks), default=0)


@dataclass
class Gathering:
    """A stack while its blocks come by."""

    why: str | None
    config: FitConfig
    shape: tuple[int, int, int]
    cost: Cost | None
    optimizers: Counter[str] = field(default_factory=Counter)
    blocks: int = 0
    memory: int = 0
    num_steps: int = 0

    def add(self, block: Sequence[Task], unstable: set[int]) -> None:
        self.optimizers.update(task.config.optimizer.name for task in block)
        together = 1 if self.why else len(block)
        self.memory = max(self.memory, together * max(map(bytes_of, block)))
        self.blocks += 1
        self.num_steps += sum(
            task.config.steps for task in block if task.place not in unstable
        )  # those end early

    def stack(self) -> Stack:
        config, num_fits = self.config, self.optimizers.total()
        return Stack(
            "single" if self.why else "stacked",
            self.shape,
            config.model.name,
            config.loss.name,
            config.gradient.name,
            config.dtype,
            config.device.name,
            config.threads,
            num_fits,
            dict(self.optimizers),
            num_fits if self.why else self.blocks,
            self.memory,
            None if self.cost is None else self.cost.seconds(num_fits, self.num_steps),
            self.why,
        )


def plan(arguments: Sequence[str], skip_unstable: bool = False) -> Plan:
    """What `linfit run ARGUMENTS` would do; ConfigError where it would refuse to."""
    flags = parse_flags(arguments)
    other = [flag for flag in ELSEWHERE if getattr(flags, flag)]
    if other:
        raise ConfigError(
            f"--{other[0].replace('_', '-')} goes with `linfit run`: plan takes an experiment, overrides and -m"
        )
    enumeration = enumerate_jobs(arguments)
    return planned(*_without_unstable(enumeration)) if skip_unstable else planned(enumeration)


def _without_unstable(enumeration: Enumeration) -> tuple[Enumeration, list[Unstable]]:
    """The jobs that --skip-unstable runs, and what it leaves out; ConfigError where none are left."""
    configs = ready([job.config for job in enumeration.jobs], enumeration.sweep)
    if not enumeration.sweep:
        for config in configs:
            refuse_unstable(config)
    above, names = unstable(configs), list(enumeration.names())
    if len(above) == len(configs):
        raise ConfigError(NONE_LEFT.format(len(configs)))
    left_out = [
        Unstable(place, names[place], configs[place].optimizer.name, *above[place])
        for place in sorted(above)
    ]
    kept = tuple(job for place, job in enumerate(enumeration.jobs) if place not in above)
    return replace(enumeration, jobs=kept), left_out


def planned(enumeration: Enumeration, left_out: Sequence[Unstable] = ()) -> Plan:
    """The plan of jobs that have not run."""
    asked = [job.config for job in enumeration.jobs]
    names, limits = list(enumeration.names()), Limits()
    stacks: dict[Hashable, Gathering] = {}
    exceeded: dict[int, tuple[float, float]] = {}
    doubtful: dict[int, tuple[float, float]] = {}
    forecasts = Forecasts()
    failing, unknown = {}, Counter[str]()
    for why, block in _blocks(asked, ready(asked, enumeration.sweep)):
        if isinstance(block, tuple):
            failing[names[block[0]]] = (block[1].error or "").strip().splitlines()[-1]
            continue
        above = limits.above(block)
        exceeded.update(above)
        doubtful.update(limits.doubtful(block))
        forecasts.add(block)
        unknown.update(task.config.optimizer.name for task in block if not limits.known(task))
        key = (why, stack_of(block[0]))
        if key not in stacks:
            stacks[key] = Gathering(
                why, block[0].config, block[0].data.seen.shape, measure(block, why is not None)
            )
        stacks[key].add(block, set(above))
    return Plan(
        enumeration.experiment,
        enumeration.sweep,
        len(asked),
        {key: _values(asked, key) for key in enumeration.varying},
        [gathering.stack() for gathering in stacks.values()],
        _exceeding(exceeded, names, asked),
        _exceeding(doubtful, names, asked),
        dict(unknown),
        failing,
        forecasts.all(),
        dict(forecasts.notes),
        list(left_out),
    )


def _exceeding(
    found: dict[int, tuple[float, float]], names: Sequence[str], asked: Sequence[FitConfig]
) -> list[Unstable]:
    """The fits at these places, in order, with their learning rates and bounds."""
    return [
        Unstable(place, names[place], asked[place].optimizer.name, *found[place])
        for place in sorted(found)
    ]


def _blocks(
    asked: Sequence[FitConfig], configs: Sequence[FitConfig]
) -> Iterator[tuple[str | None, list[Task] | tuple[int, Fit]]]:
    """The blocks, with the places of their fits among all and, where they run in the engine `single`, the reason."""
    reasons: dict[str | None, list[int]] = {}
    for place, config in enumerate(configs):
        reasons.setdefault(
            _why_single(asked[place]) if config.engine.name == "single" else None, []
        ).append(place)
    for why, places in reasons.items():
        for block in blocks([as_stacked(configs[place]) for place in places]):
            if isinstance(block, tuple):
                yield why, (places[block[0]], block[1])
                continue
            for task in block:
                task.place = places[task.place]
            yield why, block


def _why_single(asked: FitConfig) -> str:
    if missing := asked.unstackable():
        parts = (f"{group} {getattr(asked, group).name}" for group in missing)
        return f"no stacked rule for {', '.join(parts)}"
    return "engine=single" if isinstance(asked.engine, SingleEngine) else "a fit alone"


def _values(configs: Sequence[FitConfig], key: str) -> list[Any]:
    """The different values of a key among the configs, in order; a component stands as its name."""
    found = (value for config in configs for value in _value(config, key))
    return list({repr(value): value for value in found}.values())


def _value(config: FitConfig, key: str) -> list[Any]:
    """The value of a key, if the config has that key: another component may not."""
    value: Any = config
    for part in key.split("."):
        if not isinstance(value, Frozen) or part not in vars(value):
            return []
        value = vars(value)[part]
    return [value.name if isinstance(value, Component) else value]
