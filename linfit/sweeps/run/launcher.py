"""linfit's launcher: it composes and validates every fit of a sweep before it runs any."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from functools import cached_property
from pathlib import Path

from hydra.core.utils import JobReturn, JobStatus, filter_overrides, setup_globals
from hydra.types import HydraContext
from omegaconf import DictConfig, OmegaConf

from linfit.component import describe_unknown
from linfit.config import GROUPS, FitConfig
from linfit.errors import ConfigError
from linfit.override import Override
from linfit.sweeps.compose.expansion import JobComposer
from linfit.sweeps.config_files.messages import COMPOSITION_ERRORS, explain_composition
from linfit.sweeps.executors.clusters import require_cluster
from linfit.sweeps.executors.processes import IN_PROCESS, ExecutorSpec
from linfit.sweeps.run.hydra_task import HydraTask
from linfit.sweeps.run.options import Job
from linfit.tracking.schema.grid_labels import is_label

EXECUTOR_BACKENDS = ["dask", "loky", "ray"]
#: The sweeper that hands over all jobs at once.
LINFIT_SWEEPER = "hydra_plugins.linfit.sweeper.LinfitSweeper"


def launch_jobs(
    task: HydraTask,
    config: DictConfig,
    context: HydraContext,
    job_overrides: Sequence[Sequence[str]],
    first: int,
) -> list[JobReturn]:
    """Compose, validate and run all jobs; return one JobReturn each.

    A failed fit returns infinity, as a diverged one does.
    """
    setup_globals()
    expansion = JobComposer(config, context.config_loader)
    jobs = compose_jobs(expansion, job_overrides, first)
    require_one_store(jobs)
    folder = Path(str(config.hydra.sweep.dir))
    workers = read_executor(config.hydra.launcher)
    if workers.backend != IN_PROCESS.backend:
        require_cluster(workers)

    # Another sweeper may choose its next jobs by the results of these.
    more = config.hydra.sweeper._target_ != LINFIT_SWEEPER
    values = task.batches.run(jobs, expansion.experiment, folder, config, workers, more)
    return [
        FitReturn(expansion, _without_labels(overrides), number, value)
        for number, (overrides, value) in enumerate(zip(job_overrides, values, strict=True), first)
    ]


def validate_executor(workers: int, backend: str) -> None:
    """Raise ConfigError unless the workers' number and backend are valid."""
    if workers < 1:
        raise ConfigError(
            f"hydra.launcher.workers: got {workers!r}, must be an integer of at least 1: "
            "1 runs all fits in this process"
        )
    if backend not in EXECUTOR_BACKENDS:
        raise ConfigError(
            f"hydra.launcher.backend: {describe_unknown('backend', backend, EXECUTOR_BACKENDS)}"
        )


def read_executor(launcher: DictConfig) -> ExecutorSpec:
    """Return where fits run, from the launcher's config."""
    return ExecutorSpec(launcher.workers, launcher.backend, launcher.address)


def compose_jobs(
    expansion: JobComposer, job_overrides: Iterable[Sequence[str]], first: int = 0
) -> list[Job]:
    """Compose and validate jobs, numbered from `first` on.

    Raise ConfigError with the overrides of the job that is at fault.
    """
    jobs = []
    for number, overrides in enumerate(job_overrides, first):
        labels = [override for override in overrides if is_label(override)]
        composed = _without_labels(overrides)
        config = _fit_config(expansion, composed, number)
        jobs.append(Job(config, (*filter_overrides(composed), *labels)))
    return jobs


def _without_labels(overrides: Sequence[str]) -> list[str]:
    """Return the overrides that make a config; a label would have Hydra compose each job."""
    return [override for override in overrides if not is_label(override)]


def _fit_config(expansion: JobComposer, overrides: Sequence[str], number: int) -> FitConfig:
    try:
        return expansion.validate_job(overrides, number)
    except ConfigError as error:
        raise ConfigError(_name_job(str(error), overrides)) from error
    # Hydra raises all of these for a wrong override.
    except (*COMPOSITION_ERRORS, ValueError, TypeError) as error:
        text = explain_composition(error, expansion.loader, expansion.experiment)
        raise ConfigError(_name_job(text, overrides)) from error


def _name_job(text: str, overrides: Sequence[str]) -> str:
    """Return an error with the overrides of its job, and what to do where a component lacks a key.

    A grid crosses every component with every value of the key.
    """
    line = f"{text} (in {' '.join(overrides)})"
    given = {override.key: override.value for override in map(Override.read, overrides)}
    for key in given:
        group, _, below = key.partition(".")
        if group in GROUPS and group in given and f"no key {below!r}" in text:
            name = given[group]
            return (
                f"{line}: {name} has no {below}, so leave it out, or give each {group} a grid of "
                f"its own, hydra.sweeper.grids=[{{{group}:{name}}},{{{group}:…,{key}:…}}]"
            )
    return line


def require_one_store(jobs: Sequence[Job]) -> None:
    """Raise ConfigError unless the jobs share one store.

    They must share one MLflow experiment of it too. A sweep is one parent run with its children.
    """
    for key in ("name", "tracking", "pictures", "objective", "theory"):
        first = getattr(jobs[0].config, key)
        if any(getattr(job.config, key) != first for job in jobs):
            raise ConfigError(
                f"{key} cannot be swept: the fits of a sweep are children of one run; "
                f"start one sweep for each {key}"
            )


class FitReturn(JobReturn):
    """A fit's objective, as Hydra's sweepers read it.

    The configs are composed when they are read.
    """

    def __init__(
        self, expansion: JobComposer, overrides: Sequence[str], number: int, value: float
    ) -> None:
        self.overrides = list(overrides)
        self.status = JobStatus.COMPLETED
        self.return_value = value
        self._expansion = expansion
        self._number = number

    @cached_property
    def _composed(self) -> DictConfig:
        return self._expansion.compose_job(self.overrides or (), self._number)

    @property
    def cfg(self) -> DictConfig:  # type: ignore[override]
        keys = [str(key) for key in self._composed if key != "hydra"]
        return OmegaConf.masked_copy(self._composed, keys)

    @property
    def hydra_cfg(self) -> DictConfig:  # type: ignore[override]
        return OmegaConf.masked_copy(self._composed, "hydra")
