"""`hydra/sweeper: linfit`: the grid of all values given, handed to the launcher as one batch."""

from dataclasses import dataclass, field
from typing import Any

from hydra._internal.core_plugins.basic_sweeper import BasicSweeper
from hydra.core.config_store import ConfigStore
from hydra.types import HydraContext, TaskFunction
from omegaconf import DictConfig

#: By name: Hydra's discovery executes a plugin's module without importing it, so that its classes exist twice.
LAUNCHER = "hydra_plugins.linfit.launcher.LinfitLauncher"


@dataclass
class LinfitSweeperConf:
    _target_: str = "hydra_plugins.linfit.sweeper.LinfitSweeper"
    max_batch_size: int | None = None
    params: dict[str, str] | None = field(default_factory=dict)


ConfigStore.instance().store(group="hydra/sweeper", name="linfit", node=LinfitSweeperConf, provider="linfit")


class LinfitSweeper(BasicSweeper):
    """Hydra's basic sweeper, except that linfit's launcher, which validates every job itself, gets the jobs at once."""

    def setup(self, *, hydra_context: HydraContext, task_function: TaskFunction, config: DictConfig) -> None:
        super().setup(hydra_context=hydra_context, task_function=task_function, config=config)
        self.task_function = task_function

    def sweep(self, arguments: list[str]) -> Any:
        from linfit.sweeps.launching import enumerate_jobs
        from linfit.sweeps.runner import Runner

        assert self.config is not None and self.hydra_context is not None and self.launcher is not None
        if not isinstance(self.task_function, Runner) or self.config.hydra.launcher._target_ != LAUNCHER:
            return super().sweep(arguments)
        return [self.launcher.launch(enumerate_jobs(dict(self.params), arguments, self.hydra_context), initial_job_idx=0)]
