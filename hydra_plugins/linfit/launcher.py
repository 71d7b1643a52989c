"""`hydra/launcher: linfit`: run the fits of a sweep as children of one run."""

from collections.abc import Sequence
from dataclasses import dataclass

from hydra._internal.core_plugins.basic_launcher import BasicLauncher
from hydra.core.config_store import ConfigStore
from hydra.core.utils import JobReturn
from hydra.types import HydraContext, TaskFunction
from omegaconf import DictConfig


@dataclass
class LinfitLauncherConf:
    """Config of the launcher. `workers` is the number of processes."""

    _target_: str = "hydra_plugins.linfit.launcher.LinfitLauncher"
    workers: int = 1
    backend: str = "loky"
    address: str | None = None


ConfigStore.instance().store(
    group="hydra/launcher", name="linfit", node=LinfitLauncherConf, provider="linfit"
)


class LinfitLauncher(BasicLauncher):
    """Launch linfit's own task; leave any other task function to Hydra's basic launcher."""

    def __init__(self, workers: int = 1, backend: str = "loky", address: str | None = None) -> None:
        super().__init__()
        self.workers = workers
        self.backend = backend

    def setup(
        self, *, hydra_context: HydraContext, task_function: TaskFunction, config: DictConfig
    ) -> None:
        from linfit.sweeps.run.launcher import validate_executor

        validate_executor(self.workers, self.backend)
        super().setup(hydra_context=hydra_context, task_function=task_function, config=config)

    def launch(
        self, job_overrides: Sequence[Sequence[str]], initial_job_idx: int
    ) -> Sequence[JobReturn]:
        from linfit.sweeps.run.hydra_task import HydraTask
        from linfit.sweeps.run.launcher import launch_jobs

        if not isinstance(self.task_function, HydraTask):
            return super().launch(job_overrides, initial_job_idx)
        assert self.config is not None
        assert self.hydra_context is not None
        return launch_jobs(
            self.task_function, self.config, self.hydra_context, job_overrides, initial_job_idx
        )
