"""The fits of a sweep, or the one fit, that `linfit run` would run: composed, validated and named, with nothing run or written."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from hydra._internal.hydra import Hydra
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf

from linfit.errors import ConfigError
from linfit.sweeps.app import hydra_for, parse
from linfit.sweeps.composition import fit_config, split
from linfit.sweeps.expansion import Expansion
from linfit.sweeps.explanation import UNCOMPOSED, explain_composition
from linfit.sweeps.launching import expand, same_store
from linfit.sweeps.naming import single_name, varying_keys
from linfit.sweeps.runner import Job
from linfit.sweeps.ways import Ways, deferred, job_overrides, ways
from linfit.tracking.accounts import name_of

#: The sweepers whose jobs are known before any of them has run; others choose the next by the results of the last.
SWEEPERS = ("hydra_plugins.linfit.sweeper.LinfitSweeper", "hydra._internal.core_plugins.basic_sweeper.BasicSweeper")


@dataclass(frozen=True)
class Enumeration:
    """Jobs that have not run."""

    experiment: str
    jobs: tuple[Job, ...]
    sweep: bool
    """A sweep with children, even of one fit; otherwise a single run."""

    @property
    def varying(self) -> tuple[str, ...]:
        """The keys that the sweep varies."""
        return varying_keys([job.overrides for job in self.jobs]) if self.sweep else ()

    def names(self) -> Iterator[str]:
        """The names of the runs, in order."""
        if not self.sweep:
            return (single_name(self.experiment, job.config, job.overrides) for job in self.jobs)
        varying = self.varying
        return (name_of(job.config, varying, i) for i, job in enumerate(self.jobs))


def enumerate_jobs(arguments: Sequence[str]) -> Enumeration:
    """What `linfit run ARGUMENTS` would run, in order; ConfigError where it would refuse to."""
    flags = parse(arguments)
    experiment, overrides = split(flags.overrides)
    experiment = flags.config_name or experiment
    with hydra_for(flags) as hydra:
        try:
            return _enumerated(hydra, experiment, overrides, flags.multirun)
        except (*UNCOMPOSED, OSError) as error:
            raise ConfigError(explain_composition(error, hydra.config_loader, experiment)) from error


def _enumerated(hydra: Hydra, experiment: str, overrides: list[str], multirun: bool) -> Enumeration:
    config = hydra.compose_config(
        experiment, deferred(overrides), run_mode=RunMode.MULTIRUN, with_log_configuration=False, validate_sweep_overrides=False
    )
    if not multirun and config.hydra.mode != RunMode.MULTIRUN:
        alone = hydra.compose_config(experiment, [*overrides, "hydra.mode=RUN"], run_mode=RunMode.RUN, with_log_configuration=False)
        given = list(alone.hydra.overrides.task)
        return Enumeration(experiment, (Job(fit_config(alone, given, experiment), tuple(given)),), sweep=False)
    config = hydra.compose_config(
        experiment, [*deferred(overrides), "hydra.mode=MULTIRUN"], run_mode=RunMode.MULTIRUN, with_log_configuration=False
    )
    jobs = expand(
        Expansion(config, hydra.config_loader), job_overrides(_ways(config), list(config.hydra.overrides.task), hydra.config_loader)
    )
    same_store(jobs)
    return Enumeration(experiment, tuple(jobs), sweep=True)


def _ways(config: DictConfig) -> Ways:
    settings: Any = OmegaConf.to_container(config.hydra.sweeper, resolve=True)
    if settings.get("_target_") not in SWEEPERS:
        choice = config.hydra.runtime.choices["hydra/sweeper"]
        raise ConfigError(f"hydra/sweeper={choice} chooses its fits while it runs: only those of hydra/sweeper=linfit are known before")
    return ways(settings)
