"""The one runner: executes fits and sweeps of them, and hands every fit to the recorder as soon as it is done."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from hydra.conf import HydraConf
from hydra.core.global_hydra import GlobalHydra
from hydra.core.hydra_config import HydraConfig
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf

from linfit.config import FitConfig
from linfit.engine.fit import Fit
from linfit.sweeps.beginning import begin_sweep, plan_sweep
from linfit.sweeps.composition import fit_config
from linfit.sweeps.explanation import notice
from linfit.sweeps.folder import About, command, require_unused
from linfit.sweeps.letterbox import Letterbox
from linfit.sweeps.naming import leaf_keys, sections_of, single_name, varying_keys
from linfit.sweeps.origin import Origin
from linfit.sweeps.readiness import announce_unstable, missing, ready, refuse_unstable, stable
from linfit.sweeps.recording import Done, Sweep, now
from linfit.sweeps.remarks import Remarks
from linfit.sweeps.running import run_all
from linfit.sweeps.single import Single
from linfit.sweeps.workers import HERE, Workers, started_in
from linfit.tracking import layout, notes, run_records
from linfit.tracking.access import options_for
from linfit.tracking.accounts import Account, account
from linfit.tracking.callers import below, caller_run
from linfit.tracking.manifest import PlannedFits, extend_manifest
from linfit.tracking.recorder import Recorder
from linfit.tracking.tables import result


@dataclass(frozen=True)
class Job:
    """One fit of a sweep, before it ran: its config, and the overrides that made it."""

    config: FitConfig
    overrides: tuple[str, ...]


class Observer(Protocol):
    """Somebody who watches a fit or a sweep go by."""

    def begin(self, total: int, steps: int) -> None: ...
    def passed(self, made: int, spared: int) -> None: ...
    def advance(self, done: Sequence[Done]) -> None: ...
    def end(self) -> None: ...


class Silent:
    """An observer that shows nothing."""

    def begin(self, total: int, steps: int) -> None:
        return None

    def passed(self, made: int, spared: int) -> None:
        return None

    def advance(self, done: Sequence[Done]) -> None:
        return None

    def end(self) -> None:
        return None


@dataclass(frozen=True)
class Recorded:
    """A single run or a sweep whose last number is recorded: what may still be attached to it goes through `recorder`."""

    recorder: Recorder
    run_id: str
    row: run_records.Row
    folder: Path
    config: FitConfig
    """Of a sweep its first fit's."""


def _accounts(
    configs: Sequence[FitConfig], varying: Sequence[str], overrides: Sequence[Sequence[str]]
) -> list[Account]:
    return [
        account(config, varying, given) for config, given in zip(configs, overrides, strict=True)
    ]


def _tell_nobody(_: str) -> None:
    return None


class Runner:
    """Hydra's task function: called once with the composed config of a single run, or given the batches of a sweep.

    Afterwards `fit` is the fit of a single run, and `done` what was run, in order; `sweep_id` is the parent's id; `recorded` is
    the run that was recorded last. `remarks` is what was said of the data. `folder` is a sweep's that has begun and not ended. `question` is what the experiment's file
    asks, `typed` the command that says the same. `caller` is the MLflow run that was active where this was made.
    """

    def __init__(
        self, observer: Observer | None = None, skip_done: bool = False, skip_unstable: bool = False
    ) -> None:
        self.skip_done, self.skip_unstable = skip_done, skip_unstable
        self.observer = observer or Silent()
        self.fit: Fit | None = None
        self.done: list[Done] = []
        self.sweep_id: str | None = None
        self.recorded: Recorded | None = None
        self.killed = ""
        self.where = ""
        self.folder: Path | None = None
        self.question = ""
        self.typed = ""
        self.caller = (
            caller_run()
        )  # now: a launcher may pickle this in another thread, where another run is active
        self._single: Single | None = None
        self._sweep: Sweep | None = None
        self.jobs: list[Job] = []
        self.remarks = Remarks()
        self._letters: Letterbox | None = None
        self._post: Letterbox | None = None

    def __getstate__(self) -> dict[str, Any]:
        """What a launcher's processes have to know, and where they say what came out: nobody there watches, and no store is open."""
        self._letters = self._letters or Letterbox()
        kept = {
            key: getattr(self, key)
            for key in ("skip_done", "skip_unstable", "question", "typed", "caller")
        }
        return {**kept, "_post": self._letters}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__init__()  # type: ignore[misc]
        vars(self).update(state)

    def begin(self, config: FitConfig, name: str) -> None:
        """Opens the store and begins a single run in it, before anything else is written anywhere."""
        [config] = ready([config])
        if self.skip_unstable:
            refuse_unstable(config)
        else:
            announce_unstable([config])
        self._single = Single.begin(config, name, notes.tag(self.question, self.typed))
        self.where = self._single.recorder.where()

    def __call__(self, composed: DictConfig) -> float:
        """Runs one fit, whose folder Hydra has made, and returns its objective, infinity if it diverged or failed."""
        hydra = HydraConfig.get()
        with started_in(hydra.runtime.cwd), below(self.caller):
            return self._job(composed, hydra)

    def _job(self, composed: DictConfig, hydra: HydraConf) -> float:
        folder = _folder_of(hydra)
        origin = Origin.of(hydra, GlobalHydra.instance().config_loader())
        tell = (
            notice if self._single is None else _tell_nobody
        )  # of a fit that has begun it is told already
        config = fit_config(composed, origin, tell).resolved()
        if self._single is None:  # a job of another launcher
            if self.skip_done and not missing([config], values := [0.0]):
                return values[0]
            require_unused(folder, "hydra.sweep.subdir")
            folder.mkdir(parents=True, exist_ok=True)
            self.begin(config, single_name(origin.experiment, config, origin.overrides))
        try:
            return self._run(
                config, folder, 0 if OmegaConf.is_missing(hydra.job, "num") else hydra.job.num
            )
        except BaseException:
            self.kill()
            raise

    def _run(self, config: FitConfig, folder: Path, job: int) -> float:
        assert self._single is not None
        single = self._single
        self.observer.begin(1, config.steps)
        self.fit = single.run(config, folder, self.observer.passed)
        self.remarks.take(self.fit)
        self.done.append(
            Done(
                single.row.name,
                single.run_id,
                {"row": job, "name": single.row.name, **result(self.fit)},
            )
        )
        self.observer.advance(self.done[-1:])
        self.observer.end()
        self.recorded = Recorded(single.recorder, single.run_id, single.row, folder, config)
        self._single = None
        if self._post is not None:
            self._post.leave(job, self.done[-1], self.where)
        return self.fit.objective

    def batch(
        self,
        jobs: Sequence[Job],
        name: str,
        folder: Path,
        settings: DictConfig,
        workers: Workers = HERE,
        more: bool = True,
    ) -> list[float]:
        """Runs the jobs of a sweep, or of its next batch, where `workers` says, as children of one parent run.

        `more` says that other batches may follow. Returns the jobs' objectives, in order, infinity for those that
        diverged or failed.
        """
        configs = ready([job.config for job in jobs], several=True)
        values = [float("inf")] * len(jobs)
        places = missing(configs, values) if self.skip_done else list(range(len(jobs)))
        if self.skip_unstable and places:
            places = stable(configs, places, bool(self.jobs))
        else:
            announce_unstable([configs[place] for place in places])
        if not places:
            return values
        new, configs = [jobs[place] for place in places], [configs[place] for place in places]
        overrides = [job.overrides for job in new]
        first, self.jobs = len(self.jobs), [*self.jobs, *new]
        given = [job.overrides for job in self.jobs]
        varying = leaf_keys(
            varying_keys(given, more), given, sections_of([job.config for job in self.jobs])
        )
        if self._sweep is None:
            about = About.new(name, varying, workers, now(), self.question, self.typed)
            fits = PlannedFits(configs, _accounts(configs, about.varying, overrides), overrides)
            planned = plan_sweep(fits, about, folder, settings)
            self.folder = folder  # only now: until here it may be another sweep's
            self._sweep = begin_sweep(fits, about, planned, more)
        else:
            fits = PlannedFits(configs, _accounts(configs, varying, overrides), overrides)
            extend_manifest(folder, fits, varying)
            self._sweep.extend(varying, fits.accounts)
            self._sweep.contest.add(configs)
        accounts = dict(enumerate(fits.accounts))
        del fits  # so that each is let go with its fit
        self._announce([job.config for job in self.jobs])
        for number, fitted in self._fits(configs, workers):
            values[places[number]] = fitted.objective
            said = accounts.pop(number)
            self.observer.advance(
                self._sweep.add(first + number, said.name(first + number), fitted, said)
            )
        self.observer.advance(self._sweep.flush())
        return values

    def resume(
        self,
        sweep: Sweep,
        first: FitConfig,
        left: Sequence[tuple[int, str, FitConfig]],
        workers: Workers,
    ) -> None:
        """Runs the (row, name, config) that are left of a sweep, and ends it; `first` is the config of its first row."""
        self._sweep, self.folder = sweep, sweep.folder
        self.jobs = [Job(first, ())]
        rows, names, configs = (
            [row for row, _, _ in left],
            [name for _, name, _ in left],
            [config for _, _, config in left],
        )
        self._announce(configs)
        for number, fitted in self._fits(configs, workers):
            self.observer.advance(sweep.add(rows[number], names[number], fitted))
        self.observer.advance(sweep.flush())
        self.close()

    def is_finished(self, config: FitConfig) -> bool:
        """Whether the MLflow experiment of a single run has it already."""
        return not missing(ready([config]), [0.0])

    def _announce(self, configs: Sequence[FitConfig]) -> None:
        self.observer.begin(len(configs), sum(config.steps for config in configs))

    def _fits(self, configs: Sequence[FitConfig], workers: Workers) -> Iterator[tuple[int, Fit]]:
        assert self._sweep is not None
        self.where = self._sweep.recorder.where()
        with closing(run_all(configs, workers, self.observer.passed)) as fits:
            for number, fitted in fits:
                self.remarks.take(fitted)
                yield number, fitted

    def close(self) -> None:
        """Ends a sweep whose last batch is done, or takes in what runs in other processes have left."""
        self.observer.end()
        self._collect()
        if self._sweep is not None:
            sweep = self._sweep
            sweep.finish(layout.noted(self.remarks.kept))
            self.remarks.end()
            self.sweep_id, self.done = sweep.run_id, list(sweep.done.values())
            self.recorded = Recorded(
                sweep.recorder, sweep.run_id, sweep.row, sweep.folder, self.jobs[0].config
            )
            self._sweep = self.folder = None

    def _collect(self) -> None:
        for done, where in self._letters.collect() if self._letters is not None else ():
            self.done.append(done)
            self.where = where
        self._letters = None

    def command(self) -> str:
        """What to type to go on with a sweep that has begun and not ended; empty if there is none."""
        if self.folder is None or not (self.folder / layout.MANIFEST).exists():
            return ""
        more = options_for(self.jobs[0].config.tracking) if self.jobs else ()
        return command(self.folder, any(job.config.plugins for job in self.jobs), more)

    def kill(self) -> None:
        """Ends what has begun as KILLED; finished children of a sweep stay as they are."""
        self.observer.end()
        self._collect()
        if self._single is not None:
            self._single.kill()
            self.killed, self._single = self._single.run_id, None
        if self._sweep is not None:
            self._sweep.kill(layout.noted(self.remarks.kept))
            self.killed, self.done = self._sweep.run_id, list(self._sweep.done.values())
            self._sweep = None


def _folder_of(hydra: HydraConf) -> Path:
    """Return the folder of a job, below the working one; what Hydra made of it began where its process did."""
    alone = hydra.mode == RunMode.RUN
    parts = (hydra.run.dir,) if alone else (hydra.sweep.dir, hydra.sweep.subdir)
    return Path(*map(str, parts)).absolute()
