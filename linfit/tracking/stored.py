"""Reading a sweep's Parquet files back. They are untrusted input: what they say is checked, and nothing in them is executed."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from pyarrow import ArrowException, parquet
from pydantic import ValidationError

from linfit.config import FitConfig, digest, explain
from linfit.errors import ConfigError, LinfitError
from linfit.problem.files import SHIPPED_FOLDER
from linfit.tracking.layout import SCHEMA
from linfit.tracking.tables import SCHEMAS

#: What is read of each file.
MANIFEST_COLUMNS = ("row", "name", "fingerprint", "config")
RESULTS_COLUMNS = ("row", "status", "dtype", "weights")
CURVES_COLUMNS = ("row", "step", "loss")


def num_rows(file: Path) -> int:
    """How many rows a Parquet file has."""
    try:
        return int(parquet.read_metadata(file).num_rows)
    except (ArrowException, OSError) as error:
        raise _unreadable(file, error) from error


def read_rows(file: Path, columns: Sequence[str], rows: Sequence[int]) -> dict[int, dict[str, Any]]:
    """Those `rows` of a sweep's file that there are, by their number; LinfitError if it is no such file."""
    try:
        table = parquet.read_table(file, columns=list(columns), filters=[("row", "in", list(rows))])
    except (ArrowException, OSError) as error:
        raise _unreadable(file, error) from error
    schema = SCHEMAS[file.name]
    wrong = [name for name in columns if name not in table.column_names or table.schema.field(name).type != schema.field(name).type]
    if wrong:
        raise LinfitError(f"{file} is not as linfit writes it: {', '.join(wrong)} is missing or of another type")
    found = table.to_pylist()
    if len({entry["row"] for entry in found}) < len(found):
        raise LinfitError(f"{file} has a row twice: it was changed after it was written")
    return {entry["row"]: entry for entry in found}


def read_config(text: str) -> FitConfig:
    """The fit config that was stored as `text`, with its hash.

    ConfigError if the hash does not fit, if it is no fit config, or if it needs plug-ins: nothing stored is ever imported.
    """
    try:
        stored = json.loads(text)
        config, schema, sha256 = (stored[key] for key in ("config", "schema", "sha256"))
        fits = digest(config) == sha256
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise ConfigError(f"no stored config: {type(error).__name__} {error}") from error
    if schema != SCHEMA:
        raise ConfigError(f"the config is stored in schema {schema!r}, this linfit reads {SCHEMA}")
    if not fits:
        raise ConfigError("the config's hash does not fit: it was changed after it was stored")
    if isinstance(config, dict) and config.get("plugins"):
        raise ConfigError(f"the config needs plug-ins, which are not imported from what is stored: {config['plugins']}")
    try:
        return FitConfig.model_validate(config)
    except (ValidationError, RecursionError) as error:
        raise ConfigError(explain(error) if isinstance(error, ValidationError) else "the config is nested too deep") from error


def require_own_data(config: FitConfig) -> None:
    """ConfigError where a stored config reads a file that linfit does not ship and that is not below the working directory."""
    try:
        files = config.dataset.files()
    except ValueError as error:
        raise ConfigError(str(error)) from error
    for file in files:
        path = Path(file).resolve()
        if not (path.is_relative_to(SHIPPED_FOLDER.resolve()) or path.is_relative_to(Path.cwd())):
            raise ConfigError(f"its data file {file!r} is not below the working directory: change to the folder that the sweep was run in")


def _unreadable(file: Path, error: Exception) -> LinfitError:
    return LinfitError(f"{file} cannot be read: {' '.join(str(error).split())}")
