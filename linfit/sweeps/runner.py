"""The one runner: executes fits and sweeps of them, and hands every fit to the recorder as soon as it is done."""

from __future__ import annotations

import json
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Protocol

from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig, OmegaConf

from linfit.config import ADHOC, FitConfig
from linfit.engine.dispatch import fit, fits
from linfit.engine.fit import Fit, Status
from linfit.errors import ConfigError
from linfit.settings import MLflowTracking
from linfit.sweeps.composition import fit_config
from linfit.tracking import layout
from linfit.tracking.recorder import Recorder, open_recorder


@dataclass(frozen=True)
class Job:
    """One fit of a sweep, before it ran: its config, and the overrides that made it."""

    config: FitConfig
    overrides: tuple[str, ...]


@dataclass(frozen=True)
class Done:
    """A fit that has run: its name, and the id of its run (empty where nothing is recorded)."""

    name: str
    run_id: str
    fit: Fit


class Observer(Protocol):
    """Somebody who watches a sweep go by."""

    def begin(self, total: int) -> None: ...
    def advance(self, done: Done) -> None: ...
    def end(self) -> None: ...


class Silent:
    """An observer that shows nothing."""

    def begin(self, total: int) -> None:
        return None

    def advance(self, done: Done) -> None:
        return None

    def end(self) -> None:
        return None


@dataclass
class Open:
    """A run that has begun and not ended: a single run, or the parent of a sweep."""

    recorder: Recorder
    run_id: str
    row: layout.Row
    folder: Path | None = None
    varying: tuple[str, ...] = ()


class Runner:
    """Hydra's task function: called once with the composed config of a single run, or given the batches of a sweep."""

    def __init__(self, observer: Observer | None = None) -> None:
        self.observer = observer or Silent()
        self.done: list[Done] = []
        self.jobs: list[Job] = []
        self.open: Open | None = None
        self.sweep_id: str | None = None
        self.killed = ""
        self.where = ""

    def begin(self, config: FitConfig, name: str) -> None:
        """Opens the store and begins a single run in it, before anything else is written anywhere."""
        from linfit.tracking import environment

        [config] = ready([config])
        recorder = recorder_of(config)
        row = layout.started(config, name, now(), environment.tags(config))
        self.where = recorder.where()
        self.open = Open(recorder, recorder.begin(row), row)

    def __call__(self, composed: DictConfig) -> float:
        """Runs one fit, whose folder Hydra has made, and returns its final loss, infinity if it diverged or failed."""
        hydra = HydraConfig.get()
        overrides, experiment = list(hydra.overrides.task), str(hydra.job.config_name)
        config = fit_config(composed, overrides, experiment).resolved()
        if self.open is None:
            self.begin(config, single_name(experiment, config, overrides))
        assert self.open is not None
        result = fit(config)
        row = layout.finished(self.open.row, result, now())
        files = write_files(Path(hydra.runtime.output_dir), result)
        self.open.recorder.end(self.open.run_id, row, files, result if usable(result) else None)
        self.done.append(Done(row.name, self.open.run_id, result))
        self.open = None
        return result.loss

    def batch(self, jobs: Sequence[Job], name: str, folder: Path, settings: DictConfig) -> list[Fit]:
        """Runs the jobs of a sweep, or of its next batch, as children of one parent run."""
        first = len(self.jobs)
        self.jobs += jobs
        configs = ready([job.config for job in jobs], several=True)
        if self.open is None:
            self._begin_sweep(configs, [job.overrides for job in jobs], name, folder, settings)
        assert self.open is not None
        self.observer.begin(len(self.jobs))
        results: list[Fit] = []
        started = now()
        for result in fits(configs):
            label = layout.describe(result.config, self.open.varying) or f"fit {first + len(results)}"
            ended = now()
            row = layout.child(result, label, self.open.run_id, (started, ended), self.open.varying, {})
            [run_id] = self.open.recorder.add([row])
            attach_files(self.open.recorder, run_id, result)
            self.done.append(Done(label, run_id, result))
            self.observer.advance(self.done[-1])
            results.append(result)
            started = ended
        return results

    def close(self) -> None:
        """Ends a sweep whose last batch is done."""
        self.observer.end()
        if self.open is None:
            return
        from linfit.tracking.tables import write_results

        results = [done.fit for done in self.done]
        row = layout.sweep_finished(self.open.row, results, now())
        assert self.open.folder is not None
        write_results(self.open.folder, [done.name for done in self.done], [done.run_id for done in self.done], results)
        files = [self.open.folder / file for file in (layout.MANIFEST, layout.RESULTS, layout.CURVES)]
        best = min(results, key=lambda result: result.loss)
        self.open.recorder.end(self.open.run_id, row, files, best if usable(best) else None)
        self.sweep_id, self.open = self.open.run_id, None

    def kill(self) -> None:
        """Ends what is open as KILLED; finished children of a sweep stay as they are."""
        self.observer.end()
        if self.open is not None:
            self.open.recorder.end(self.open.run_id, layout.killed(self.open.row, now()))
            self.killed, self.open = self.open.run_id, None

    def _begin_sweep(
        self, configs: Sequence[FitConfig], overrides: Sequence[tuple[str, ...]], name: str, folder: Path, settings: DictConfig
    ) -> None:
        from linfit.tracking import environment
        from linfit.tracking.tables import write_manifest

        varying = varying_keys(overrides)
        recorder = recorder_of(configs[0])
        folder.mkdir(parents=True, exist_ok=True)  # Hydra's own sweepers have made it
        if (folder / layout.MANIFEST).exists():
            raise ConfigError(f"{folder} holds another sweep: choose another hydra.sweep.dir")
        (folder / "multirun.yaml").write_text(layout.mask(OmegaConf.to_yaml(settings)), encoding="utf-8")
        labels = [layout.describe(config, varying) for config in configs]
        write_manifest(folder, labels, overrides, configs)
        row = layout.sweep_started(name, now(), configs, varying, environment.tags(configs[0]))
        self.where = recorder.where()
        self.open = Open(recorder, recorder.begin(row), row, folder, varying)


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


def write_files(folder: Path, result: Fit) -> list[Path]:
    """The files of a single run: its config with its hash, and its weights."""
    config = folder / layout.CONFIG_FILE
    config.write_text(json.dumps(layout.stored_config(result.config), indent=1) + "\n")
    if result.status is Status.FAILED:
        return [config]
    from linfit.tracking.model import write_weights

    weights = folder / layout.WEIGHTS_FILE
    write_weights(result, weights)
    return [config, weights]


def attach_files(recorder: Recorder, run_id: str, result: Fit) -> None:
    """The files of a single run, for a fit of a sweep where `tracking.child_artifacts` asks for them."""
    tracking = result.config.tracking
    if isinstance(tracking, MLflowTracking) and tracking.child_artifacts:
        with TemporaryDirectory() as folder:
            recorder.attach(run_id, write_files(Path(folder), result))


def usable(result: Fit) -> bool:
    return result.loss != float("inf")


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


def now() -> int:
    """Milliseconds since the epoch, as MLflow counts."""
    return time.time_ns() // 1_000_000


def sweep(arguments: Sequence[str]) -> Any:
    """Runs a sweep as `linfit run -m` does, records it, and returns a pandas frame with one row per fit.

    >>> table = linfit.sweep(["optimizer=adam,sgd", "seed=0,1"])  # doctest: +SKIP

    Columns: name, run_id, status, loss, excess_loss, distance_to_optimum, distance_to_truth, steps_to_tolerance,
    diverged_at_step, dtype, weights, error. Raises ConfigError before anything runs if the config is wrong.
    """
    import pandas as pd

    from linfit.sweeps.app import execute
    from linfit.tracking.tables import result

    runner = Runner()
    execute(["--multirun", *arguments], runner)
    return pd.DataFrame([{"name": done.name, "run_id": done.run_id, **result(done.fit)} for done in runner.done])
