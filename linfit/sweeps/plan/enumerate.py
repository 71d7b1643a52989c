"""The fits that `linfit run` would run, composed, validated and named, but not run."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from hydra._internal.callbacks import Callbacks

from linfit.errors import ConfigError
from linfit.sweeps.compose.compose import set_hydra_config
from linfit.sweeps.compose.expansion import JobComposer
from linfit.sweeps.compose.request import (
    BASIC_SWEEPER,
    LINFIT_LAUNCHER,
    RunRequest,
    compose_sweep,
    compose_unless_sweep,
    create_sweeper,
    explain_errors,
    open_request,
    validate_fit,
)
from linfit.sweeps.config_files.overrides import parse_overrides, read_raw_overrides
from linfit.sweeps.run.hydra_task import HydraTask
from linfit.sweeps.run.launcher import compose_jobs, require_one_store
from linfit.sweeps.run.options import Job
from linfit.sweeps.search_space.run_names import (
    create_section_reader,
    expand_varying_sections,
    find_varying_keys,
    name_single_run,
)
from linfit.tracking.schema.config_record import name_fit

#: Sweepers whose jobs are known in advance; others choose jobs by the results of earlier ones.
ENUMERABLE_SWEEPERS = ("hydra_plugins.linfit.sweeper.LinfitSweeper", BASIC_SWEEPER)


@dataclass(frozen=True)
class Enumeration:
    """Jobs that have not run."""

    experiment: str
    jobs: tuple[Job, ...]
    sweep: bool
    """True if the fits are children of a sweep's run, even a single one."""

    @property
    def varying(self) -> tuple[str, ...]:
        """The keys that the sweep varies."""
        if len(self.jobs) == 1 and not self.sweep:
            return ()
        overrides = [job.overrides for job in self.jobs]
        values_of = create_section_reader([job.config for job in self.jobs])
        return expand_varying_sections(find_varying_keys(overrides), overrides, values_of)

    def name_runs(self) -> Iterator[str]:
        """Yield the names of the runs, in order."""
        varying = self.varying
        for index, job in enumerate(self.jobs):
            if self.sweep:
                yield name_fit(job.config, varying, index, job.overrides)
            else:
                yield name_single_run(self.experiment, job.config, job.overrides)


def enumerate_jobs(arguments: Sequence[str]) -> Enumeration:
    """Return the jobs of `linfit run ARGUMENTS`, in order.

    Raise ConfigError as that command would.
    """
    with open_request(arguments) as request, explain_errors(request):
        composed = compose_unless_sweep(request)
        if composed is None:
            return _enumerate_sweep(request)
        fit = validate_fit(request, composed)
        job = Job(fit.config, tuple(fit.overrides))
        return Enumeration(request.experiment, (job,), sweep=False)


def _enumerate_sweep(request: RunRequest) -> Enumeration:
    composed = compose_sweep(request)
    if composed.hydra.sweeper.get("_target_") not in ENUMERABLE_SWEEPERS:
        choice = composed.hydra.runtime.choices["hydra/sweeper"]
        raise ConfigError(
            f"hydra/sweeper={choice} chooses its fits while it runs: "
            f"only those of hydra/sweeper=linfit are known before"
        )
    with set_hydra_config(composed):
        sweeper = create_sweeper(request, composed, HydraTask(), Callbacks())
        listed = _list_overrides(sweeper, read_raw_overrides(composed.hydra.overrides.task))
        jobs = compose_jobs(JobComposer(composed, request.loader), listed)
    together = composed.hydra.launcher._target_ == LINFIT_LAUNCHER
    if together:
        require_one_store(jobs)
    return Enumeration(request.experiment, tuple(jobs), together)


def _list_overrides(sweeper: Any, arguments: list[str]) -> list[list[str]]:
    """Return the overrides of each job, as the sweeper lists them."""
    jobs: list[list[str]]
    if hasattr(sweeper, "jobs"):
        jobs = sweeper.jobs(arguments)
    else:
        loader = sweeper.hydra_context.config_loader
        parsed = parse_overrides([*sweeper._parse_config(), *arguments], loader)
        [jobs] = sweeper.split_arguments(parsed, None)
    return jobs
