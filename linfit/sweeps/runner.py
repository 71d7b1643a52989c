"""The one runner: executes fits and sweeps of them, and hands every fit to the recorder as soon as it is done."""

from __future__ import annotations

from collections.abc import Generator, Sequence
from contextlib import closing, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig, OmegaConf

from linfit.config import ADHOC, FitConfig
from linfit.engine.dispatch import fit, fits_as_done
from linfit.engine.fit import Fit
from linfit.errors import ConfigError, RecordingError
from linfit.settings import MLflowTracking
from linfit.sweeps.composition import fit_config
from linfit.sweeps.recording import Done, Sweep, now, write_files
from linfit.tracking import layout
from linfit.tracking.opening import open_recorder
from linfit.tracking.recorder import Recorder
from linfit.tracking.tables import result, write_manifest


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


class Runner:
    """Hydra's task function: called once with the composed config of a single run, or given the batches of a sweep.

    Afterwards `fit` is the fit of a single run, and `done` what was run, in order; `sweep_id` is the parent's id.
    """

    def __init__(self, observer: Observer | None = None) -> None:
        self.observer = observer or Silent()
        self.fit: Fit | None = None
        self.done: list[Done] = []
        self.sweep_id: str | None = None
        self.killed = ""
        self.where = ""
        self._single: Single | None = None
        self._sweep: Sweep | None = None
        self.jobs: list[Job] = []

    def begin(self, config: FitConfig, name: str) -> None:
        """Opens the store and begins a single run in it, before anything else is written anywhere."""
        from linfit.tracking import environment

        [config] = ready([config])
        recorder = recorder_of(config)
        row = layout.started(config, name, now(), environment.tags(config))
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
        single, row = self._single, layout.finished(self._single.row, self.fit, now())
        files = write_files(Path(hydra.runtime.output_dir), self.fit)
        single.recorder.end(single.run_id, row, files, self.fit if self.fit.loss != float("inf") else None)
        self.done.append(Done(row.name, single.run_id, {"row": 0, "name": row.name, **result(self.fit)}))
        self._single = None
        return self.fit.loss

    def batch(self, jobs: Sequence[Job], name: str, folder: Path, settings: DictConfig, workers: int = 1) -> list[float]:
        """Runs the jobs of a sweep, or of its next batch, in `workers` processes, as children of one parent run.

        Returns their final losses, in order.
        """
        first = len(self.jobs)
        self.jobs += jobs
        configs = ready([job.config for job in jobs], several=True)
        if self._sweep is None:
            self._sweep = begin_sweep(configs, [job.overrides for job in jobs], name, folder, settings)
            self.where = self._sweep.recorder.where()
        sweep = self._sweep
        self.observer.begin(len(self.jobs))
        losses = [float("inf")] * len(jobs)
        with closing(run_all(configs, workers)) as fits:
            for place, fitted in fits:
                losses[place] = fitted.loss
                label = label_of(fitted.config, sweep.varying, first + place)
                self.observer.advance(sweep.add(first + place, label, fitted))
        self.observer.advance(sweep.flush())
        return losses

    def close(self) -> None:
        """Ends a sweep whose last batch is done."""
        self.observer.end()
        if self._sweep is not None:
            self._sweep.finish()
            self.sweep_id, self.done = self._sweep.run_id, list(self._sweep.done.values())
            self._sweep = None

    def kill(self) -> None:
        """Ends what has begun as KILLED; finished children of a sweep stay as they are."""
        self.observer.end()
        if self._single is not None:
            with suppress(RecordingError):
                self._single.recorder.end(self._single.run_id, layout.killed(self._single.row, now()))
            self.killed, self._single = self._single.run_id, None
        if self._sweep is not None:
            self._sweep.kill()
            self.killed, self.done = self._sweep.run_id, list(self._sweep.done.values())
            self._sweep = None


def run_all(configs: Sequence[FitConfig], workers: int) -> Generator[tuple[int, Fit], None, None]:
    """All fits, each with its place as soon as it is done: in this process, or in several."""
    if workers == 1:
        yield from fits_as_done(configs)
        return
    from linfit.sweeps.workers import fits_in_workers

    with closing(fits_in_workers(configs, workers)) as fits:
        yield from fits


def begin_sweep(configs: Sequence[FitConfig], overrides: Sequence[tuple[str, ...]], name: str, folder: Path, settings: DictConfig) -> Sweep:
    """The parent run of a sweep, its folder made and its manifest written."""
    from linfit.tracking import environment

    varying = varying_keys(overrides)
    recorder = recorder_of(configs[0])
    folder.mkdir(parents=True, exist_ok=True)  # Hydra's own sweepers have made it
    if (folder / layout.MANIFEST).exists():
        raise ConfigError(f"{folder} holds another sweep: choose another hydra.sweep.dir")
    (folder / "multirun.yaml").write_text(layout.mask(OmegaConf.to_yaml(settings)), encoding="utf-8")
    labels = (label_of(config, varying, place) for place, config in enumerate(configs))
    write_manifest(folder, labels, overrides, configs)
    row = layout.sweep_started(name, now(), configs, varying, environment.tags(configs[0]))
    return Sweep(recorder, row, folder, varying, configs[0].tracking)


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
    """The config's recorder; references to environment variables in `tracking` are resolved here and go no further."""
    import os

    tracking = config.tracking
    if isinstance(tracking, MLflowTracking):
        resolved = OmegaConf.to_container(OmegaConf.create(tracking.model_dump()), resolve=True)
        tracking = MLflowTracking.model_validate(resolved)
    name = os.environ.get("MLFLOW_EXPERIMENT_NAME") or config.name if config.name == ADHOC else config.name
    return open_recorder(tracking, name)


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
