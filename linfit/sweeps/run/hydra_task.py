"""Hydra's task function of linfit, which a launcher calls for each job."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

from hydra.conf import HydraConf
from hydra.core.global_hydra import GlobalHydra
from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig

from linfit.sweeps.compose.compose import validate_composed
from linfit.sweeps.compose.origin import Origin
from linfit.sweeps.executors.processes import use_start_folder
from linfit.sweeps.folder.sweep_folder import require_unused
from linfit.sweeps.preflight.checks import select_unfinished
from linfit.sweeps.run.block_pipeline import CompletedFit
from linfit.sweeps.run.options import RunOptions
from linfit.sweeps.run.result import RunResult
from linfit.sweeps.run.result_directory import ResultDirectory
from linfit.sweeps.run.session import RunSession
from linfit.sweeps.run.sweep_batches import SweepBatches
from linfit.sweeps.search_space.run_names import name_single_run
from linfit.tracking.write.caller_run import use_caller_run


class HydraTask:
    """Task function that runs each job as a single run.

    linfit's own launcher does not call it, and hands its `batches` all jobs at once.

    Other launchers may pickle it. The copy has the options, and a directory for its results: in
    the copy's process nobody watches, and no store is open.
    """

    def __init__(
        self, options: RunOptions | None = None, session: RunSession | None = None
    ) -> None:
        self.options = options or RunOptions()
        self.session = session or RunSession()
        self.batches = SweepBatches(self.options, self.session)
        self._results: list[RunResult] = []
        self._directory: ResultDirectory | None = None
        self._is_copy = False

    def __getstate__(self) -> dict[str, Any]:
        self._directory = self._directory or ResultDirectory()
        return {"options": self.options, "directory": self._directory}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__init__(state["options"])  # type: ignore[misc]
        self._directory = state["directory"]
        self._is_copy = True

    def __call__(self, composed: DictConfig) -> float:
        """Run a job and return its objective, infinity if the fit diverged or failed."""
        hydra = HydraConfig.get()
        with use_start_folder(hydra.runtime.cwd), use_caller_run(self.options.caller):
            return self._run_job(composed, hydra)

    def _run_job(self, composed: DictConfig, hydra: HydraConf) -> float:
        origin = Origin.from_hydra(hydra, GlobalHydra.instance().config_loader())
        config = validate_composed(composed, origin).resolved()
        values = [0.0]
        if self.options.skip_done and not select_unfinished([config], values):
            return values[0]

        # Below the working folder: Hydra has made it where this process has started.
        folder = Path(str(hydra.sweep.dir), str(hydra.sweep.subdir)).absolute()
        require_unused(folder, "hydra.sweep.subdir")
        folder.mkdir(parents=True, exist_ok=True)
        name = name_single_run(origin.experiment, config, origin.overrides)
        self.session.start_single(config, name, self.options)
        job = int(hydra.job.num)
        result = self.session.run_single(folder, job)
        self._keep(result, job)
        assert result.fit is not None
        return result.fit.objective

    def _keep(self, result: RunResult, job: int) -> None:
        if not self._is_copy:
            self._results.append(result)
            return
        assert self._directory is not None
        self._directory.write_result(job, result.completed[0], result.where)

    def finish(self) -> RunResult:
        """End what the jobs have begun, and return all their results."""
        self.session.observer.end()
        if self.batches.sweep is not None:
            return self.batches.finish()
        result = RunResult()
        done: list[CompletedFit] = []
        for one in self._results:
            done += one.completed
            result = one
        for other, where in self._collect():
            done.append(other)
            result = replace(result, where=where)
        return replace(
            result,
            completed=tuple(done),
            question=self.options.question,
            typed=self.options.typed,
        )

    def kill(self) -> None:
        """End the run as KILLED.

        Results of other processes are dropped.
        """
        self._collect()
        self.session.kill()

    def _collect(self) -> list[tuple[CompletedFit, str]]:
        directory = self._directory
        self._directory = None
        if directory is None:
            return []
        return directory.collect_results()
