"""What a command line asks for, as every command reads it: flags, an experiment, overrides; and what Hydra composes of it."""

from __future__ import annotations

import argparse
import posixpath
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn

from hydra._internal.callbacks import Callbacks
from hydra._internal.hydra import Hydra
from hydra._internal.utils import get_args_parser
from hydra.core.config_search_path import ConfigSearchPath, SearchPathQuery
from hydra.core.global_hydra import GlobalHydra
from hydra.core.plugins import Plugins
from hydra.core.singleton import Singleton
from hydra.plugins.sweeper import Sweeper
from hydra.types import HydraContext, RunMode, TaskFunction
from omegaconf import DictConfig, open_dict

from linfit.config import GROUPS, FitConfig
from linfit.engine.surroundings import isolated
from linfit.errors import ConfigError, LinfitError
from linfit.sweeps import locations
from linfit.sweeps.composition import fit_config, search_path, set_hydra_config
from linfit.sweeps.explanation import UNCOMPOSED, explain_composition, notice, tell_of_own_top
from linfit.sweeps.origin import Origin
from linfit.sweeps.overrides import (
    all_keys,
    parse_overrides,
    read_raw,
    require_once,
    settle_repeats,
)
from linfit.sweeps.quoting import keep_names
from linfit.sweeps.sources import Loader
from linfit.sweeps.ways import deferred

#: Hydra's sweeper of grids, which takes what stands on the command line first and then for the keys of its `params`.
BASIC = "hydra._internal.core_plugins.basic_sweeper.BasicSweeper"
#: The launcher whose fits are children of one run; every other one's are runs of their own.
LAUNCHER = "hydra_plugins.linfit.launcher.LinfitLauncher"


@dataclass(frozen=True)
class Request:
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
def open_request(arguments: Sequence[str]) -> Iterator[Request]:
    """Read a command line, and start Hydra for it; ConfigError where the line says nothing that can be done."""
    flags = parse_flags(arguments)
    tell_of_own_top()
    experiment, overrides = split(flags.overrides)
    if flags.config_name:
        experiment = experiment_name(flags.config_name)
    overrides = settle_repeats(overrides)
    with hydra_for(flags) as hydra:
        yield Request(flags, experiment, overrides, hydra)


def request_fit(arguments: Sequence[str]) -> Request:
    """Read an experiment and overrides, without flags, for one fit that is composed and not run by Hydra."""
    experiment, overrides = split(arguments)
    tell_of_own_top()
    hydra = Hydra("linfit", Loader(search_path()))
    return Request(parse_flags(()), experiment, settle_repeats(overrides), hydra)


@contextmanager
def explained(request: Request) -> Iterator[None]:
    """Raise what Hydra raises as a ConfigError of one line."""
    try:
        yield
    except LinfitError:
        raise
    except (*UNCOMPOSED, ValueError, OSError) as error:
        raise ConfigError(explain_composition(error, request.loader, request.experiment)) from error


@isolated
def compose(arguments: Sequence[str] = ()) -> FitConfig:
    """The fit config of an experiment and overrides, as `linfit run` would compose it.

    >>> import linfit
    >>> linfit.compose(["article/linear_adam", "optimizer.lr=0.1"]).optimizer.lr
    0.1

    Raises ConfigError, which is a ValueError, with one line that says what came, what is allowed and what to do.
    """
    request = request_fit(arguments)
    with explained(request):
        return compose_fit(request).config


@dataclass(frozen=True)
class ComposedFit:
    """One fit: what Hydra composed, the config that it is, and the overrides as they were typed."""

    composed: DictConfig
    config: FitConfig
    overrides: list[str]


def compose_fit(request: Request) -> ComposedFit:
    """Compose and validate one fit, also of an experiment that says how to sweep."""
    return validate_fit(request, _compose_run(request))


def compose_unless_sweep(request: Request, log: bool = False) -> DictConfig | None:
    """Compose the one fit that is asked for; None if a sweep is: the flags say so, or a study in `hydra.mode`.

    `log` sets up logging, as Hydra does before it runs.
    """
    if request.flags.multirun:
        return None
    try:
        composed = _compose_run(request, log)
    except Exception:  # of any kind: a sweep leaves open, or varies, what one fit has to say
        if _is_study(request):
            return None
        raise
    return None if composed.hydra.mode == RunMode.MULTIRUN else composed


def validate_fit(request: Request, composed: DictConfig) -> ComposedFit:
    """Validate the one fit that Hydra composed."""
    if any(override.lstrip("+").startswith("hydra.sweeper.") for override in request.overrides):
        raise ConfigError("hydra.sweeper says how to sweep, and this is one fit: add -m")
    if composed.hydra.mode is None and (key := _sweeper_key(composed)):
        notice(
            f"note: {request.experiment} has hydra.sweeper.{key}, and this is one fit: "
            f"to sweep, add -m, or write hydra.mode: MULTIRUN beside it"
        )
    with set_hydra_config(composed):
        composed.hydra.runtime.output_dir = str(Path(str(composed.hydra.run.dir)).absolute())
    origin = Origin.of(composed.hydra, request.loader)
    return ComposedFit(composed, fit_config(composed, origin), list(origin.overrides))


def _compose_run(request: Request, log: bool = False) -> DictConfig:
    composed: DictConfig = request.hydra.compose_config(
        request.experiment, request.overrides, run_mode=RunMode.RUN, with_log_configuration=log
    )
    return composed


def swept_keys(fit: ComposedFit) -> list[str]:
    """The keys that a study sweeps over and that no override fixes; none where the experiment is one fit."""
    if fit.composed.hydra.mode != RunMode.MULTIRUN:
        return []
    sweeper, given = fit.composed.hydra.sweeper, all_keys(parse_overrides(fit.overrides))
    grids = [sweeper.get("params") or {}, *(sweeper.get("grids") or [])]
    keys = [key for grid in grids for key in grid] + [
        key for pair in sweeper.get("pairs") or [] for key in pair.get("keys", [])
    ]
    return [str(key) for key in dict.fromkeys(keys) if key not in given]


def _is_study(request: Request) -> bool:
    """Return True if the experiment says in `hydra.mode` that it is a sweep."""
    composed = request.hydra.compose_config(
        request.experiment,
        deferred(request.overrides),
        run_mode=RunMode.MULTIRUN,
        with_log_configuration=False,
        validate_sweep_overrides=False,
    )
    return bool(composed.hydra.mode == RunMode.MULTIRUN)


def compose_sweep(request: Request, log: bool = False) -> DictConfig:
    """Compose what a sweep's jobs have in common, its sweeper and its launcher; jobs are composed one by one."""
    overrides = [*deferred(request.overrides), "hydra.mode=MULTIRUN"]
    composed = request.hydra.compose_config(
        request.experiment, overrides, run_mode=RunMode.MULTIRUN, with_log_configuration=log
    )
    if composed.hydra.sweeper.get("_target_") == BASIC:
        _give_way(composed)
    return composed


def new_sweeper(
    request: Request, composed: DictConfig, task: TaskFunction, callbacks: Callbacks
) -> Sweeper:
    """Return the sweeper of a composed sweep, set up with its launcher."""
    context = HydraContext(config_loader=request.loader, callbacks=callbacks)
    return Plugins.instance().instantiate_sweeper(
        config=composed, hydra_context=context, task_function=task
    )


def _sweeper_key(composed: DictConfig) -> str:
    """Return the first key of the sweeper's settings that asks for a sweep; empty if there is none."""
    settings = composed.hydra.sweeper
    return next(
        (key for key in ("params", "pairs", "grids", "sample", "filter") if settings.get(key)), ""
    )


def _give_way(composed: DictConfig) -> None:
    """Leave out those of the basic sweeper's `params` that the command line gives in another spelling.

    In the same spelling Hydra replaces them itself.
    """
    params = composed.hydra.sweeper.get("params") or {}
    require_once([str(key).lstrip("+~") for key in params])
    parsed = parse_overrides(read_raw(composed.hydra.overrides.task))
    with open_dict(composed.hydra.sweeper):
        for key in set(params) - {override.get_key_element() for override in parsed}:
            if str(key).lstrip("+~") in all_keys(parsed):
                del params[key]


def split(arguments: Sequence[str]) -> tuple[str, list[str]]:
    """The experiment and the overrides: an experiment is the argument that is no override."""
    if isinstance(arguments, str):
        raise ConfigError(
            f"got the text {arguments!r}, must be a list of an experiment and overrides: [{arguments!r}]"
        )
    names: list[str] = []
    overrides: list[str] = []
    for argument in arguments:
        key, equals, value = argument.lstrip("+").partition("=")
        if equals or argument.startswith("~"):
            _require_choice(argument, key, value)
            overrides.append(keep_names(argument))
        else:
            names.append(experiment_name(argument))
    if len(names) > 1:
        raise ConfigError(
            f"one experiment at a time, got {' and '.join(names)}: an override is KEY=VALUE"
        )
    return (names[0] if names else locations.TOP), overrides


def _require_choice(argument: str, group: str, value: str) -> None:
    """ConfigError where an override chooses several components of a group, or none."""
    if group in GROUPS and value.startswith("["):
        one = value.strip("[]")
        raise ConfigError(
            f"{argument}: {group} is one component, not a list: choose one, or sweep over several with -m {group}={one}"
        )
    if group in GROUPS and value == "null":
        raise ConfigError(
            f"{argument} chooses no {group}: there are {', '.join(locations.components(group))}"
        )


def experiment_name(argument: str) -> str:
    """Return the name of an experiment, which may be given as its file: `base.yaml`, `experiments/base.yaml`.

    ConfigError where it is none and names a key, which lacks its value then.
    """
    known = locations.experiments()
    name = posixpath.normpath(argument.removesuffix(".yaml")) if argument else argument
    if name in known:
        return name
    file = Path(f"{name}.yaml").absolute()
    if found := next((other for other, path in known.items() if path.absolute() == file), None):
        return found
    if argument.lstrip("+").partition(".")[0] in FitConfig.model_fields and not argument.endswith(
        ".yaml"
    ):
        raise ConfigError(f"{argument} has no value: an override is KEY=VALUE")
    return name


def parse_flags(arguments: Sequence[str]) -> argparse.Namespace:
    """Read Hydra's flags; ConfigError where they are wrong, or do not go together."""
    parser = get_args_parser()

    def error(message: str) -> NoReturn:
        raise ConfigError(f"{message}: `linfit run --help` lists the flags")

    parser.error = error  # type: ignore[method-assign]
    flags: argparse.Namespace = parser.parse_intermixed_args(list(arguments))
    several = [
        flag
        for flag in ("run", "multirun", "cfg", "info", "shell_completion")
        if getattr(flags, flag)
    ]
    if len(several) > 1:
        raise ConfigError(f"only one of --{' and --'.join(several)} at a time")
    if flags.resolve and not (flags.cfg or flags.help):
        raise ConfigError("--resolve goes with --cfg or --help")
    return flags


@contextmanager
def hydra_for(flags: argparse.Namespace) -> Iterator[Hydra]:
    """Hydra on linfit's search path; its global state is afterwards as it was before."""
    before = Singleton.get_state()
    try:
        GlobalHydra.instance().clear()
        hydra = Hydra("linfit", Loader(_search_path(flags)))
        GlobalHydra.instance().initialize(hydra)
        yield hydra
    finally:
        Singleton.set_state(before)


def _search_path(flags: argparse.Namespace) -> ConfigSearchPath:
    path: ConfigSearchPath = search_path()
    for flag, folder in (("--config-path", flags.config_path), ("--config-dir", flags.config_dir)):
        if folder is None:
            continue
        if not Path(folder).is_dir():
            raise ConfigError(f"{flag} {folder!r} is no folder")
        anchor = (
            SearchPathQuery(provider="schema")
            if flag == "--config-dir"
            else SearchPathQuery(provider="main")
        )
        path.prepend("command-line", f"file://{Path(folder).absolute()}", anchor=anchor)
    return path
