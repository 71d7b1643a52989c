"""What linfit's sweeper and launcher do: compose and validate every fit of a sweep, then run them, before anything is written."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from functools import cached_property
from pathlib import Path

from hydra.core.utils import JobReturn, JobStatus, filter_overrides, setup_globals
from hydra.types import HydraContext
from omegaconf import DictConfig, OmegaConf

from linfit.component import unknown
from linfit.config import FitConfig
from linfit.errors import ConfigError
from linfit.sweeps.clusters import require_cluster
from linfit.sweeps.expansion import Expansion
from linfit.sweeps.explanation import UNCOMPOSED, explain_composition
from linfit.sweeps.runner import Job, Runner
from linfit.sweeps.workers import HERE, Workers

BACKENDS = ["dask", "loky", "ray"]
#: The sweeper that hands over all jobs at once.
SWEEPER = "hydra_plugins.linfit.sweeper.LinfitSweeper"


def launch(
    runner: Runner,
    config: DictConfig,
    context: HydraContext,
    job_overrides: Sequence[Sequence[str]],
    first: int,
) -> list[JobReturn]:
    """Composes and validates all jobs, runs them, and returns one JobReturn each; a failed fit returns infinity, as a diverged one."""
    setup_globals()
    expansion = Expansion(config, context.config_loader)
    jobs = expand(expansion, job_overrides, first)
    same_store(jobs)
    folder = Path(str(config.hydra.sweep.dir))
    workers = workers_of(config.hydra.launcher)
    if workers.backend != HERE.backend:
        require_cluster(workers)
    more = config.hydra.sweeper._target_ != SWEEPER  # another may go by how these come out
    values = runner.batch(
        jobs, expansion.experiment.rsplit("/", 1)[-1], folder, config, workers, more
    )
    return [
        FitReturn(expansion, overrides, first + i, value)
        for i, (overrides, value) in enumerate(zip(job_overrides, values, strict=True))
    ]


def check_workers(workers: int, backend: str) -> None:
    """Raises ConfigError unless there is at least one worker, of a kind that there is."""
    if workers < 1:
        raise ConfigError(
            f"hydra.launcher.workers: got {workers!r}, must be an integer of at least 1: 1 runs all fits in this process"
        )
    if backend not in BACKENDS:
        raise ConfigError(f"hydra.launcher.backend: {unknown('backend', backend, BACKENDS)}")


def workers_of(launcher: DictConfig) -> Workers:
    """Where the launcher's config says that fits run."""
    return Workers(launcher.workers, launcher.backend, launcher.address)


def expand(
    expansion: Expansion, job_overrides: Iterable[Sequence[str]], first: int = 0
) -> list[Job]:
    """The jobs, composed and validated; ConfigError with the overrides at fault if one cannot be."""
    numbered = enumerate(job_overrides, first)
    return [
        Job(_fit_config(expansion, overrides, number), tuple(filter_overrides(overrides)))
        for number, overrides in numbered
    ]


def _fit_config(expansion: Expansion, overrides: Sequence[str], number: int) -> FitConfig:
    try:
        return expansion.fit_config(overrides, number)
    except ConfigError as error:
        raise ConfigError(f"{error} (in {' '.join(overrides)})") from error
    except (
        *UNCOMPOSED,
        ValueError,
        TypeError,
    ) as error:  # Hydra raises all of them for a wrong override
        text = explain_composition(error, expansion.loader, expansion.experiment)
        raise ConfigError(f"{text} (in {' '.join(overrides)})") from error


def same_store(jobs: Sequence[Job]) -> None:
    """A sweep is one parent with its children: they stand in one MLflow experiment of one store."""
    for key in ("name", "tracking", "pictures", "objective"):
        if any(getattr(job.config, key) != getattr(jobs[0].config, key) for job in jobs):
            raise ConfigError(
                f"{key} cannot be swept: the fits of a sweep are children of one run; start one sweep for each {key}"
            )


class FitReturn(JobReturn):
    """What Hydra's sweepers get for a fit: its objective, infinity where it diverged or failed. Its configs are composed when they are read."""

    def __init__(
        self, expansion: Expansion, overrides: Sequence[str], number: int, value: float
    ) -> None:
        self.overrides, self.status, self.return_value = list(overrides), JobStatus.COMPLETED, value
        self._expansion, self._number = expansion, number

    @cached_property
    def _composed(self) -> DictConfig:
        return self._expansion.composed(self.overrides or (), self._number)

    @property
    def cfg(self) -> DictConfig:  # type: ignore[override]
        return OmegaConf.masked_copy(
            self._composed, [str(key) for key in self._composed if key != "hydra"]
        )

    @property
    def hydra_cfg(self) -> DictConfig:  # type: ignore[override]
        return OmegaConf.masked_copy(self._composed, "hydra")
