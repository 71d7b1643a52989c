"""`hydra/sweeper: linfit`: grids, pairs, draws and a filter.

linfit/sweeps/search_space/sweeper.py says what they mean.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from hydra.core.config_store import ConfigStore
from hydra.core.plugins import Plugins
from hydra.core.utils import JobReturn
from hydra.plugins.launcher import Launcher
from hydra.plugins.sweeper import Sweeper
from hydra.types import HydraContext, TaskFunction
from omegaconf import DictConfig, OmegaConf


@dataclass
class LinfitSweeperConf:
    """Config of the sweeper."""

    _target_: str = "hydra_plugins.linfit.sweeper.LinfitSweeper"
    max_batch_size: int | None = None
    params: dict[str, Any] | None = field(default_factory=dict)
    pairs: list[Any] | None = field(default_factory=list)
    grids: list[Any] | None = field(default_factory=list)
    sample: int | None = None
    seed: int = 0
    filter: str | None = None
    label: list[str] | None = None  # set in each job of a labelled grid


ConfigStore.instance().store(
    group="hydra/sweeper", name="linfit", node=LinfitSweeperConf, provider="linfit"
)


class LinfitSweeper(Sweeper):
    """Pass all jobs at once to linfit's launcher, which validates them before the first runs.

    Other launchers get batches, as from Hydra's basic sweeper.
    """

    def __init__(self, max_batch_size: int | None = None, **ways: Any) -> None:
        self.max_batch_size = max_batch_size  # the other settings are read from the config
        self.hydra_context: HydraContext | None = None
        self.config: DictConfig | None = None
        self.launcher: Launcher | None = None

    def setup(
        self, *, hydra_context: HydraContext, task_function: TaskFunction, config: DictConfig
    ) -> None:
        self.hydra_context = hydra_context
        self.config = config
        self.task_function = task_function
        self.launcher = Plugins.instance().instantiate_launcher(
            hydra_context=hydra_context, task_function=task_function, config=config
        )

    def jobs(self, arguments: list[str]) -> list[list[str]]:
        """Return the overrides of each job; `linfit plan` uses them without a sweep."""
        from linfit.sweeps.search_space.sweeper import generate_jobs, validate_sweep_spec

        assert self.config is not None
        assert self.hydra_context is not None
        loader = self.hydra_context.config_loader
        return list(
            generate_jobs(validate_sweep_spec(self.config.hydra.sweeper), arguments, loader)
        )

    def sweep(self, arguments: list[str]) -> Any:
        from linfit.sweeps.compose.request import LINFIT_LAUNCHER
        from linfit.sweeps.run.hydra_task import HydraTask

        assert self.config is not None
        assert self.launcher is not None
        jobs = self.jobs(arguments)
        # Compared by name: Hydra's discovery executes a plug-in's module without importing it, so
        # that its classes exist twice.
        if (
            isinstance(self.task_function, HydraTask)
            and self.config.hydra.launcher._target_ == LINFIT_LAUNCHER
        ):
            return [self.launcher.launch(jobs, initial_job_idx=0)]
        return self._batches(self.config, self.launcher, jobs)

    def _batches(
        self, config: DictConfig, launcher: Launcher, jobs: list[list[str]]
    ) -> list[Sequence[JobReturn]]:
        folder = Path(config.hydra.sweep.dir)
        folder.mkdir(parents=True, exist_ok=True)
        OmegaConf.save(config, folder / "multirun.yaml")
        size = self.max_batch_size or len(jobs)
        returns: list[Sequence[JobReturn]] = []
        for first in range(0, len(jobs), size):
            batch = jobs[first : first + size]
            self.validate_batch_is_legal(batch)
            returns.append(launcher.launch(batch, initial_job_idx=first))
            for job in returns[-1]:
                _ = job.return_value  # raises what the job raised
        return returns
