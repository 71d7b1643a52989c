"""Requests of a command line: flags, an experiment, overrides; and their composed config."""

from __future__ import annotations

import argparse
import posixpath
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import pairwise, takewhile
from pathlib import Path
from typing import Any, NoReturn

from hydra._internal.callbacks import Callbacks
from hydra._internal.hydra import Hydra
from hydra._internal.utils import get_args_parser
from hydra.core.config_search_path import SearchPathQuery
from hydra.core.global_hydra import GlobalHydra
from hydra.core.plugins import Plugins
from hydra.core.singleton import Singleton
from hydra.plugins.sweeper import Sweeper
from hydra.types import HydraContext, RunMode, TaskFunction
from omegaconf import DictConfig, open_dict

from linfit.component import describe_unknown
from linfit.config import GROUPS, FitConfig
from linfit.engine.caller_settings import isolate_from_caller
from linfit.errors import ConfigError, LinfitError
from linfit.override import Override
from linfit.sweeps.compose.compose import create_search_path, set_hydra_config, validate_composed
from linfit.sweeps.compose.origin import Origin
from linfit.sweeps.config_files import search_path as locations
from linfit.sweeps.config_files.messages import (
    COMPOSITION_ERRORS,
    explain_composition,
    notify_user,
    tell_of_replaced_top,
)
from linfit.sweeps.config_files.number_grids import expand_number_grids
from linfit.sweeps.config_files.overrides import (
    collect_keys,
    read_raw_overrides,
    require_unique_keys,
    settle_repeated_keys,
)
from linfit.sweeps.config_files.quoting import quote_column_names
from linfit.sweeps.config_files.sources import YamlFileLoader
from linfit.sweeps.search_space.sweeper import LABEL, defer_swept_values
from linfit.system.host import quote_word

#: Hydra's sweeper of grids: first the command line, then the keys of its `params`.
BASIC_SWEEPER = "hydra._internal.core_plugins.basic_sweeper.BasicSweeper"
#: The launcher whose fits are children of one run; every other one's are runs of their own.
LINFIT_LAUNCHER = "hydra_plugins.linfit.launcher.LinfitLauncher"
#: Flags of Hydra that choose one way to go on.
_MODES = ("run", "multirun", "cfg", "info", "shell_completion")


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
        _require_no_blank(flags.overrides)
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


def split_arguments(arguments: Sequence[str]) -> tuple[str, list[str]]:
    """Return experiment and overrides; the experiment is the argument without `=`."""
    if isinstance(arguments, str):
        raise ConfigError(
            f"got the text {arguments!r}, must be a list of an experiment and overrides: "
            f"[{arguments!r}]"
        )
    names: list[str] = []
    overrides: list[str] = []
    for argument in arguments:
        override = Override.read(argument)
        if argument and not override.key:
            raise ConfigError(f"{argument} names no key: an override is KEY=VALUE")
        if override.value is None and not override.deletes:
            names.append(resolve_experiment(argument))
        else:
            _require_choice(override)
            overrides.append(quote_column_names(expand_number_grids(argument)))
    if len(names) > 1:
        raise ConfigError(
            f"one experiment at a time, got {' and '.join(names)}: an override is KEY=VALUE"
        )
    if not names:
        return locations.TOP_CONFIG, overrides
    return names[0], overrides


def _require_no_blank(arguments: Sequence[str]) -> None:
    """Raise ConfigError if a value was typed with a blank and without quotes.

    The shell has split it, and its second half would be an experiment.
    """
    known = locations.find_experiments()
    for place, (before, word) in enumerate(pairwise(arguments), 1):
        if Override.read(before).value is None or not _is_word(word):
            continue
        if resolve_experiment(word) not in known:
            value = " ".join([before, *takewhile(_is_word, arguments[place:])])
            raise ConfigError(
                f"{describe_unknown('experiment', word, list(known))}; if it belongs to {before}, "
                f"a value with a blank stands in quotes: {quote_word(value)}"
            )


def _is_word(argument: str) -> bool:
    """Return True for an argument that is no override."""
    override = Override.read(argument)
    return override.value is None and not override.deletes


def resolve_experiment(argument: str) -> str:
    """Return the name of an experiment.

    It may be given as a file: `experiments/base.yaml`. ConfigError if it is a key without a value.
    """
    known = locations.find_experiments()
    name = argument
    if argument:
        name = posixpath.normpath(argument.removesuffix(".yaml"))
    if name in known:
        return name
    file = Path(f"{name}.yaml").absolute()
    for other, path in known.items():
        if path.absolute() == file:
            return other
    section = Override.read(argument).key.partition(".")[0]
    if section in FitConfig.model_fields and not argument.endswith(".yaml"):
        raise ConfigError(f"{argument} has no value: an override is KEY=VALUE")
    return name


def parse_flags(arguments: Sequence[str]) -> argparse.Namespace:
    """Read Hydra's flags; ConfigError if wrong or incompatible."""
    parser = get_args_parser()

    def error(message: str) -> NoReturn:
        raise ConfigError(f"{message}: `linfit run --help` lists the flags")

    parser.error = error  # type: ignore[method-assign]
    flags: argparse.Namespace = parser.parse_intermixed_args(list(arguments))
    several = [mode for mode in _MODES if getattr(flags, mode)]
    if len(several) > 1:
        raise ConfigError(f"only one of --{' and --'.join(several)} at a time")
    if flags.resolve and not (flags.cfg or flags.help):
        raise ConfigError("--resolve goes with --cfg or --help")
    return flags


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


def _require_choice(override: Override) -> None:
    """Raise ConfigError if an override chooses several components of a group, or none."""
    group = override.key
    value = override.value or ""
    if group not in GROUPS or override.deletes:
        return
    if value.startswith("["):
        one = value.strip("[]")
        raise ConfigError(
            f"{override.text}: {group} is one component, not a list: choose one, "
            f"or sweep over several with -m {group}={one}"
        )
    if value == "null":
        raise ConfigError(
            f"{override.text} chooses no {group}: "
            f"there are {', '.join(locations.find_components(group))}"
        )
