"""From YAML and overrides to a FitConfig. What Hydra composes is plain data, and only our own types make something of it."""

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
from linfit.config import ADHOC, GROUPS, FitConfig, explain, flatten
from linfit.errors import ConfigError
from linfit.sweeps import locations
from linfit.sweeps.explanation import explain_interpolation, notice, without_header
from linfit.sweeps.nesting import experiment_above
from linfit.sweeps.origin import Origin, drop_stale
from linfit.sweeps.passing import hold_passing_data
from linfit.sweeps.plugin_modules import find_in_working_directory
from linfit.sweeps.sources import Loader
from linfit.tracking.callers import chosen_experiment

MISSING = "???"
ENVIRONMENT = "${oc.env:"
#: What is resolved beside a reference to the environment that stays one.
_REFERENCE = re.compile(r"\$\{(?!oc\.env:)[^${}]*\}")


def search_path() -> ConfigSearchPath:
    return create_config_search_path(locations.url(locations.shipped(locations.CONF)))


def new_loader() -> Loader:
    """Return a loader of config files, with what they may refer to: `${hydra:…}`, `${now:…}`."""
    setup_globals()
    return Loader(search_path())


def fit_config(
    composed: DictConfig, origin: Origin, tell: Callable[[str], None] = notice
) -> FitConfig:
    """Validate what Hydra composed; ConfigError with one line if it is no fit."""
    if "tracking" not in composed and "tracking" not in origin.keys:
        file = locations.experiments().get(origin.experiment, origin.experiment)
        raise ConfigError(
            without_header(origin.experiment)
            or f"{file} has no defaults: begin it with `defaults: [/linfit, _self_]`"
        )
    try:
        data = plain(composed)
    except OmegaConfBaseException as error:
        raise ConfigError(explain_interpolation(error)) from error
    return validated(data, origin, tell)


def validated(
    data: dict[str, Any], origin: Origin, tell: Callable[[str], None] = notice
) -> FitConfig:
    """The fit config that plain data describe; ConfigError with one line if they describe none."""
    load_plugins(data.get("plugins") or [])
    data = complete(data, origin, tell)
    require_values(data)
    try:
        return hold_passing_data(FitConfig.model_validate(data))
    except ValidationError as error:
        raise ConfigError(
            without_header(origin.experiment) or explain(error) + _shadowed(data, error)
        ) from error


def complete(data: dict[str, Any], origin: Origin, tell: Callable[[str], None]) -> dict[str, Any]:
    """A copy of the data with the experiment's name where there is none, and without what replaced components lack."""
    data = dict(data)
    if data.get("name") is None:
        data["name"] = default_name(origin.experiment, data.get("tracking"))
    drop_stale(data, origin, tell)
    for override in origin.overrides:
        if override.startswith("~") and _deletes_ours(
            data, override.removeprefix("~").partition("=")[0]
        ):
            raise ConfigError(
                f"{override} deletes what every such fit has: write the value that you want"
            )
    return data


def default_name(experiment: str, tracking: Mapping[str, Any] | None) -> str:
    """Return the MLflow experiment of what nobody has named: that of the caller's run, else what the file or the caller says."""
    if above := experiment_above(tracking):
        return above
    if experiment != locations.TOP:
        return experiment
    return chosen_experiment() or ADHOC


def require_values(data: dict[str, Any], given: Sequence[str] = ()) -> None:
    """ConfigError where the data say ??? of a key that is not among the given."""
    if lacking := [
        key for key, value in flatten(data).items() if value == MISSING and key not in given
    ]:
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
    chosen = (
        GROUPS[section].choices.get(str(part.get("name", ""))) if isinstance(part, dict) else None
    )
    return chosen is not None and name in chosen.model_fields and name not in (part or {})


def plain(composed: DictConfig) -> dict[str, Any]:
    """The composed config as plain data, interpolations resolved. Environment variables are for `tracking` alone, where they stay references."""
    task = OmegaConf.masked_copy(composed, [str(key) for key in composed if key != "hydra"])
    written = OmegaConf.to_container(task, resolve=False)
    resolved: Any = {}
    with set_hydra_config(composed):
        for key in task:
            resolved[key] = _resolve(task, str(key), written[key], keep=key == "tracking")  # type: ignore[index]
    return resolved  # type: ignore[no-any-return]


@contextmanager
def set_hydra_config(composed: DictConfig) -> Iterator[None]:
    """Let `${hydra:runtime.cwd}` be resolved, as while Hydra runs a job of what it has composed."""
    shared = HydraConfig.instance()
    before = shared.cfg
    if "hydra" in composed:
        shared.cfg = OmegaConf.masked_copy(composed, "hydra")  # type: ignore[assignment]
        shared.cfg.hydra._set_parent(composed)  # type: ignore[union-attr]
    try:
        yield
    finally:
        shared.cfg = before


def _resolve(node: Any, key: Any, written: Any, keep: bool) -> Any:
    if isinstance(written, str) and ENVIRONMENT in written:
        if keep:
            return _REFERENCE.sub(
                lambda found: str(OmegaConf.create({"part": found[0]}, parent=node)["part"]),
                written,
            )
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
    return (
        OmegaConf.to_container(value, resolve=True)
        if isinstance(value, DictConfig | ListConfig)
        else value
    )


def load_plugins(modules: Sequence[str]) -> None:
    """Imports the modules that define more components: those named, and those installed under the entry point group."""
    if isinstance(modules, str):
        raise ConfigError(f"plugins={modules} is no list: write plugins=[{modules}]")
    if not isinstance(modules, Sequence):
        raise ConfigError(
            f"plugins: got {modules!r}, must be a list of modules: plugins=[my_module]"
        )
    if strangers := [module for module in modules if not isinstance(module, str)]:
        raise ConfigError(f"plugins: got {strangers[0]!r}, must be the name of a module")
    for point in entry_points(group=ENTRY_POINTS):
        package = point.dist.name if point.dist is not None else point.name
        _import(
            point.load,
            f"the plug-in {point.value!r} of the installed package {package}",
            "mend the package, or uninstall it",
        )
    if modules:
        find_in_working_directory(modules)
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
    except (
        Exception,
        SystemExit,
    ) as error:  # a module that calls sys.exit would end this program as if all were well
        if absent and isinstance(error, ModuleNotFoundError) and repr(error.name) in what:
            advice = absent
        raise ConfigError(
            f"{what} cannot be imported ({type(error).__name__}: {error}): {advice}"
        ) from error


def _shadowed(data: dict[str, Any], error: ValidationError) -> str:
    """Names the user's own file where it hides one of ours, because the mistake may stand there."""
    wrong = {str(part["loc"][0]) for part in error.errors() if part["loc"]}
    named = {
        group: str(data[group].get("name"))
        for group in wrong
        if group in GROUPS and isinstance(data.get(group), dict)
    }
    files = [locations.components(group).get(name) for group, name in named.items()]
    own = [
        str(file)
        for file in files
        if file is not None and not file.is_relative_to(locations.shipped(locations.CONF))
    ]
    top = [
        str(folder / f"{locations.TOP}.yaml")
        for folder in locations.users(locations.CONF)
        if (folder / f"{locations.TOP}.yaml").exists()
    ]
    strange = any(name not in GROUPS[group].choices for group, name in named.items())
    hint = "; what a plug-in defines needs plugins=[MODULE]" if own and strange else ""
    return f" (from {', '.join(own + top)}{hint})" if own + top else ""
