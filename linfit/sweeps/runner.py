"""The one runner: executes fits and sweeps of them, and hands every fit to the recorder as soon as it is done."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig, OmegaConf

from linfit.config import FitConfig
from linfit.engine.fit import Fit
from linfit.sweeps.beginning import begin_sweep, plan_sweep
from linfit.sweeps.composition import fit_config
from linfit.sweeps.folder import About, command
from linfit.sweeps.letterbox import Letterbox
from linfit.sweeps.naming import single_name, varying_keys
from linfit.sweeps.readiness import announce_unstable, missing, ready, refuse_unstable, stable
from linfit.sweeps.recording import Done, Sweep, now
from linfit.sweeps.remarks import Remarks
from linfit.sweeps.running import run_all
from linfit.sweeps.single import Single
from linfit.sweeps.workers import HERE, Workers
from linfit.tracking import layout, notes
from linfit.tracking.accounts import account
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
    row: layout.Row
    folder: Path
    config: FitConfig
    """Of a sweep its first fit's."""


class Runner:
    """Hydra's task function: called once with the composed config of a single run, or given the batches of a sweep.

    Afterwards `fit` is the fit of a single run, and `done` what was run, in order; `sweep_id` is the parent's id; `recorded` is
    the run that was recorded last. `remarks` is what was said of the data. `folder` is a sweep's that has begun and not ended. `question` is what the experiment's file
    asks, `typed` the command that says the same.
    """

    def __init__(self, observer: Observer | None = None, skip_done: bool = False, skip_unstable: bool = False) -> None:
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
        self._single: Single | None = None
        self._sweep: Sweep | None = None
        self.jobs: list[Job] = []
        self.remarks = Remarks()
        self._letters: Letterbox | None = None
        self._post: Letterbox | None = None

    def __getstate__(self) -> dict[str, Any]:
        """What a launcher's processes have to know, and where they say what came out: nobody there watches, and no store is open."""
        self._letters = self._letters or Letterbox()
        kept = {key: getattr(self, key) for key in ("skip_done", "skip_unstable", "question", "typed")}
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
        """Runs one fit, whose folder Hydra has made, and returns its final loss, infinity if it diverged or failed."""
        hydra = HydraConfig.get()
        overrides, experiment = list(hydra.overrides.task), str(hydra.job.config_name)
        config = fit_config(composed, overrides, experiment).resolved()
        if self._single is None:  # a job of another launcher
            if self.skip_done and not missing([config], losses := [0.0]):
                return losses[0]
            self.begin(config, single_name(experiment, config, overrides))
        try:
            return self._run(config, Path(hydra.runtime.output_dir), 0 if OmegaConf.is_missing(hydra.job, "num") else hydra.job.num)
        except BaseException:
            self.kill()
            raise

    def _run(self, config: FitConfig, folder: Path, job: int) -> float:
        assert self._single is not None
        single = self._single
        self.observer.begin(1, config.steps)
        self.fit = single.run(config, folder, self.observer.passed)
        self.observer.end()
        self.remarks.take(self.fit)
        self.done.append(Done(single.row.name, single.run_id, {"row": job, "name": single.row.name, **result(self.fit)}))
        self.recorded = Recorded(single.recorder, single.run_id, single.row, folder, config)
        self._single = None
        if self._post is not None:
            self._post.leave(job, self.done[-1], self.where)
        return self.fit.loss

    def batch(self, jobs: Sequence[Job], name: str, folder: Path, settings: DictConfig, workers: Workers = HERE) -> list[float]:
        """Runs the jobs of a sweep, or of its next batch, where `workers` says, as children of one parent run.

        Returns their final losses, in order.
        """
        configs = ready([job.config for job in jobs], several=True)
        losses = [float("inf")] * len(jobs)
        places = missing(configs, losses) if self.skip_done else list(range(len(jobs)))
        if self.skip_unstable and places:
            places = stable(configs, places, bool(self.jobs))
        else:
            announce_unstable([configs[place] for place in places])
        if not places:
            return losses
        new, configs = [jobs[place] for place in places], [configs[place] for place in places]
        overrides = [job.overrides for job in new]
        first, self.jobs = len(self.jobs), [*self.jobs, *new]
        if self._sweep is None:
            about = About.new(name, varying_keys(overrides), workers, now(), self.question, self.typed)
            fits = PlannedFits(configs, [account(config, about.varying) for config in configs], overrides)
            planned = plan_sweep(fits, about, folder, settings)
            self.folder = folder  # only now: until here it may be another sweep's
            self._sweep = begin_sweep(fits, about, planned)
        else:
            fits = PlannedFits(configs, [account(config, self._sweep.varying) for config in configs], overrides)
            extend_manifest(folder, fits)
        accounts = dict(enumerate(fits.accounts))
        del fits  # so that each is let go with its fit
        self._announce([job.config for job in self.jobs])
        for number, fitted in self._fits(configs, workers):
            losses[places[number]] = fitted.loss
            said = accounts.pop(number)
            self.observer.advance(self._sweep.add(first + number, said.name(first + number), fitted, said))
        self.observer.advance(self._sweep.flush())
        return losses

    def resume(self, sweep: Sweep, first: FitConfig, left: Sequence[tuple[int, str, FitConfig]], workers: Workers) -> None:
        """Runs the (row, name, config) that are left of a sweep, and ends it; `first` is the config of its first row."""
        self._sweep, self.folder = sweep, sweep.folder
        self.jobs = [Job(first, ())]
        rows, names, configs = [row for row, _, _ in left], [name for _, name, _ in left], [config for _, _, config in left]
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
            self.recorded = Recorded(sweep.recorder, sweep.run_id, sweep.row, sweep.folder, self.jobs[0].config)
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
        return command(self.folder, any(job.config.plugins for job in self.jobs))

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
