"""Reading back what was stored: configs, and the Parquet files of sweeps.

It is untrusted input: what it says is checked, and nothing in it is imported, opened or executed.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pyarrow import ArrowException
from pydantic import ValidationError

from linfit.config import FitConfig, digest, explain
from linfit.conventions import SCHEMA, as_of_schema
from linfit.errors import ConfigError, LinfitError, brief
from linfit.problem.opened import read_bounded
from linfit.tracking import layout
from linfit.tracking.parquet_tables import read_metadata, read_table
from linfit.tracking.sealed import hashes_of, unchanged
from linfit.tracking.tables import SCHEMAS
from linfit.version import __version__

if TYPE_CHECKING:  # reading from a store imports MLflow, which the rest of this module does without
    from linfit.tracking.reading import Reader, Record

#: Bytes beyond which no config is stored; a `given` initialization of a hundred thousand weights takes two million.
MAX_CONFIG = 2**24
Load = Callable[[Sequence[str]], None]
"""Imports the plug-ins that a stored config names."""

Version = Callable[[], object]
"""The version of linfit that wrote a config, None where it is unknown."""

#: What is read of each file.
MANIFEST_COLUMNS = ("row", "name", "fingerprint", "config")
RESULTS_COLUMNS = ("row", "status", "dtype", "weights", "run_id")
CURVES_COLUMNS = ("row", "step", "loss")


def num_rows(file: Path) -> int:
    """How many rows a Parquet file has."""
    try:
        return int(read_metadata(file).num_rows)
    except (ArrowException, OSError, ValueError) as error:
        raise _unreadable(file, error) from error


def read_rows(
    file: Path, columns: Sequence[str], rows: Sequence[int], sha256: str | None = None
) -> dict[int, dict[str, Any]]:
    """Those `rows` of a sweep's file that there are, by their number; LinfitError if it is no such file, or has another hash."""
    try:
        table = read_table(file, columns, rows, sha256)
    except (ArrowException, OSError, ValueError) as error:
        raise _unreadable(file, error) from error
    schema = SCHEMAS[file.name]
    wrong = [
        name
        for name in columns
        if name not in table.column_names
        or table.schema.field(name).type != schema.field(name).type
    ]
    if wrong:
        raise LinfitError(
            f"{file} is not as linfit writes it: {', '.join(wrong)} is missing or of another type"
        )
    try:
        found = table.to_pylist()
    except UnicodeDecodeError as error:
        raise _unreadable(file, error) from error
    if len({entry["row"] for entry in found}) < len(found):
        raise LinfitError(f"{file} has a row twice: it was changed after it was written")
    return {entry["row"]: entry for entry in found}


def config_of(reader: Reader, record: Record, load: Load | None = None) -> FitConfig:
    """The fit config of any run, as it was run: a single run's, or that of a sweep's child, from its tag or its parent's manifest.

    ConfigError, which says where the config stands, as for `read_config`; LinfitError where a file of the run is gone.
    """
    if record.kind == layout.SWEEP:
        raise ConfigError(
            f"run {record.run_id} is a sweep, which has no config of its own: name one of its fits, as `linfit show` lists them"
        )
    return _placed(
        *_stored(reader, record), load, lambda: reader.top(record).tags.get(layout.VERSION)
    )


def config_in(file: Path, load: Load | None = None, version: Version = lambda: None) -> FitConfig:
    """The fit config of a `config.json`; ConfigError, which names the file, as for `read_config`."""
    return _placed(read_text(file), str(file), load, version)


def _placed(text: str, place: str, load: Load | None, version: Version) -> FitConfig:
    try:
        return read_config(text, load, version)
    except ConfigError as error:
        raise ConfigError(f"{place}: {error}") from error


def _stored(reader: Reader, record: Record) -> tuple[str, str]:
    """The stored text of a run's config, and where it stands."""
    if layout.CONFIG in record.tags:
        return record.tags[layout.CONFIG], f"tag {layout.CONFIG} of run {record.run_id}"
    parent, row = layout.sweep_of(record.tags), record.tags.get(layout.ROW, "")
    if parent is None:
        file = reader.file(record, layout.CONFIG_FILE, MAX_CONFIG)
        return read_text(file), str(file)
    sweep = reader.find(parent)
    file, sha256 = unchanged(reader, sweep, layout.MANIFEST), hashes_of(sweep).get(layout.MANIFEST)
    found = (
        read_rows(file, MANIFEST_COLUMNS, [int(row)], sha256)
        if row.isdecimal() and len(row) < 10
        else {}
    )
    if not found:
        raise ConfigError(
            f"{file} has no row {row!r}, where the config of run {record.run_id} should stand"
        )
    if found[int(row)]["fingerprint"] != record.tags.get(layout.FINGERPRINT):
        raise ConfigError(
            f"{file}, row {row}, is another fit than run {record.run_id}: its tag {layout.ROW} or {layout.PARENT} was changed"
        )
    return str(found[int(row)]["config"]), f"{file}, row {row}"


def schema_of(reader: Reader, record: Record) -> object:
    """Return the schema in which the config of a fit was stored; None where it cannot be read."""
    try:
        return json.loads(_stored(reader, record)[0])["schema"]
    except (LinfitError, ValueError, KeyError, TypeError, RecursionError):
        return None


def read_text(file: Path) -> str:
    """A file that holds a stored config; ConfigError if it cannot be one."""
    try:
        return read_bounded(file, MAX_CONFIG).decode()
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"{file} cannot be read: {error}") from error
    except ValueError as error:
        raise ConfigError(
            f"{file} is larger than any stored config: {MAX_CONFIG:,} bytes at most"
        ) from error


def read_config(text: str, load: Load | None = None, version: Version = lambda: None) -> FitConfig:
    """The fit config that was stored as `text`, with its hash, by the linfit of that `version`.

    ConfigError if the hash does not fit, if it is no fit config, or if it needs plug-ins: nothing stored is ever imported, unless
    the user trusts it and `load` imports it.
    """
    config, schema, fits = _parsed(text)
    if schema not in range(1, SCHEMA + 1):
        raise ConfigError(_other_schema(schema, version()))
    if not fits:
        raise ConfigError("the config's hash does not fit: it was changed after it was stored")
    if isinstance(config, dict) and config.get("plugins"):
        _load_plugins(config["plugins"], load)
    try:
        return as_of_schema(FitConfig.model_validate(config), schema)
    except (ValidationError, RecursionError) as error:
        raise ConfigError(
            explain(error)
            if isinstance(error, ValidationError)
            else "the config is nested too deep"
        ) from error


def _parsed(text: str) -> tuple[Any, Any, bool]:
    """Return the config that a text holds, its schema, and whether its hash fits; ConfigError where it holds none."""
    if len(text) > MAX_CONFIG:
        raise ConfigError(f"no stored config: {len(text):,} characters, {MAX_CONFIG:,} at most")
    try:
        stored = json.loads(text)
        config, schema, sha256 = (stored[key] for key in ("config", "schema", "sha256"))
        return config, schema, digest(config) == sha256
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise ConfigError(
            f"no stored config: {type(error).__name__} {brief(str(error))}"
        ) from error


def data_of(text: str) -> dict[str, Any]:
    """Return a stored config as plain data; ConfigError where it is none, or its hash does not fit."""
    config, _, fits = _parsed(str(text))
    if not fits or not isinstance(config, dict):
        raise ConfigError("the config's hash does not fit: it was changed after it was stored")
    return config


def _other_schema(schema: object, version: object) -> str:
    found = f"the config is stored in schema {brief(repr(schema))}"
    if version == __version__:
        return f"{found}, and linfit {__version__}, which wrote it, writes {SCHEMA}: it was changed after it was stored"
    writer = (
        f"linfit {brief(version, 20)}, which wrote it"
        if isinstance(version, str)
        else "the linfit that wrote it"
    )
    return f"{found}, this linfit reads 1 to {SCHEMA}: use {writer}"


def _load_plugins(plugins: Any, load: Load | None) -> None:
    if load is None:
        raise ConfigError(
            f"the config needs plug-ins, which are not imported from what is stored without --trust: {brief(str(plugins))}"
        )
    if not isinstance(plugins, list) or not all(isinstance(name, str) for name in plugins):
        raise ConfigError("the config's plug-ins are no list of names")
    load(plugins)


def require_same_numbers(config: FitConfig, fingerprint: Any) -> None:
    """ConfigError where a config no longer decides the numbers that it did when `fingerprint` was stored, or cannot be run here as it was."""
    try:
        same = config.fingerprint() == fingerprint
        resolved = config.resolved()
    except ValueError as error:  # data or a device is missing
        raise ConfigError(str(error)) from error
    if not same:
        files = ", ".join(repr(file) for file in config.dataset.files())
        what = f"its data file {files}" if files else "what was stored"
        raise ConfigError(f"its fingerprint is not as it was stored: {what} was changed since")
    if resolved.engine != config.engine:
        raise ConfigError(f"the engine {config.engine.name} that ran it cannot run it here")


def _unreadable(file: Path, error: Exception) -> LinfitError:
    return LinfitError(f"{file} cannot be read: {' '.join(str(error).split())}")
