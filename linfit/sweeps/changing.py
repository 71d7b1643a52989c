"""A fit config changed on purpose: `KEY=VALUE` as on the command line of `linfit run`, but for a config that is there already."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import OverrideType, ValueType
from hydra.errors import HydraException
from pydantic import ValidationError

from linfit.component import unknown
from linfit.config import GROUPS, FitConfig, explain
from linfit.errors import ConfigError


def changed(config: FitConfig, settings: Sequence[str]) -> FitConfig:
    """The config with other values; a group's key chooses another component, with its defaults. ConfigError, in one line."""
    if not settings:
        return config
    data = config.as_dict()
    for setting in settings:
        key, value = _parsed(setting)
        _put(data, key, value)
    try:
        return FitConfig.model_validate(data).resolved()
    except ValidationError as error:
        raise ConfigError(explain(error)) from error
    except ValueError as error:  # a device that is not there
        raise ConfigError(str(error)) from error


def _parsed(setting: str) -> tuple[str, Any]:
    try:
        override = OverridesParser.create().parse_override(setting)
    except HydraException as error:
        raise ConfigError(
            f"{setting!r} is no KEY=VALUE: write it as for `linfit run`, as in optimizer.lr=0.1"
        ) from error
    if (
        override.type is not OverrideType.CHANGE
        or override.value_type is not ValueType.ELEMENT
        or override.package is not None
    ):
        raise ConfigError(f"{setting!r}: one value for one key, as in optimizer.lr=0.1")
    return override.key_or_group, override.value()


def _put(data: dict[str, Any], key: str, value: Any) -> None:
    *path, last = key.split(".")
    for part in path:
        if not isinstance(data.get(part), dict):
            raise ConfigError(unknown("key", key, list(data)))
        data = data[part]
    data[last] = {"name": value} if key in GROUPS and isinstance(value, str) else value
