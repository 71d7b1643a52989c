"""The one runner: executes fits and sweeps of them, and hands every fit to the recorder as soon as it is done."""

from __future__ import annotations

from collections.abc import Generator, Iterable, Iterator, Sequence
from contextlib import closing, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol
from uuid import uuid4

from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig, OmegaConf

from linfit.config import ADHOC, FitConfig
from linfit.engine.dispatch import fit, fits_as_done
from linfit.engine.fit import Fit
from linfit.engine.prediction import theory_of
from linfit.errors import ConfigError, LinfitError
from linfit.settings import MLflowTracking, Tracking
from linfit.sweeps.composition import fit_config
from linfit.sweeps.explanation import notice
from linfit.sweeps.folder import About, Folder, command
from linfit.sweeps.recording import Done, Sweep, now, write_files
from linfit.sweeps.stability import unstable
from linfit.sweeps.workers import Workers, fits_in_workers
from linfit.tracking import environment, layout, notes
from linfit.tracking.opening import open_recorder
from linfit.tracking.owner import owner
from linfit.tracking.recorder import Recorder
from linfit.tracking.tables import extend_manifest, result

#: In this process, which needs no other.
HERE = Workers()


@dataclass(frozen=True)
class Job:
    """One fit of a sweep, before it ran: its config, and the overrides that made it."""

    config: FitConfig
    overrides: tuple[str, ...]


class Observer(Protocol):
    """Somebody who watches a sweep go by."""

    def begin(self, total: int) -> None: ...
    def advance(self, done: Sequence[Done]) -> None: ...
    def end(self) -> None: ...


class Silent:
    """An observer that shows nothing."""

    def begin(self, total: int) -> None:
        return None

    def advance(self, done: Sequence[Done]) -> None:
        return None

    def end(self) -> None:
        return None


@dataclass
class Single:
    """A single run that has begun and not ended."""

    recorder: Recorder
    run_id: str
    row: layout.Row


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
    the run that was recorded last. `folder` is a sweep's that has begun and not ended. `question` is what the experiment's file
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

    def begin(self, config: FitConfig, name: str) -> None:
        """Opens the store and begins a single run in it, before anything else is written anywhere."""
        [config] = ready([config])
        if self.skip_unstable and (above := unstable([config])):
            raise ConfigError("this fit is unstable: lr {:g} is above {:.4g}, the largest stable one; nothing was run".format(*above[0]))
        recorder = recorder_of(config)
        own = {layout.ID: uuid4().hex, layout.OWNER: owner(), **notes.tag(self.question, self.typed)}
        row = layout.started(config, name, now(), {**environment.tags(config), **own})
        self.where = recorder.where()
        self._single = Single(recorder, recorder.begin(row), row)

    def __call__(self, composed: DictConfig) -> float:
        """Runs one fit, whose folder Hydra has made, and returns its final loss, infinity if it diverged or failed."""
        hydra = HydraConfig.get()
        overrides, experiment = list(hydra.overrides.task), str(hydra.job.config_name)
        config = fit_config(composed, overrides, experiment).resolved()
        if self._single is None:
            self.begin(config, single_name(experiment, config, overrides))
        assert self._single is not None
        self.fit = fit(config)
        single, row = self._single, layout.finished(self._single.row, self.fit, now(), theory=self._theory())
        folder = Path(hydra.runtime.output_dir)
        files = [*write_files(folder, self.fit), *environment.write(folder, config)]
        single.recorder.end(single.run_id, row, files, self.fit if self.fit.loss != float("inf") else None)
        self.done.append(Done(row.name, single.run_id, {"row": 0, "name": row.name, **result(self.fit)}))
        self.recorded = Recorded(single.recorder, single.run_id, row, folder, config)
        self._single = None
        return self.fit.loss

    def batch(self, jobs: Sequence[Job], name: str, folder: Path, settings: DictConfig, workers: Workers = HERE) -> list[float]:
        """Runs the jobs of a sweep, or of its next batch, where `workers` says, as children of one parent run.

        Returns their final losses, in order.
        """
        configs = ready([job.config for job in jobs], several=True)
        losses = [float("inf")] * len(jobs)
        places = self._missing(configs, losses) if self.skip_done else list(range(len(jobs)))
        if self.skip_unstable and places:
            places = self._stable(configs, places)
        if not places:
            return losses
        new, configs = [jobs[place] for place in places], [configs[place] for place in places]
        first, self.jobs = len(self.jobs), [*self.jobs, *new]
        if self._sweep is None:
            self.folder = folder
            about = About.new(name, varying_keys([job.overrides for job in new]), workers.count, now(), self.question, self.typed)
            self._sweep = begin_sweep(configs, [job.overrides for job in new], about, folder, settings)
        else:
            varying = self._sweep.varying
            names = [label_of(config, varying, first + number) for number, config in enumerate(configs)]
            extend_manifest(folder, names, [job.overrides for job in new], configs)
        varying = self._sweep.varying
        self.observer.begin(len(self.jobs))
        for number, fitted in self._fits(configs, workers):
            losses[places[number]] = fitted.loss
            self.observer.advance(self._sweep.add(first + number, label_of(fitted.config, varying, first + number), fitted))
        self.observer.advance(self._sweep.flush())
        return losses

    def resume(self, sweep: Sweep, left: Sequence[tuple[int, str, FitConfig]], workers: int) -> None:
        """Runs the (row, name, config) that are left of a sweep, and ends it."""
        self._sweep, self.folder = sweep, sweep.folder
        self.jobs = [Job(config, ()) for _, _, config in left]
        rows, names, configs = [row for row, _, _ in left], [name for _, name, _ in left], [config for _, _, config in left]
        self.observer.begin(len(left))
        for number, fitted in self._fits(configs, Workers(workers)):
            self.observer.advance(sweep.add(rows[number], names[number], fitted))
        self.observer.advance(sweep.flush())
        self.close()

    def is_finished(self, config: FitConfig) -> bool:
        """Whether the MLflow experiment of a single run has it already."""
        return not self._missing(ready([config]), [0.0])

    def _fits(self, configs: Sequence[FitConfig], workers: Workers) -> Iterator[tuple[int, Fit]]:
        assert self._sweep is not None
        self.where = self._sweep.recorder.where()
        with closing(run_all(configs, workers)) as fits:
            yield from fits

    def _missing(self, configs: Sequence[FitConfig], losses: list[float]) -> list[int]:
        """The places of the configs that are not finished in their MLflow experiment; the others' losses are filled in."""
        known = finished(configs[0])
        places = []
        for place, config in enumerate(configs):
            loss = known.get(config.fingerprint()) if known else None
            if loss is None:
                places.append(place)
            else:
                losses[place] = loss
        if len(places) < len(configs):
            notice(f"{len(configs) - len(places)} of {len(configs)} fits are finished already and left out")
        return places

    def _stable(self, configs: Sequence[FitConfig], places: Sequence[int]) -> list[int]:
        """Those of the places whose learning rate is not above the largest stable one; ConfigError where a sweep has none."""
        above = unstable(configs)
        kept = [place for place in places if place not in above]
        if not kept and not self.jobs:
            raise ConfigError(f"all {len(places)} fits are unstable and --skip-unstable leaves none: choose smaller learning rates")
        if len(kept) < len(places):
            notice(f"{len(places) - len(kept)} of {len(places)} fits are unstable and left out")
        return kept

    def _theory(self) -> dict[str, float]:
        theory = None if self.fit is None else theory_of(self.fit)
        return {} if theory is None else theory.numbers()

    def close(self) -> None:
        """Ends a sweep whose last batch is done."""
        self.observer.end()
        if self._sweep is not None:
            sweep = self._sweep
            sweep.finish()
            self.sweep_id, self.done = sweep.run_id, list(sweep.done.values())
            self.recorded = Recorded(sweep.recorder, sweep.run_id, sweep.row, sweep.folder, self.jobs[0].config)
            self._sweep = self.folder = None

    def command(self) -> str:
        """What to type to go on with a sweep that has begun and not ended; empty if there is none."""
        if self.folder is None or not (self.folder / layout.MANIFEST).exists():
            return ""
        return command(self.folder, any(job.config.plugins for job in self.jobs))

    def kill(self) -> None:
        """Ends what has begun as KILLED; finished children of a sweep stay as they are."""
        self.observer.end()
        if self._single is not None:
            with suppress(LinfitError, OSError):
                self._single.recorder.end(self._single.run_id, layout.killed(self._single.row, now()))
            self.killed, self._single = self._single.run_id, None
        if self._sweep is not None:
            self._sweep.kill()
            self.killed, self.done = self._sweep.run_id, list(self._sweep.done.values())
            self._sweep = None


def run_all(configs: Sequence[FitConfig], workers: Workers) -> Generator[tuple[int, Fit], None, None]:
    """All fits, each with its place as soon as it is done: in this process, in several, or on a cluster."""
    if workers == HERE:
        yield from fits_as_done(configs)
        return
    with closing(_elsewhere(configs, workers)) as fits:
        yield from fits


def _elsewhere(configs: Sequence[FitConfig], workers: Workers) -> Generator[tuple[int, Fit], None, None]:
    if workers.backend == HERE.backend:
        return fits_in_workers(configs, workers.count)
    from linfit.sweeps.clusters import fits_on_cluster

    return fits_on_cluster(configs, workers)


def begin_sweep(
    configs: Sequence[FitConfig], overrides: Sequence[tuple[str, ...]], about: About, path: Path, settings: DictConfig
) -> Sweep:
    """The parent run of a sweep, its folder made and its manifest written before its store is opened."""
    check_tracking(configs[0])
    folder = Folder(path)
    labels = (label_of(config, about.varying, place) for place, config in enumerate(configs))
    folder.plan(configs, labels, overrides, about, settings)
    try:
        recorder = recorder_of(configs[0])
    except (LinfitError, OSError):
        folder.withdraw()
        raise
    environment.write(path, configs[0])
    return Sweep(recorder, parent_row(about, configs, path), folder, about.varying, configs[0].tracking)


def parent_row(about: About, configs: Iterable[FitConfig], path: Path) -> layout.Row:
    """The parent of a sweep when it begins."""
    several = list(configs)
    own = {layout.ID: about.id, layout.OWNER: owner(), layout.FOLDER: str(path.absolute()), **notes.tag(about.question, about.typed)}
    return layout.sweep_started(about.name, now(), several, about.varying, {**environment.tags(several[0]), **own})


def label_of(config: FitConfig, varying: Sequence[str], place: int) -> str:
    """The name of a fit of a sweep."""
    return layout.describe(config, varying) or f"fit {place}"


def ready(configs: Sequence[FitConfig], several: bool = False) -> list[FitConfig]:
    """The configs with the devices and engines that run them, alone or as several; ConfigError where a device or the data is missing."""
    try:
        for dataset in dict.fromkeys(config.dataset for config in configs):
            dataset.check()
        return [config.resolved(several) for config in configs]
    except ValueError as error:
        raise ConfigError(str(error)) from error


def recorder_of(config: FitConfig) -> Recorder:
    """The config's recorder."""
    import os

    name = os.environ.get("MLFLOW_EXPERIMENT_NAME") or config.name if config.name == ADHOC else config.name
    return open_recorder(resolved_tracking(config), name)


def resolved_tracking(config: FitConfig) -> Tracking:
    """Its references to environment variables resolved: here, and they go no further."""
    tracking = config.tracking
    if not isinstance(tracking, MLflowTracking):
        return tracking
    return MLflowTracking.model_validate(OmegaConf.to_container(OmegaConf.create(tracking.model_dump()), resolve=True))


def check_tracking(config: FitConfig) -> None:
    """RecordingError where a store is named that cannot be one: nothing has been written yet."""
    from linfit.tracking.store import locate

    tracking = resolved_tracking(config)
    if isinstance(tracking, MLflowTracking):
        locate(tracking.uri, tracking.artifacts)


def finished(config: FitConfig) -> dict[str, float]:
    """The fingerprints that are finished in the config's MLflow experiment, by the code there is now, with their final losses."""
    from linfit.tracking.code import code_digest

    history = recorder_of(config).history()
    return {} if history is None else history.finished(code_digest(config.plugins))


def varying_keys(overrides: Sequence[Sequence[str]]) -> tuple[str, ...]:
    """The keys whose override is not the same in all jobs, in the order in which they were given."""
    values: dict[str, set[str]] = {}
    for job in overrides:
        for override in job:
            key, _, value = override.lstrip("+").partition("=")
            values.setdefault(key, set()).add(value)
    return tuple(key for key, different in values.items() if len(different) > 1 or len(overrides) == 1)


def single_name(config_name: str, config: FitConfig, overrides: Sequence[str]) -> str:
    """The experiment file's own name and what the command line changed: `linear_adam lr=0.1`."""
    changed = layout.describe(config, varying_keys([[override for override in overrides if not override.startswith("hydra")]]))
    own = "" if config_name == "linfit" else config_name.rsplit("/", 1)[-1]
    return f"{own} {changed}".strip() or "fit"
