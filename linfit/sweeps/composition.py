"""From YAML and overrides to a FitConfig. What Hydra composes is plain data, and only our own types make something of it."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Callable, Sequence
from functools import partial
from importlib.metadata import entry_points
from pathlib import Path
from typing import Any

from hydra._internal.config_loader_impl import ConfigLoaderImpl
from hydra._internal.utils import create_config_search_path
from hydra.core.config_loader import ConfigLoader
from hydra.types import RunMode
from omegaconf import DictConfig, ListConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException
from pydantic import ValidationError

from linfit.component import ENTRY_POINTS
from linfit.config import ADHOC, GROUPS, FitConfig, explain, flatten
from linfit.errors import ConfigError
from linfit.sweeps import locations
from linfit.sweeps.explanation import UNCOMPOSED, explain_composition, notice, without_header

MISSING = "???"
ENVIRONMENT = "${oc.env:"


def compose(arguments: Sequence[str] = ()) -> FitConfig:
    """The fit config of an experiment and overrides, as `linfit run` would compose it.

    >>> import linfit
    >>> linfit.compose(["article/linear_adam", "optimizer.lr=0.1"]).optimizer.lr
    0.1

    Raises ConfigError, which is a ValueError, with one line that says what came, what is allowed and what to do.
    """
    return fit_config(*load(arguments))


def load(arguments: Sequence[str]) -> tuple[DictConfig, list[str], str]:
    """What Hydra composes of an experiment and overrides; the overrides; the experiment."""
    experiment, overrides = split(arguments)
    loader = ConfigLoaderImpl(search_path())
    try:
        composed = loader.load_configuration(experiment, overrides, run_mode=RunMode.RUN)
    except (*UNCOMPOSED, OSError) as error:
        raise ConfigError(explain_composition(error, loader, experiment)) from error
    return composed, overrides, experiment


def swept(composed: DictConfig, overrides: Sequence[str]) -> list[str]:
    """The keys that a study sweeps over and that no override fixes; none where the experiment is one fit."""
    if composed.hydra.mode != RunMode.MULTIRUN:
        return []
    sweeper, given = composed.hydra.sweeper, {override.lstrip("+").split("=", 1)[0] for override in overrides}
    grids = [sweeper.get("params") or {}, *(sweeper.get("grids") or [])]
    keys = [key for grid in grids for key in grid] + [key for pair in sweeper.get("pairs") or [] for key in pair.get("keys", [])]
    return [str(key) for key in dict.fromkeys(keys) if key not in given]


def split(arguments: Sequence[str]) -> tuple[str, list[str]]:
    """The experiment and the overrides: an experiment is the argument that is no override."""
    if isinstance(arguments, str):
        raise ConfigError(f"got the text {arguments!r}, must be a list of an experiment and overrides: [{arguments!r}]")
    for argument in arguments:
        key, _, value = argument.lstrip("+").partition("=")
        if key in GROUPS and value.startswith("["):
            raise ConfigError(
                f"{argument}: {key} is one component, not a list: choose one, or sweep over several with -m {key}={value.strip('[]')}"
            )
        if key in GROUPS and value == "null":
            raise ConfigError(f"{argument} chooses no {key}: there are {', '.join(locations.components(key))}")
        if "=" not in argument and (key.partition(".")[0] in FitConfig.model_fields):
            raise ConfigError(f"{argument} has no value: an override is KEY=VALUE")
    names = [argument for argument in arguments if "=" not in argument and not argument.startswith("~")]
    if len(names) > 1:
        raise ConfigError(f"one experiment at a time, got {' and '.join(names)}: an override is KEY=VALUE")
    return (names[0] if names else locations.TOP), [argument for argument in arguments if argument not in names]


def search_path() -> Any:
    return create_config_search_path(locations.url(locations.shipped(locations.CONF)))


def new_loader() -> ConfigLoader:
    return ConfigLoaderImpl(search_path())


def fit_config(composed: DictConfig, overrides: Sequence[str], experiment: str) -> FitConfig:
    """Validates what Hydra composed for `experiment`; `overrides` are the command line's, which say what replaced what."""
    if "tracking" not in composed and not any(override.startswith("~tracking") for override in overrides):
        file = locations.experiments().get(experiment, experiment)
        raise ConfigError(without_header(experiment) or f"{file} has no defaults: begin it with `defaults: [/linfit, _self_]`")
    try:
        data = plain(composed)
    except OmegaConfBaseException as error:
        raise ConfigError(str(error).splitlines()[0]) from error
    return validated(data, overrides, experiment)


def validated(data: dict[str, Any], overrides: Sequence[str], experiment: str, tell: Callable[[str], None] = notice) -> FitConfig:
    """The fit config that plain data describe; ConfigError with one line if they describe none."""
    data = complete(data, overrides, experiment, tell)
    require_values(data)
    try:
        return FitConfig.model_validate(data)
    except ValidationError as error:
        raise ConfigError(without_header(experiment) or explain(error) + _shadowed(data, error)) from error


def complete(data: dict[str, Any], overrides: Sequence[str], experiment: str, tell: Callable[[str], None]) -> dict[str, Any]:
    """A copy of the data with the experiment's name where there is none, and without what replaced components lack; plug-ins are loaded."""
    load_plugins(data.get("plugins") or [])
    name = data.get("name")
    data = {**data, "name": (ADHOC if experiment == locations.TOP else experiment) if name is None else name}
    drop_stale(data, overrides, tell)
    for override in overrides:
        if override.startswith("~") and _deletes_ours(data, override.removeprefix("~").partition("=")[0]):
            raise ConfigError(f"{override} deletes what every such fit has: write the value that you want")
    return data


def require_values(data: dict[str, Any], given: Sequence[str] = ()) -> None:
    """ConfigError where the data say ??? of a key that is not among the given."""
    if lacking := [key for key, value in flatten(data).items() if value == MISSING and key not in given]:
        raise ConfigError("; ".join(f"{key} is required" for key in lacking))


def _deletes_ours(data: dict[str, Any], key: str) -> bool:
    """Whether a deleted key is one that the config has all the same, with a default that stands in no file."""
    section, _, rest = key.partition(".")
    part = data.get(section)
    if section not in FitConfig.model_fields or not rest:
        return section in FitConfig.model_fields and part is None
    name = rest.partition(".")[0]
    if section not in GROUPS:
        return name not in (part or {})
    chosen = GROUPS[section].choices.get(str(part.get("name", ""))) if isinstance(part, dict) else None
    return chosen is not None and name in chosen.model_fields and name not in (part or {})


def plain(composed: DictConfig) -> dict[str, Any]:
    """The composed config as plain data, interpolations resolved. Environment variables are for `tracking` alone, where they stay references."""
    task = OmegaConf.masked_copy(composed, [str(key) for key in composed if key != "hydra"])
    written = OmegaConf.to_container(task, resolve=False)
    resolved: Any = {}
    for key in task:
        resolved[key] = _resolve(task, str(key), written[key], keep=key == "tracking")  # type: ignore[index]
    return resolved  # type: ignore[no-any-return]


def _resolve(node: Any, key: Any, written: Any, keep: bool) -> Any:
    if isinstance(written, str) and ENVIRONMENT in written:
        if keep:
            return written
        raise ConfigError(
            f"{written} outside of tracking: a value from the environment would make a run that nobody can repeat; write the value"
        )
    if isinstance(written, str) and written == MISSING:
        return MISSING
    value = node[key]
    if isinstance(value, DictConfig | ListConfig) and not isinstance(written, str):
        if isinstance(written, dict):
            return {name: _resolve(value, name, part, keep) for name, part in written.items()}
        return [_resolve(value, place, part, keep) for place, part in enumerate(written)]
    return OmegaConf.to_container(value, resolve=True) if isinstance(value, DictConfig | ListConfig) else value


def drop_stale(data: dict[str, Any], overrides: Sequence[str], tell: Callable[[str], None] = notice) -> None:
    """Where an override replaced a component, drops the experiment's values for that group that the new component lacks."""
    given = {override.lstrip("+").split("=", 1)[0] for override in overrides}
    for group, base in GROUPS.items():
        values = data.get(group)
        if group not in given or not isinstance(values, dict) or (chosen := base.choices.get(str(values.get("name")))) is None:
            continue
        stale = [key for key in values if key not in chosen.model_fields and f"{group}.{key}" not in given]
        data[group] = {key: value for key, value in values.items() if key not in stale}
        for key in stale:
            tell(f"{group}={values['name']} has no {key}: the experiment's {group}.{key}={values[key]} is left out")


def load_plugins(modules: Sequence[str]) -> None:
    """Imports the modules that define more components: those named, and those installed under the entry point group."""
    if isinstance(modules, str):
        raise ConfigError(f"plugins={modules} is no list: write plugins=[{modules}]")
    if not isinstance(modules, Sequence):
        raise ConfigError(f"plugins: got {modules!r}, must be a list of modules: plugins=[my_module]")
    if strangers := [module for module in modules if not isinstance(module, str)]:
        raise ConfigError(f"plugins: got {strangers[0]!r}, must be the name of a module")
    for point in entry_points(group=ENTRY_POINTS):
        package = point.dist.name if point.dist is not None else point.name
        _import(point.load, f"the plug-in {point.value!r} of the installed package {package}", "mend the package, or uninstall it")
    if modules and str(Path.cwd()) not in sys.path:
        sys.path.insert(0, str(Path.cwd()))  # as for a script: a module beside the experiments is found
    for module in modules:
        _import(
            partial(importlib.import_module, module),
            f"plugins: {module!r}",
            "mend it",
            "name a module of the working directory or of an installed package",
        )


def _import(load: Callable[[], Any], what: str, advice: str, absent: str = "") -> None:
    """Imports; ConfigError with the advice where that fails, with what `absent` says where the module itself is not there."""
    try:
        load()
    except (Exception, SystemExit) as error:  # a module that calls sys.exit would end this program as if all were well
        if absent and isinstance(error, ModuleNotFoundError) and repr(error.name) in what:
            advice = absent
        raise ConfigError(f"{what} cannot be imported ({type(error).__name__}: {error}): {advice}") from error


def _shadowed(data: dict[str, Any], error: ValidationError) -> str:
    """Names the user's own file where it hides one of ours, because the mistake may stand there."""
    wrong = {str(part["loc"][0]) for part in error.errors() if part["loc"]}
    named = {group: str(data[group].get("name")) for group in wrong if group in GROUPS and isinstance(data.get(group), dict)}
    files = [locations.components(group).get(name) for group, name in named.items()]
    own = [str(file) for file in files if file is not None and not file.is_relative_to(locations.shipped(locations.CONF))]
    top = [
        str(folder / f"{locations.TOP}.yaml") for folder in locations.users(locations.CONF) if (folder / f"{locations.TOP}.yaml").exists()
    ]
    strange = any(name not in GROUPS[group].choices for group, name in named.items())
    hint = "; what a plug-in defines needs plugins=[MODULE]" if own and strange else ""
    return f" (from {', '.join(own + top)}{hint})" if own + top else ""
