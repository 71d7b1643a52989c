"""Plan of a run: how many fits, in which stacks, in how much memory and time, how stable.

The code of a run loads the data and initial weights and cuts them into blocks. No fit runs to its
end, and nothing is written. To estimate the time, a few steps of a sample are run.

n samples, p features, q targets.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Hashable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from linfit.component import Component, Frozen
from linfit.config import FitConfig
from linfit.engine.fit import Fit
from linfit.engine.prediction.predict import bound_stable_lr
from linfit.engine.stacked.blocks import (
    Task,
    cut_into_blocks,
    estimate_block_bytes,
    identify_stack,
)
from linfit.engine.timing import Cost, measure_cost
from linfit.errors import ConfigError
from linfit.settings import SingleEngine
from linfit.sweeps.compose.arguments import parse_flags
from linfit.sweeps.plan.enumerate import Enumeration, enumerate_jobs
from linfit.sweeps.plan.predictions import Forecast, Forecasts
from linfit.sweeps.preflight.checks import NONE_STABLE, refuse_unstable, resolve_configs
from linfit.sweeps.preflight.stability import StabilityLimits, find_unstable, to_stacked

#: Flags of `linfit run` that do something else than run.
OTHER_MODES = ("help", "hydra_help", "cfg", "info", "shell_completion", "experimental_rerun")


@dataclass(frozen=True)
class PlannedStack:
    """Fits of one tensor program, or of the engine `single`.

    The engine `single` runs its fits one by one.
    """

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
    """Number of fits of each optimizer."""
    blocks: int
    memory: int
    """Approximate bytes of the largest block."""
    seconds: float | None
    """Approximate time of fitting here; None if it cannot be measured."""
    why: str | None = None
    """Reason for the engine `single`."""


@dataclass(frozen=True)
class UnstableFit:
    """A fit whose learning rate is above the largest stable one."""

    row: int
    name: str
    optimizer: str
    lr: float
    largest_stable_lr: float


@dataclass(frozen=True)
class PlannedOptima:
    """The exact optima of a run, each of one problem, fold and penalty."""

    number: int
    seconds: float
    """Time that finding them took here."""
    memory: int
    """Approximate bytes that one takes while it is found."""


@dataclass(frozen=True)
class Plan:
    """Everything that would run."""

    experiment: str
    sweep: bool
    num_fits: int
    varying: dict[str, list[Any]]
    """The values of each key that the sweep varies, in order."""
    stacks: list[PlannedStack]
    unstable: list[UnstableFit]
    doubtful: list[UnstableFit]
    """Fits that may diverge: above the learning rate that is stable for any draw of batches, or
    from any start where the loss is not quadratic."""
    no_bound_known: dict[str, int]
    """Number of fits by optimizers that state no largest stable learning rate."""
    failing: dict[str, str]
    """Reasons why fits, by name, cannot start."""
    theory: list[Forecast]
    notes: dict[str, int]
    """Notes on the data, with the number of fits that they concern."""
    left_out: list[UnstableFit]
    """Fits dropped by --skip-unstable, which are not counted above."""
    optima: PlannedOptima
    """The exact optima that the fits are measured against."""

    @property
    def seconds(self) -> float | None:
        """Approximate time of fitting; None if a stack's is unknown."""
        known = [stack.seconds for stack in self.stacks if stack.seconds is not None]
        if len(known) < len(self.stacks):
            return None
        return sum(known)

    @property
    def memory(self) -> int:
        """Approximate bytes of the largest block.

        Blocks run one after the other.
        """
        return max((stack.memory for stack in self.stacks), default=0)


@dataclass
class StackBuilder:
    """A stack while its blocks are collected."""

    why: str | None
    config: FitConfig
    shape: tuple[int, int, int]
    cost: Cost | None
    optimizers: Counter[str] = field(default_factory=Counter)
    blocks: int = 0
    memory: int = 0
    num_steps: int = 0

    def add_block(self, block: Sequence[Task], unstable: Mapping[int, object]) -> None:
        """Count a block's fits, memory and steps; unstable fits end early."""
        self.optimizers.update(task.config.optimizer.name for task in block)
        together = 1 if self.why else len(block)
        self.memory = max(self.memory, estimate_block_bytes(block, together))
        self.blocks += 1
        self.num_steps += sum(task.config.steps for task in block if task.index not in unstable)

    def build_stack(self) -> PlannedStack:
        """Return the complete stack."""
        config = self.config
        num_fits = self.optimizers.total()
        seconds = None
        if self.cost is not None:
            seconds = self.cost.estimate_seconds(num_fits, self.num_steps)
        return PlannedStack(
            engine="single" if self.why else "stacked",
            shape=self.shape,
            model=config.model.name,
            loss=config.loss.name,
            gradient=config.gradient.name,
            dtype=config.dtype,
            device=config.device.name,
            threads=config.threads,
            num_fits=num_fits,
            optimizers=dict(self.optimizers),
            blocks=num_fits if self.why else self.blocks,
            memory=self.memory,
            seconds=seconds,
            why=self.why,
        )


def plan_run(arguments: Sequence[str], skip_unstable: bool = False) -> Plan:
    """Return the plan of `linfit run ARGUMENTS`.

    Raise ConfigError as that command would.
    """
    flags = parse_flags(arguments)
    if other := [flag for flag in OTHER_MODES if getattr(flags, flag)]:
        raise ConfigError(
            f"--{other[0].replace('_', '-')} goes with `linfit run`: "
            f"plan takes an experiment, overrides and -m"
        )
    enumeration = enumerate_jobs(arguments)
    if skip_unstable:
        return plan_jobs(*_without_unstable(enumeration))
    return plan_jobs(enumeration)


def _without_unstable(enumeration: Enumeration) -> tuple[Enumeration, list[UnstableFit]]:
    """Return the jobs that --skip-unstable runs, and the fits that it leaves out.

    ConfigError if no jobs are left.
    """
    configs = resolve_configs([job.config for job in enumeration.jobs], enumeration.sweep)
    if not enumeration.sweep:
        for config in configs:
            refuse_unstable(config)
    above = find_unstable(configs)
    if len(above) == len(configs):
        raise ConfigError(NONE_STABLE.format(len(configs)))
    left_out = _describe(above, list(enumeration.name_runs()), configs)
    kept = tuple(job for index, job in enumerate(enumeration.jobs) if index not in above)
    return replace(enumeration, jobs=kept), left_out


def plan_jobs(enumeration: Enumeration, left_out: Sequence[UnstableFit] = ()) -> Plan:
    """Return the plan of jobs that have not run."""
    configs = [job.config for job in enumeration.jobs]
    names = list(enumeration.name_runs())
    limits = StabilityLimits()
    stacks: dict[Hashable, StackBuilder] = {}
    exceeded: dict[int, tuple[float, float]] = {}
    doubtful: dict[int, tuple[float, float]] = {}
    forecasts = Forecasts()
    failing: dict[str, str] = {}
    unknown: Counter[str] = Counter()
    for why, block in _blocks(configs, resolve_configs(configs, enumeration.sweep)):
        if isinstance(block, tuple):
            index, fit = block
            failing[names[index]] = (fit.error or "").strip().splitlines()[-1]
            continue
        forecasts.find_optima(block)
        above = limits.find_above(block)
        exceeded.update(above)
        doubtful.update(limits.find_doubtful(block))
        forecasts.add_block(block)
        for task in block:
            if limits.has_bound(task):
                continue
            bound = bound_stable_lr(task.config, task.optimum, task.data.rounded)
            lr = vars(task.config.optimizer).get("lr")
            if bound is None:
                unknown[task.config.optimizer.name] += 1
            elif lr is not None and lr > bound:
                doubtful[task.index] = (float(lr), bound)
        first = block[0]
        key = (why, identify_stack(first))
        if key not in stacks:
            cost = measure_cost(block, why is not None)
            stacks[key] = StackBuilder(why, first.config, first.data.rounded.shape, cost)
        stacks[key].add_block(block, above)

    return Plan(
        experiment=enumeration.experiment,
        sweep=enumeration.sweep,
        num_fits=len(configs),
        varying={key: _values(configs, key) for key in enumeration.varying},
        stacks=[gathering.build_stack() for gathering in stacks.values()],
        unstable=_describe(exceeded, names, configs),
        doubtful=_describe(doubtful, names, configs),
        no_bound_known=dict(unknown),
        failing=failing,
        theory=forecasts.list_forecasts(),
        notes=dict(forecasts.notes),
        left_out=list(left_out),
        optima=PlannedOptima(forecasts.num_optima, forecasts.seconds, forecasts.memory),
    )


def _describe(
    found: Mapping[int, tuple[float, float]], names: Sequence[str], configs: Sequence[FitConfig]
) -> list[UnstableFit]:
    """Return the fits at these indices, in order, with learning rate and bound."""
    fits = []
    for index, both in sorted(found.items()):
        optimizer = configs[index].optimizer.name
        fits.append(UnstableFit(index, names[index], optimizer, *both))
    return fits


def _blocks(
    asked: Sequence[FitConfig], configs: Sequence[FitConfig]
) -> Iterator[tuple[str | None, list[Task] | tuple[int, Fit]]]:
    """Yield blocks with the indices of their fits among all.

    Each comes with the reason why its fits run in the engine `single`, or None.
    """
    reasons: dict[str | None, list[int]] = {}
    for index, config in enumerate(configs):
        why = _explain_single(asked[index]) if config.engine.name == "single" else None
        reasons.setdefault(why, []).append(index)
    for why, indices in reasons.items():
        for block in cut_into_blocks([to_stacked(configs[index]) for index in indices]):
            if isinstance(block, tuple):
                yield why, (indices[block[0]], block[1])
                continue
            for task in block:
                task.index = indices[task.index]
            yield why, block


def _explain_single(asked: FitConfig) -> str:
    if missing := asked.unstackable():
        parts = (f"{group} {getattr(asked, group).name}" for group in missing)
        return f"no stacked rule for {', '.join(parts)}"
    if isinstance(asked.engine, SingleEngine):
        return "engine=single"
    return "a fit alone"


def _values(configs: Sequence[FitConfig], key: str) -> list[Any]:
    """Return the different values of a key among the configs, in order.

    A component is given by its name. Configs whose component lacks the key are skipped.
    """
    values: dict[str, Any] = {}
    for config in configs:
        value: Any = config
        for part in key.split("."):
            known = vars(value) if isinstance(value, Frozen) else {}
            if part not in known:
                break
            value = known[part]
        else:
            if isinstance(value, Component):
                value = value.name
            values[repr(value)] = value
    return list(values.values())
