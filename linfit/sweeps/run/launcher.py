"""linfit's launcher: it composes and validates every fit of a sweep before it runs any."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from functools import cached_property
from pathlib import Path

from hydra.core.utils import JobReturn, JobStatus, filter_overrides, setup_globals
from hydra.types import HydraContext
from omegaconf import DictConfig, OmegaConf

from linfit.component import describe_unknown
from linfit.config import FitConfig
from linfit.errors import ConfigError
from linfit.sweeps.compose.expansion import JobComposer
from linfit.sweeps.config_files.messages import COMPOSITION_ERRORS, explain_composition
from linfit.sweeps.executors.clusters import require_cluster
from linfit.sweeps.executors.processes import IN_PROCESS, ExecutorSpec
from linfit.sweeps.run.hydra_task import HydraTask
from linfit.sweeps.run.options import Job

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

    name = expansion.experiment.rsplit("/", 1)[-1]
    # Another sweeper may choose its next jobs by the results of these.
    more = config.hydra.sweeper._target_ != LINFIT_SWEEPER
    values = task.batches.run(jobs, name, folder, config, workers, more)
    return [
        FitReturn(expansion, overrides, number, value)
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
        config = _fit_config(expansion, overrides, number)
        jobs.append(Job(config, tuple(filter_overrides(overrides))))
    return jobs


def _fit_config(expansion: JobComposer, overrides: Sequence[str], number: int) -> FitConfig:
    try:
        return expansion.validate_job(overrides, number)
    except ConfigError as error:
        raise ConfigError(f"{error} (in {' '.join(overrides)})") from error
    # Hydra raises all of these for a wrong override.
    except (*COMPOSITION_ERRORS, ValueError, TypeError) as error:
        text = explain_composition(error, expansion.loader, expansion.experiment)
        raise ConfigError(f"{text} (in {' '.join(overrides)})") from error


def require_one_store(jobs: Sequence[Job]) -> None:
    """Raise ConfigError unless the jobs share one store.

    They must share one MLflow experiment of it too. A sweep is one parent run with its children.
    """
    for key in ("name", "tracking", "pictures", "objective"):
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
