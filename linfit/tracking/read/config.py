"""Read stored fit configs back.

A stored config is untrusted input: it is checked, and nothing in it is imported, opened or
executed.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from linfit.config import FitConfig, hash_data
from linfit.config_errors import explain_validation_errors
from linfit.conventions import CONFIG_SCHEMA, restore_conventions
from linfit.errors import ConfigError, shorten
from linfit.problem.datasets.readers.opened import read_bounded
from linfit.system.version import __version__

#: Bytes of the largest stored config.
#: A `given` initialization of a hundred thousand weights takes two million.
MAX_CONFIG = 2**24

LoadPlugins = Callable[[Sequence[str]], None]
"""Imports the plug-ins that a stored config names."""

FindVersion = Callable[[], object]
"""Returns the version of linfit that wrote a config, None where it is unknown."""


def read_config_file(
    file: Path, load: LoadPlugins | None = None, version: FindVersion = lambda: None
) -> FitConfig:
    """Return the fit config of a `config.json`.

    ConfigError, which names the file, as for `read_config`.
    """
    return read_config_at(read_config_text(file), str(file), load, version)


def read_config_at(
    text: str, place: str, load: LoadPlugins | None, version: FindVersion
) -> FitConfig:
    """Like `read_config`, and name the place of the text in errors."""
    try:
        return read_config(text, load, version)
    except ConfigError as error:
        raise ConfigError(f"{place}: {error}") from error


def read_config_text(file: Path) -> str:
    """Return the text of a stored config's file.

    ConfigError if it cannot be one.
    """
    try:
        return read_bounded(file, MAX_CONFIG).decode()
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"{file} cannot be read: {error}") from error
    except ValueError as error:
        raise ConfigError(
            f"{file} is larger than any stored config: {MAX_CONFIG:,} bytes at most"
        ) from error


def read_config(
    text: str, load: LoadPlugins | None = None, version: FindVersion = lambda: None
) -> FitConfig:
    """Return the fit config stored as `text` with its hash.

    ConfigError if the hash does not fit, if `text` is no fit config, or if it needs plug-ins.
    Plug-ins are imported by `load` alone, which the caller gives where the user trusts the config.
    """
    config, schema, fits = _parse(text)
    if schema not in range(1, CONFIG_SCHEMA + 1):
        raise ConfigError(_explain_schema(schema, version()))
    if not fits:
        raise ConfigError("the config's hash does not fit: it was changed after it was stored")
    if isinstance(config, dict) and config.get("plugins"):
        _load_plugins(config["plugins"], load)
    try:
        return restore_conventions(FitConfig.model_validate(config), schema)
    except ValidationError as error:
        raise ConfigError(explain_validation_errors(error)) from error
    except RecursionError as error:
        raise ConfigError("the config is nested too deep") from error


def read_config_data(text: str) -> dict[str, Any]:
    """Return a stored config as plain data.

    ConfigError if its hash does not fit.
    """
    config, _, fits = _parse(str(text))
    if not fits or not isinstance(config, dict):
        raise ConfigError("the config's hash does not fit: it was changed after it was stored")
    return config


def read_config_schema(text: str) -> object:
    """Return the schema of a stored config.

    None where the text is none.
    """
    try:
        return json.loads(text)["schema"]
    except (ValueError, KeyError, TypeError, RecursionError):
        return None


def _parse(text: str) -> tuple[Any, Any, bool]:
    """Return the config in a text, its schema, and True if its hash fits."""
    if len(text) > MAX_CONFIG:
        raise ConfigError(f"no stored config: {len(text):,} characters, {MAX_CONFIG:,} at most")
    try:
        stored = json.loads(text)
        config = stored["config"]
        return config, stored["schema"], hash_data(config) == stored["sha256"]
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise ConfigError(
            f"no stored config: {type(error).__name__} {shorten(str(error))}"
        ) from error


def _explain_schema(schema: object, version: object) -> str:
    found = f"the config is stored in schema {shorten(repr(schema))}"
    if version == __version__:
        return (
            f"{found}, and linfit {__version__}, which wrote it, writes {CONFIG_SCHEMA}: "
            "it was changed after it was stored"
        )
    writer = "the linfit that wrote it"
    if isinstance(version, str):
        writer = f"linfit {shorten(version, 20)}, which wrote it"
    return f"{found}, this linfit reads 1 to {CONFIG_SCHEMA}: use {writer}"


def _load_plugins(plugins: Any, load: LoadPlugins | None) -> None:
    if load is None:
        raise ConfigError(
            "the config needs plug-ins, which are not imported from what is stored "
            f"without --trust: {shorten(str(plugins))}"
        )
    if not isinstance(plugins, list) or not all(isinstance(name, str) for name in plugins):
        raise ConfigError("the config's plug-ins are no list of names")
    load(plugins)


def require_same_numbers(config: FitConfig, fingerprint: Any) -> None:
    """Raise ConfigError where a stored config's numbers have changed.

    They are no longer those of `fingerprint`. Also where it cannot be run on this machine by the
    engine that ran it.
    """
    try:
        is_same = config.fingerprint() == fingerprint
        resolved = config.resolved()
    except ValueError as error:  # data or a device is missing
        raise ConfigError(str(error)) from error
    if not is_same:
        files = ", ".join(map(repr, config.dataset.list_files()))
        what = f"its data file {files}" if files else "what was stored"
        raise ConfigError(f"its fingerprint is not as it was stored: {what} was changed since")
    if resolved.engine != config.engine:
        raise ConfigError(f"the engine {config.engine.name} that ran it cannot run it here")
