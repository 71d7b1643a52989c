"""Requests of a command line: flags, an experiment, overrides; and their composed config."""

from __future__ import annotations

import argparse
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hydra._internal.callbacks import Callbacks
from hydra._internal.hydra import Hydra
from hydra.core.config_search_path import SearchPathQuery
from hydra.core.global_hydra import GlobalHydra
from hydra.core.plugins import Plugins
from hydra.core.singleton import Singleton
from hydra.plugins.sweeper import Sweeper
from hydra.types import HydraContext, RunMode, TaskFunction
from omegaconf import DictConfig, open_dict

from linfit.config import FitConfig
from linfit.engine.caller_settings import isolate_from_caller
from linfit.errors import ConfigError, LinfitError
from linfit.override import Override
from linfit.sweeps.compose.arguments import (
    parse_flags,
    require_no_blank,
    resolve_experiment,
    split_arguments,
)
from linfit.sweeps.compose.compose import create_search_path, set_hydra_config, validate_composed
from linfit.sweeps.compose.origin import Origin
from linfit.sweeps.config_files import search_path as locations
from linfit.sweeps.config_files.messages import (
    COMPOSITION_ERRORS,
    explain_composition,
    notify_user,
    tell_of_replaced_top,
)
from linfit.sweeps.config_files.overrides import (
    collect_keys,
    read_raw_overrides,
    require_unique_keys,
    settle_repeated_keys,
)
from linfit.sweeps.config_files.sources import YamlFileLoader
from linfit.sweeps.search_space.sweeper import LABEL, defer_swept_values

#: Hydra's sweeper of grids: first the command line, then the keys of its `params`.
BASIC_SWEEPER = "hydra._internal.core_plugins.basic_sweeper.BasicSweeper"
#: The launcher whose fits are children of one run; every other one's are runs of their own.
LINFIT_LAUNCHER = "hydra_plugins.linfit.launcher.LinfitLauncher"


@dataclass(frozen=True)
class RunRequest:
    """A command line, and Hydra on the folders that it names."""

    flags: argparse.Namespace
    experiment: str
    overrides: list[str]
    hydra: Hydra

    @property
    def loader(self) -> Any:
        """The loader of config files."""
        return self.hydra.config_loader


@contextmanager
def open_request(arguments: Sequence[str]) -> Iterator[RunRequest]:
    """Read a command line and start Hydra; ConfigError if invalid."""
    flags = parse_flags(arguments)
    tell_of_replaced_top()
    if not (flags.config_path or flags.config_dir):  # else they may have more experiments
        require_no_blank(flags.overrides)
    experiment, overrides = split_arguments(flags.overrides)
    if flags.config_name:
        experiment = resolve_experiment(flags.config_name)
    overrides = settle_repeated_keys(overrides)
    with start_hydra(flags) as hydra:
        yield RunRequest(flags, experiment, overrides, hydra)


def request_fit(arguments: Sequence[str]) -> RunRequest:
    """Read an experiment and overrides of one fit.

    There are no flags: Hydra does not run the fit.
    """
    experiment, overrides = split_arguments(arguments)
    tell_of_replaced_top()
    hydra = Hydra("linfit", YamlFileLoader(create_search_path()))
    return RunRequest(parse_flags(()), experiment, settle_repeated_keys(overrides), hydra)


@contextmanager
def explain_errors(request: RunRequest) -> Iterator[None]:
    """Turn Hydra's exceptions into a ConfigError of one line."""
    try:
        yield
    except LinfitError:
        raise
    except (*COMPOSITION_ERRORS, ValueError, OSError) as error:
        raise ConfigError(explain_composition(error, request.loader, request.experiment)) from error


@isolate_from_caller
def compose(arguments: Sequence[str] = ()) -> FitConfig:
    """Return the fit config of an experiment and overrides, as `linfit run` composes it.

    >>> import linfit
    >>> linfit.compose(["article/linear_adam", "optimizer.lr=0.1"]).optimizer.lr
    0.1

    Raises ConfigError, which is a ValueError, with one line that says what came, what is allowed
    and what to do.
    """
    request = request_fit(arguments)
    with explain_errors(request):
        return compose_fit(request).config


@dataclass(frozen=True)
class ComposedFit:
    """One fit, composed and validated."""

    composed: DictConfig
    """Hydra's config, with its own node `hydra`."""
    config: FitConfig
    overrides: list[str]
    """As they were typed."""


def compose_fit(request: RunRequest) -> ComposedFit:
    """Compose and validate one fit, even if the experiment sweeps."""
    return validate_fit(request, _compose(request, request.overrides, RunMode.RUN))


def compose_unless_sweep(request: RunRequest, log: bool = False) -> DictConfig | None:
    """Compose the requested fit, None if a sweep is asked for.

    Flags ask for a sweep, or a study does in `hydra.mode`.

    `log` sets up logging, as Hydra does before a run.
    """
    if request.flags.multirun:
        return None
    try:
        composed = _compose(request, request.overrides, RunMode.RUN, log)
    except Exception:  # any error: a sweep may vary, or leave open, a key that one fit needs
        if _is_study(request):
            return None
        raise
    if composed.hydra.mode == RunMode.MULTIRUN:
        return None
    return composed


def validate_fit(request: RunRequest, composed: DictConfig) -> ComposedFit:
    """Validate the one fit that Hydra composed."""
    for override in map(Override.read, request.overrides):
        if override.key.startswith("hydra.sweeper.") and not override.deletes:
            raise ConfigError("hydra.sweeper says how to sweep, and this is one fit: add -m")
    if composed.hydra.mode is None and (key := _sweeper_key(composed)):
        notify_user(
            f"note: {request.experiment} has hydra.sweeper.{key}, and this is one fit: "
            f"to sweep, add -m, or write hydra.mode: MULTIRUN beside it"
        )
    with set_hydra_config(composed):
        composed.hydra.runtime.output_dir = str(Path(str(composed.hydra.run.dir)).absolute())
    origin = Origin.from_hydra(composed.hydra, request.loader)
    return ComposedFit(composed, validate_composed(composed, origin), list(origin.overrides))


def compose_sweep(request: RunRequest, log: bool = False) -> DictConfig:
    """Compose the common config of a sweep's jobs.

    It has the sweep's sweeper and its launcher.
    """
    overrides = [*defer_swept_values(request.overrides), "hydra.mode=MULTIRUN"]
    composed = _compose(request, overrides, RunMode.MULTIRUN, log)
    if composed.hydra.sweeper.get("_target_") == BASIC_SWEEPER:
        _drop_replaced_params(composed)
    return composed


def create_sweeper(
    request: RunRequest, composed: DictConfig, task: TaskFunction, callbacks: Callbacks
) -> Sweeper:
    """Return the sweeper of a composed sweep, with its launcher."""
    context = HydraContext(config_loader=request.loader, callbacks=callbacks)
    return Plugins.instance().instantiate_sweeper(
        config=composed, hydra_context=context, task_function=task
    )


def list_swept_keys(fit: ComposedFit) -> list[str]:
    """Return the keys that a study sweeps and nothing overrides.

    Empty if it is one fit.
    """
    if fit.composed.hydra.mode != RunMode.MULTIRUN:
        return []
    sweeper = fit.composed.hydra.sweeper
    keys: list[Any] = []
    for grid in (sweeper.get("params") or {}, *(sweeper.get("grids") or [])):
        keys += [key for key in grid if key != LABEL]
    for pair in sweeper.get("pairs") or []:
        keys += pair.get("keys", [])
    given = collect_keys(fit.overrides)
    return [str(key) for key in dict.fromkeys(keys) if key not in given]


@contextmanager
def start_hydra(flags: argparse.Namespace) -> Iterator[Hydra]:
    """Start Hydra on linfit's search path; restore its global state afterwards."""
    before = Singleton.get_state()
    try:
        GlobalHydra.instance().clear()
        hydra = Hydra("linfit", _new_loader(flags))
        GlobalHydra.instance().initialize(hydra)
        yield hydra
    finally:
        Singleton.set_state(before)


def _new_loader(flags: argparse.Namespace) -> YamlFileLoader:
    """Return a loader of config files, also from the folders that the flags name."""
    path = create_search_path()
    for flag, folder, provider in (
        ("--config-path", flags.config_path, "main"),
        ("--config-dir", flags.config_dir, "schema"),
    ):
        if folder is None:
            continue
        if not Path(folder).is_dir():
            raise ConfigError(f"{flag} {folder!r} is no folder")
        address = locations.folder_url(Path(folder).absolute())
        path.prepend("command-line", address, anchor=SearchPathQuery(provider=provider))
    return YamlFileLoader(path)


def _compose(
    request: RunRequest, overrides: Sequence[str], mode: RunMode, log: bool = False, **options: bool
) -> DictConfig:
    composed: DictConfig = request.hydra.compose_config(
        request.experiment,
        list(overrides),
        run_mode=mode,
        with_log_configuration=log,
        **options,
    )
    return composed


def _is_study(request: RunRequest) -> bool:
    """Return True if the experiment declares in `hydra.mode` that it is a sweep."""
    overrides = defer_swept_values(request.overrides)
    composed = _compose(request, overrides, RunMode.MULTIRUN, validate_sweep_overrides=False)
    return bool(composed.hydra.mode == RunMode.MULTIRUN)


def _sweeper_key(composed: DictConfig) -> str:
    """Return the first setting of the sweeper that asks for a sweep; empty if there is none."""
    for key in ("params", "pairs", "grids", "sample", "filter"):
        if composed.hydra.sweeper.get(key):
            return key
    return ""


def _drop_replaced_params(composed: DictConfig) -> None:
    """Drop the basic sweeper's `params` that the command line gives in another spelling.

    In the same spelling Hydra replaces them itself.
    """
    params = list(map(str, composed.hydra.sweeper.get("params") or {}))
    bare = {key: Override.read(key).key for key in params}
    require_unique_keys(list(bare.values()))
    given = list(map(Override.read, read_raw_overrides(composed.hydra.overrides.task)))
    spelled = {f"{override.sign}{override.key}" for override in given}
    replaced = collect_keys(override.text for override in given)
    with open_dict(composed.hydra.sweeper):
        for key in params:
            if key not in spelled and bare[key] in replaced:
                del composed.hydra.sweeper.params[key]
