"""From YAML and overrides to a FitConfig.

Hydra composes plain data, and only our own types make objects of them.
"""

from __future__ import annotations

import importlib
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from importlib.metadata import entry_points
from typing import Any

from hydra._internal.utils import create_config_search_path
from hydra.core.config_search_path import ConfigSearchPath
from hydra.core.hydra_config import HydraConfig
from hydra.core.utils import setup_globals
from omegaconf import DictConfig, ListConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException
from pydantic import ValidationError

from linfit.component import ENTRY_POINTS
from linfit.config import ADHOC, GROUPS, FitConfig, flatten_config
from linfit.config_errors import describe_missing, explain_validation_errors
from linfit.errors import ConfigError
from linfit.override import Override
from linfit.sweeps.compose.nesting import find_parent_experiment
from linfit.sweeps.compose.origin import Origin, drop_stale_values
from linfit.sweeps.compose.piped_data import hold_passing_data
from linfit.sweeps.compose.plugin_modules import find_in_working_directory
from linfit.sweeps.config_files import search_path as locations
from linfit.sweeps.config_files.messages import (
    explain_interpolation,
    explain_missing_header,
    notify_user,
)
from linfit.sweeps.config_files.sources import YamlFileLoader
from linfit.tracking.write.caller_run import find_chosen_experiment

MISSING_VALUE = "???"
ENVIRONMENT_PREFIX = "${oc.env:"
#: References that are resolved in a text whose references to the environment are kept.
_REFERENCE = re.compile(r"\$\{(?!oc\.env:)[^${}]*\}")


def create_search_path() -> ConfigSearchPath:
    """Return the folders in which Hydra looks for config files."""
    return create_config_search_path(locations.folder_url(locations.shipped_folder(locations.CONF)))


def create_loader() -> YamlFileLoader:
    """Return a loader of config files.

    They may refer to `${hydra:…}` and `${now:…}`.
    """
    setup_globals()
    return YamlFileLoader(create_search_path())


def validate_composed(
    composed: DictConfig, origin: Origin, tell: Callable[[str], None] = notify_user
) -> FitConfig:
    """Validate a composed config; one-line ConfigError if it is no fit."""
    if "tracking" not in composed and "tracking" not in origin.keys:
        file = locations.find_experiments().get(origin.experiment, origin.experiment)
        raise ConfigError(
            explain_missing_header(origin.experiment)
            or f"{file} has no defaults: begin it with `defaults: [/linfit, _self_]`"
        )
    try:
        data = resolve_composed(composed)
    except OmegaConfBaseException as error:
        raise ConfigError(explain_interpolation(error)) from error
    return validate_data(data, origin, tell)


def validate_data(
    data: dict[str, Any], origin: Origin, tell: Callable[[str], None] = notify_user
) -> FitConfig:
    """Return plain data's fit config; one-line ConfigError if it is invalid."""
    load_plugins(data.get("plugins") or [])
    data = normalize_data(data, origin, tell)
    require_values(data)
    try:
        return hold_passing_data(FitConfig.model_validate(data))
    except ValidationError as error:
        raise ConfigError(
            explain_missing_header(origin.experiment)
            or explain_validation_errors(error) + _name_own_files(data, error)
        ) from error


def normalize_data(
    data: dict[str, Any], origin: Origin, tell: Callable[[str], None]
) -> dict[str, Any]:
    """Return a copy of the data with a name.

    It has no values of replaced components. ConfigError if an override deletes a key that every
    such fit has.
    """
    data = dict(data)
    if data.get("name") is None:
        data["name"] = infer_experiment_name(origin.experiment, data.get("tracking"))
    drop_stale_values(data, origin, tell)
    for text in origin.overrides:
        override = Override.read(text)
        if override.deletes and _has_default(data, override.key):
            raise ConfigError(
                f"{text} deletes what every such fit has: write the value that you want"
            )
    return data


def infer_experiment_name(experiment: str, tracking: Mapping[str, Any] | None) -> str:
    """Return the MLflow experiment of a fit whose config names none.

    The experiment of the caller's run goes first, then the file's name, then the caller's choice.
    """
    if above := find_parent_experiment(tracking):
        return above
    if experiment != locations.TOP_CONFIG:
        return experiment
    return find_chosen_experiment() or ADHOC


def require_values(data: dict[str, Any], given: Sequence[str] = ()) -> None:
    """Raise ConfigError if a key is ??? and not given."""
    lacking = []
    for key, value in flatten_config(data).items():
        if value == MISSING_VALUE and key not in given:
            lacking.append(describe_missing(tuple(key.split("."))))
    if lacking:
        raise ConfigError("; ".join(lacking))


def resolve_composed(composed: DictConfig) -> dict[str, Any]:
    """Return the composed config as plain data, with interpolations resolved.

    Environment variables are allowed in `tracking` only, where they stay references.
    """
    task = OmegaConf.masked_copy(composed, [str(key) for key in composed if key != "hydra"])
    written: Any = OmegaConf.to_container(task, resolve=False)
    resolved = {}
    with set_hydra_config(composed):
        for key, value in written.items():
            resolved[key] = _resolve(task, key, value, keep=key == "tracking")
    return resolved


@contextmanager
def set_hydra_config(composed: DictConfig) -> Iterator[None]:
    """Resolve `${hydra:runtime.cwd}` as while Hydra runs a job of this config."""
    shared = HydraConfig.instance()
    before = shared.cfg
    if "hydra" in composed:
        shared.cfg = OmegaConf.masked_copy(composed, "hydra")  # type: ignore[assignment]
        shared.cfg.hydra._set_parent(composed)  # type: ignore[union-attr]
    try:
        yield
    finally:
        shared.cfg = before


def load_plugins(modules: Sequence[str]) -> None:
    """Import the modules that define more components.

    They are the modules named, and installed plug-ins.
    """
    if isinstance(modules, str):
        raise ConfigError(f"plugins={modules} is no list: write plugins=[{modules}]")
    if not isinstance(modules, Sequence):
        raise ConfigError(
            f"plugins: got {modules!r}, must be a list of modules: plugins=[my_module]"
        )
    if strangers := [module for module in modules if not isinstance(module, str)]:
        raise ConfigError(f"plugins: got {strangers[0]!r}, must be the name of a module")
    for point in entry_points(group=ENTRY_POINTS):
        package = (point.dist or point).name
        what = f"the plug-in {point.value!r} of the installed package {package}"
        _import(point.load, what, "mend the package, or uninstall it")
    if modules:
        find_in_working_directory(modules)
    for module in modules:
        load = partial(importlib.import_module, module)
        absent = "name a module of the working directory or of an installed package"
        _import(load, f"plugins: {module!r}", "mend it", absent)


def _has_default(data: dict[str, Any], key: str) -> bool:
    """Return True if the config has a deleted key all the same, by a default of its class."""
    section, _, rest = key.partition(".")
    if section not in FitConfig.model_fields:
        return False
    part = data.get(section)
    if not rest:
        return part is None
    name = rest.partition(".")[0]
    if name in (part or {}):
        return False
    if section not in GROUPS:
        return True
    component = str(part.get("name", "")) if isinstance(part, dict) else ""
    chosen = GROUPS[section].choices.get(component)
    return chosen is not None and name in chosen.model_fields


def _resolve(node: Any, key: Any, written: Any, keep: bool) -> Any:
    """Return `node[key]` as plain data; `keep` leaves references to the environment."""
    if isinstance(written, dict):
        value = node[key]
        return {name: _resolve(value, name, part, keep) for name, part in written.items()}
    if isinstance(written, list):
        value = node[key]
        return [_resolve(value, index, part, keep) for index, part in enumerate(written)]

    if isinstance(written, str) and ENVIRONMENT_PREFIX in written:
        if not keep:
            raise ConfigError(
                f"{written} outside of tracking: a value from the environment would make a run "
                f"that nobody can repeat; write the value"
            )
        return _REFERENCE.sub(
            lambda found: str(OmegaConf.create({"part": found[0]}, parent=node)["part"]), written
        )
    if written == MISSING_VALUE:
        return MISSING_VALUE
    value = node[key]
    if isinstance(value, DictConfig | ListConfig):
        return OmegaConf.to_container(value, resolve=True)
    return value


def _import(load: Callable[[], Any], what: str, advice: str, absent: str = "") -> None:
    """Import a plug-in; ConfigError with advice, or with `absent` if there is no such module."""
    try:
        load()
    except (Exception, SystemExit) as error:  # `sys.exit` would look like a success of linfit
        if absent and isinstance(error, ModuleNotFoundError) and repr(error.name) in what:
            advice = absent
        raise ConfigError(
            f"{what} cannot be imported ({type(error).__name__}: {error}): {advice}"
        ) from error


def _name_own_files(data: dict[str, Any], error: ValidationError) -> str:
    """Return a hint with the user's own config files in which the mistake may be."""
    files: list[str] = []
    unregistered = False
    for group in {str(part["loc"][0]) for part in error.errors() if part["loc"]}:
        if group not in GROUPS or not isinstance(data.get(group), dict):
            continue
        name = str(data[group].get("name"))
        unregistered = unregistered or name not in GROUPS[group].choices
        file = locations.find_components(group).get(name)
        if file is not None and not file.is_relative_to(locations.shipped_folder(locations.CONF)):
            files.append(str(file))
    hint = ""
    if files and unregistered:
        hint = "; what a plug-in defines needs plugins=[MODULE]"
    for folder in locations.user_folders(locations.CONF):
        top = folder / f"{locations.TOP_CONFIG}.yaml"
        if top.exists():
            files.append(str(top))
    if not files:
        return ""
    return f" (from {', '.join(files)}{hint})"
