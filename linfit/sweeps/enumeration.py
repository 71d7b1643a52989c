"""The fits of a sweep, or the one fit, that `linfit run` would run: composed, validated and named, with nothing run or written."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from hydra._internal.callbacks import Callbacks

from linfit.errors import ConfigError
from linfit.sweeps.composition import set_hydra_config
from linfit.sweeps.expansion import Expansion
from linfit.sweeps.launching import expand, same_store
from linfit.sweeps.naming import leaf_keys, sections_of, single_name, varying_keys
from linfit.sweeps.overrides import parse_overrides, read_raw
from linfit.sweeps.request import (
    BASIC,
    LAUNCHER,
    Request,
    compose_sweep,
    compose_unless_sweep,
    explained,
    new_sweeper,
    open_request,
    validate_fit,
)
from linfit.sweeps.run_options import Job
from linfit.sweeps.runner import HydraTask
from linfit.tracking.accounts import name_of

#: The sweepers whose jobs are known before any of them has run; others choose the next by the results of the last.
SWEEPERS = ("hydra_plugins.linfit.sweeper.LinfitSweeper", BASIC)


@dataclass(frozen=True)
class Enumeration:
    """Jobs that have not run."""

    experiment: str
    jobs: tuple[Job, ...]
    sweep: bool
    """A sweep with children, even of one fit; otherwise single runs."""

    @property
    def varying(self) -> tuple[str, ...]:
        """The keys that the sweep varies."""
        if len(self.jobs) == 1 and not self.sweep:
            return ()
        overrides = [job.overrides for job in self.jobs]
        return leaf_keys(
            varying_keys(overrides), overrides, sections_of([job.config for job in self.jobs])
        )

    def names(self) -> Iterator[str]:
        """The names of the runs, in order."""
        if not self.sweep:
            return (single_name(self.experiment, job.config, job.overrides) for job in self.jobs)
        varying = self.varying
        return (name_of(job.config, varying, i, job.overrides) for i, job in enumerate(self.jobs))


def enumerate_jobs(arguments: Sequence[str]) -> Enumeration:
    """What `linfit run ARGUMENTS` would run, in order; ConfigError where it would refuse to."""
    with open_request(arguments) as request, explained(request):
        composed = compose_unless_sweep(request)
        if composed is None:
            return _enumerate_sweep(request)
        fit = validate_fit(request, composed)
        return Enumeration(
            request.experiment, (Job(fit.config, tuple(fit.overrides)),), sweep=False
        )


def _enumerate_sweep(request: Request) -> Enumeration:
    composed = compose_sweep(request)
    if composed.hydra.sweeper.get("_target_") not in SWEEPERS:
        choice = composed.hydra.runtime.choices["hydra/sweeper"]
        raise ConfigError(
            f"hydra/sweeper={choice} chooses its fits while it runs: only those of hydra/sweeper=linfit are known before"
        )
    with set_hydra_config(composed):
        sweeper = new_sweeper(request, composed, HydraTask(), Callbacks())
        listed = _listed(sweeper, read_raw(composed.hydra.overrides.task))
        jobs = expand(Expansion(composed, request.loader), listed)
    together = composed.hydra.launcher._target_ == LAUNCHER
    if together:
        same_store(jobs)
    return Enumeration(request.experiment, tuple(jobs), together)


def _listed(sweeper: Any, arguments: list[str]) -> list[list[str]]:
    """The overrides of each job, as the sweeper itself lists them."""
    if hasattr(sweeper, "jobs"):
        return sweeper.jobs(arguments)  # type: ignore[no-any-return]
    parsed = parse_overrides(
        [*sweeper._parse_config(), *arguments], sweeper.hydra_context.config_loader
    )
    [jobs] = sweeper.split_arguments(parsed, None)
    return jobs  # type: ignore[no-any-return]
