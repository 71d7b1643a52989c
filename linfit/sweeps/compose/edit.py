"""Changes of a config that exists already: `KEY=VALUE`, as on `linfit run`'s command line."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import OverrideType, ValueType
from hydra.errors import HydraException
from pydantic import ValidationError

from linfit.component import describe_unknown
from linfit.config import GROUPS, FitConfig
from linfit.config_errors import explain_validation_errors
from linfit.errors import ConfigError
from linfit.sweeps.config_files.number_grids import expand_number_grids


def apply_changes(config: FitConfig, settings: Sequence[str]) -> FitConfig:
    """Return the config with other values; ConfigError if it is invalid.

    A group's key chooses another component, with its defaults.
    """
    if not settings:
        return config
    data = config.as_dict()
    for setting in settings:
        key, value = _parse_setting(setting)
        _put(data, key, value)
    try:
        return FitConfig.model_validate(data).resolved()
    except ValidationError as error:
        raise ConfigError(explain_validation_errors(error)) from error
    except ValueError as error:  # a device that is absent
        raise ConfigError(str(error)) from error


def _parse_setting(setting: str) -> tuple[str, Any]:
    try:
        override = OverridesParser.create().parse_override(expand_number_grids(setting))
    except HydraException as error:
        raise ConfigError(
            f"{setting!r} is no KEY=VALUE: write it as for `linfit run`, as in optimizer.lr=0.1"
        ) from error
    is_value = override.value_type is ValueType.ELEMENT and override.package is None
    if override.type is not OverrideType.CHANGE or not is_value:
        raise ConfigError(f"{setting!r}: one value for one key, as in optimizer.lr=0.1")
    return override.key_or_group, override.value()


def _put(data: dict[str, Any], key: str, value: Any) -> None:
    *path, last = key.split(".")
    for part in path:
        if not isinstance(data.get(part), dict):
            raise ConfigError(describe_unknown("key", key, list(data)))
        data = data[part]
    if key in GROUPS and isinstance(value, str):
        value = {"name": value}
    data[last] = value
