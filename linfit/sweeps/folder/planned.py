"""Planned fits of a sweep, read back from its manifest as far as the user allows."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic_core import from_json

from linfit.config import FitConfig
from linfit.errors import ConfigError, LinfitError
from linfit.settings import MLflowTracking
from linfit.sweeps.compose.compose import load_plugins
from linfit.sweeps.folder.sweep_folder import SweepInfo, quote_resume_command
from linfit.sweeps.search_space.run_names import (
    create_section_reader,
    expand_varying_sections,
    find_varying_keys,
)
from linfit.system.host import quote_word
from linfit.tracking.read.access import load_arrays
from linfit.tracking.read.config import read_config
from linfit.tracking.read.sweep_tables import count_rows, read_table_rows
from linfit.tracking.schema import mlflow_names
from linfit.tracking.secrets.masking import mask
from linfit.tracking.tables.manifest import PlannedFits, extend_manifest


@dataclass(frozen=True)
class ResumeOptions:
    """The user's options for resuming a sweep."""

    uri: str | None = None
    """The store, instead of the one that the sweep was started with."""
    artifacts: str | None = None
    """Folder or URL for artifacts, if not next to the store."""
    retry_failed: bool = False
    allow_changes: bool = False
    trust: bool = False
    """True if plug-ins that the manifest names may be imported."""
    workers: int | None = None
    backend: str | None = None
    address: str | None = None
    """Workers, backend and address to go on with, if not those that it began with."""


def read_manifest_column(path: Path, column: str, rows: Sequence[int] | None = None) -> list[Any]:
    """Return a column of a manifest, for `rows` or for all.

    The manifest is in `path`; the order is that of `rows`. LinfitError if the manifest cannot be
    read or lacks a row.
    """
    file = path / mlflow_names.MANIFEST
    if rows is None:
        rows = range(count_rows(file))
    found = read_table_rows(file, ("row", column), rows)
    if lost := [row for row in rows if row not in found]:
        raise LinfitError(f"{file} has no row {lost[0]}: it was changed after it was written")
    return [found[row][column] for row in rows]


def settle_manifest(path: Path) -> tuple[str, ...]:
    """Return the keys that vary among all fits, and store them.

    The manifest is complete; the keys are written there.
    """
    overrides = read_manifest_column(path, "overrides")

    def values_of(section: str) -> list[Any]:
        texts = read_manifest_column(path, "config")
        return create_section_reader([from_json(text)["config"] for text in texts])(section)

    varying = expand_varying_sections(find_varying_keys(overrides), overrides, values_of)
    if varying != SweepInfo.read_manifest(path).varying:
        extend_manifest(path, PlannedFits((), (), ()), varying)
    return varying


def read_planned_configs(
    path: Path, rows: Sequence[int] | None, asked: ResumeOptions
) -> list[FitConfig]:
    """Return the configs of some rows of the manifest, or all.

    They have the chosen store. ConfigError if one cannot be read.
    """
    texts = read_manifest_column(path, "config", rows)
    load = load_plugins if asked.trust else None
    if rows is None:
        rows = range(len(texts))
    configs: list[FitConfig] = []
    for row, text in zip(rows, texts, strict=True):
        try:
            config = read_config(text, load)
        except ConfigError as error:
            hint = _trusting(path, asked) if "plug-ins" in str(error) else ""
            raise ConfigError(
                f"{path / mlflow_names.MANIFEST}, row {row}: {error}{hint}"
            ) from error
        load_arrays(config, path.joinpath)
        configs.append(_in_store(config, asked))
    return configs


def _trusting(path: Path, asked: ResumeOptions) -> str:
    """Return the hint at the command that imports plug-ins."""
    hint = f": if you trust it, {quote_resume_command(path, trust=True)}"
    if asked.uri:
        hint += f" --uri {quote_word(mask(asked.uri))}"
    return hint


def _in_store(config: FitConfig, asked: ResumeOptions) -> FitConfig:
    if not isinstance(config.tracking, MLflowTracking):
        return config
    given = {"uri": asked.uri, "artifacts": asked.artifacts}
    named = {key: value for key, value in given.items() if value is not None}
    return config.model_copy(update={"tracking": config.tracking.model_copy(update=named)})
