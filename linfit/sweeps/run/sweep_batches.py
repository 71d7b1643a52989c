"""The batches of a sweep: jobs that a sweeper hands over, run as children of one parent run."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from omegaconf import DictConfig

from linfit.config import FitConfig
from linfit.sweeps.executors.processes import IN_PROCESS, ExecutorSpec
from linfit.sweeps.folder.sweep_folder import SweepInfo
from linfit.sweeps.preflight.checks import (
    drop_unstable,
    resolve_configs,
    select_unfinished,
    warn_of_unstable,
)
from linfit.sweeps.run.begin import plan_sweep, start_sweep
from linfit.sweeps.run.block_pipeline import milliseconds_now
from linfit.sweeps.run.options import Job, RunOptions
from linfit.sweeps.run.result import RunResult
from linfit.sweeps.run.session import RunSession
from linfit.sweeps.run.sweep_run import PendingFit, SweepRun
from linfit.sweeps.search_space.run_names import (
    create_section_reader,
    expand_varying_sections,
    find_varying_keys,
)
from linfit.tracking.schema.config_record import record_config
from linfit.tracking.tables.manifest import PlannedFits, extend_manifest


class SweepBatches:
    """Batches of jobs; the first that runs anything starts the sweep."""

    def __init__(self, options: RunOptions, session: RunSession) -> None:
        self.options = options
        self.session = session
        self.jobs: list[Job] = []
        self.sweep: SweepRun | None = None

    def run(
        self,
        jobs: Sequence[Job],
        name: str,
        folder: Path,
        settings: DictConfig,
        workers: ExecutorSpec = IN_PROCESS,
        more: bool = True,
    ) -> list[float]:
        """Run the next batch's jobs; return their objectives in order.

        The objective of a fit that diverged or failed is infinity. `more` tells that further
        batches may follow.
        """
        configs = resolve_configs([job.config for job in jobs], several=True)
        values = [float("inf")] * len(jobs)
        places = self._choose_places(configs, values)
        if not places:
            return values

        first = len(self.jobs)
        self.jobs += [jobs[place] for place in places]
        overrides = [job.overrides for job in self.jobs]
        all_configs = [job.config for job in self.jobs]
        varying = expand_varying_sections(
            find_varying_keys(overrides, more), overrides, create_section_reader(all_configs)
        )
        fits = _plan_fits([configs[place] for place in places], varying, overrides[first:])
        if self.sweep is None:
            question = self.options.question
            typed = self.options.typed
            info = SweepInfo.create(name, varying, workers, milliseconds_now(), question, typed)
            self.sweep = self._start(fits, info, folder, settings, more)
        else:
            extend_manifest(folder, fits, varying)
            self.sweep.extend(varying, fits.records, fits.configs)
            self._note_folder(folder)

        pending = _number_fits(fits, first)
        del fits  # each record is freed with its fit
        observer = self.session.observer
        observer.begin(len(self.jobs), sum(config.steps for config in all_configs))
        self.sweep.run(pending, workers, observer)
        for row, place in enumerate(places, first):
            values[place] = self.sweep.completed[row].result["objective"]
        return values

    def _choose_places(self, configs: Sequence[FitConfig], values: list[float]) -> list[int]:
        """Return the places of the configs to run; fill in the objectives of finished fits."""
        places = list(range(len(configs)))
        if self.options.skip_done:
            places = select_unfinished(configs, values)
        if self.options.skip_unstable and places:
            return drop_unstable(configs, places, bool(self.jobs))
        warn_of_unstable([configs[place] for place in places])
        return places

    def _start(
        self, fits: PlannedFits, info: SweepInfo, folder: Path, settings: DictConfig, more: bool
    ) -> SweepRun:
        claimed = plan_sweep(fits, info, folder, settings)
        # Not before: until the plan is written the folder may be another sweep's.
        self._note_folder(folder)
        sweep = start_sweep(fits, info, claimed, more)
        self.session.active = sweep
        return sweep

    def finish(self) -> RunResult:
        """End the sweep; its last batch has run."""
        return replace(self.session.finish_sweep(), jobs=tuple(self.jobs))

    def _note_folder(self, folder: Path) -> None:
        needs_trust = any(job.config.plugins for job in self.jobs)
        self.session.note_folder(folder, self.jobs[0].config, needs_trust)


def _plan_fits(
    configs: Sequence[FitConfig], varying: Sequence[str], overrides: Sequence[Sequence[str]]
) -> PlannedFits:
    records = []
    for config, given in zip(configs, overrides, strict=True):
        records.append(record_config(config, varying, given))
    return PlannedFits(configs, records, overrides)


def _number_fits(fits: PlannedFits, first: int) -> dict[int, PendingFit]:
    """Return the fits by number; their rows begin at `first`."""
    pending = {}
    for number, (config, record) in enumerate(zip(fits.configs, fits.records, strict=True)):
        row = first + number
        pending[number] = PendingFit(row, record.name_at(row), config, record)
    return pending
