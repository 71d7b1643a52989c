"""Fits as they were stored, ready to be run again.

Each is read, checked, and refused by itself where it is not what was written.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

from linfit.config import ADHOC, FitConfig
from linfit.errors import ConfigError
from linfit.tracking.provenance import environment
from linfit.tracking.provenance.environment import Provenance
from linfit.tracking.read.access import FindKeptFile, ReadPolicy, contained_file
from linfit.tracking.read.config import FindVersion, read_config, read_config_file
from linfit.tracking.read.outcome import Outcome, read_file_outcome, read_row_outcome
from linfit.tracking.read.reader import RunReader, StoredRun
from linfit.tracking.read.sweep_tables import FitRows, SweepTables
from linfit.tracking.schema import mlflow_names
from linfit.tracking.schema.config_record import name_fit, parse_choice
from linfit.tracking.schema.grid_labels import is_label
from linfit.tracking.tables.manifest import read_sweep_info


@dataclass(frozen=True)
class StoredFit:
    """A fit as it was stored.

    If it cannot be run again, it has no config, but the reason.
    """

    name: str
    run_id: str
    config: FitConfig | None
    outcome: Outcome | None
    why: str = ""
    naming: tuple[str, ...] = ()
    """The overrides that name it: its components as they were chosen, and its grid's label."""


@dataclass(frozen=True)
class ReproductionSource:
    """What is reproduced: one fit, or fits of a sweep.

    Of a sweep, `run_id` is the parent's.
    """

    name: str
    run_id: str
    experiment: str
    sweep: bool
    originals: list[StoredFit]
    provenance: Provenance
    varying: tuple[str, ...] = ()


def authorize_config(record: StoredRun, permits: ReadPolicy) -> FitConfig:
    """Return a run's config and data, as far as `permits` allows.

    ConfigError or LinfitError where it cannot be run again.
    """
    config = record.config(permits.load)
    return permits.authorize(
        config, record.tags.get(mlflow_names.FINGERPRINT), lambda name: record.root.fetch_file(name)
    )


def read_run_source(record: StoredRun, permits: ReadPolicy) -> ReproductionSource:
    """Return a single run, or a fit of a sweep.

    ConfigError or LinfitError where it cannot be run again.
    """
    config = authorize_config(record, permits)
    original = StoredFit(record.name, record.run_id, config, record.outcome(config))
    return ReproductionSource(
        record.name, record.run_id, record.experiment, False, [original], record.provenance()
    )


def read_sweep_source(
    record: StoredRun, sample: int, seed: int, permits: ReadPolicy
) -> ReproductionSource:
    """Return `sample` fits of a sweep, drawn with `seed`.

    LinfitError where its tables are gone or were changed.
    """
    varying = _varying_in(record.tags.get(mlflow_names.VARYING, "[]"))
    swept = _Swept(
        record.run_id,
        varying,
        lambda: record.tags.get(mlflow_names.VERSION),
        record.fetch_file,
    )
    originals = _draw_originals(record.find_tables(), sample, seed, swept, permits)
    return ReproductionSource(
        record.name,
        record.run_id,
        record.experiment,
        True,
        originals,
        record.provenance(),
        varying,
    )


def read_sweep_folder(
    folder: Path, reader: RunReader | None, sample: int, seed: int, permits: ReadPolicy
) -> ReproductionSource:
    """Return `sample` fits of the sweep in a folder.

    Its run need not be in a store. LinfitError where the sweep was interrupted.
    """
    tables = SweepTables.in_folder(folder)
    about = read_sweep_info(tables.manifest) or {}
    record = None if reader is None else reader.find_sweep(str(about.get("id", "")))
    run_id = folder.absolute().name
    if record is not None:
        run_id = record.run_id
        for file in (tables.manifest, tables.results, tables.curves):
            record.require_unchanged(file)
    document = _document_in(folder)
    varying = _varying_in(json.dumps(about.get("varying", [])))
    swept = _Swept(
        run_id,
        varying,
        lambda: document.get("linfit"),
        lambda name: contained_file(folder, name),
    )
    originals = _draw_originals(tables, sample, seed, swept, permits)
    name = str(about.get("name", run_id))
    experiment = _experiment_of(originals) if record is None else record.experiment
    return ReproductionSource(name, run_id, experiment, True, originals, document, varying)


def _experiment_of(originals: list[StoredFit]) -> str:
    for original in originals:
        if original.config is not None:
            return original.config.name
    return ADHOC


@dataclass(frozen=True)
class _Swept:
    """A sweep whose fits are read from its tables."""

    run_id: str
    varying: tuple[str, ...]
    version: FindVersion
    kept: FindKeptFile


def _draw_originals(
    tables: SweepTables, sample: int, seed: int, swept: _Swept, permits: ReadPolicy
) -> list[StoredFit]:
    rows = tables.draw_rows(sample, seed)
    return [
        _read_original(row, parts, swept, permits)
        for row, parts in zip(rows, tables.read_fits(rows), strict=True)
    ]


def _read_original(row: int, parts: FitRows, swept: _Swept, permits: ReadPolicy) -> StoredFit:
    planned, result, curve = parts
    if planned is None or result is None:
        table = "manifest" if planned is None else "results"
        return StoredFit(f"row {row}", "", None, None, f"the {table} have no row {row}")
    run_id = result["run_id"] or swept.run_id
    try:
        stored = read_config(planned["config"], permits.load, swept.version)
        config = permits.authorize(stored, planned["fingerprint"], swept.kept)
    except ConfigError as error:
        return StoredFit(f"row {row}", run_id, None, None, str(error))
    given = planned["overrides"] or ()
    naming = tuple(own for own in given if is_label(own) or parse_choice(own) is not None)
    name = name_fit(config, swept.varying, row, naming)
    return StoredFit(name, run_id, config, read_row_outcome(result, curve), naming=naming)


def _varying_in(text: str) -> tuple[str, ...]:
    try:
        keys = json.loads(text)
    except (ValueError, RecursionError):
        return ()
    if isinstance(keys, list):
        return tuple(key for key in keys if isinstance(key, str))
    return ()


def _document_in(folder: Path) -> Provenance:
    file = contained_file(folder, mlflow_names.ENVIRONMENT_FILE, environment.MAX_ENVIRONMENT_BYTES)
    if file.is_file():
        return environment.read_environment(file)
    return {}


def read_run_files(
    path: Path, reader: RunReader | None, permits: ReadPolicy
) -> ReproductionSource | StoredRun:
    """Return the single run of a `config.json` or of its folder.

    Where no weights lie in that folder, return the newest run with the fingerprint of the config.
    """
    file = path
    if path.is_dir():
        file = contained_file(path, mlflow_names.CONFIG_FILE)
    if not file.is_file():
        raise ConfigError(
            f"{path} has no {mlflow_names.CONFIG_FILE}: "
            "give one, the folder of a run below outputs/runs, or a run id"
        )
    folder = file.parent
    document = _document_in(folder)
    config = read_config_file(file, permits.load, lambda: document.get("linfit"))
    weights = contained_file(folder, mlflow_names.WEIGHTS_FILE)
    if not weights.is_file():
        return _find_equal(config, reader, file)
    outcome, fingerprint = read_file_outcome(weights)
    config = permits.authorize(config, fingerprint, lambda name: contained_file(folder, name))
    run_id = mlflow_names.CONFIG_FILE
    experiment = config.name
    if reader is not None and (run := reader.find_newest(fingerprint)) is not None:
        run_id = run.run_id
        experiment = run.experiment
    original = StoredFit(folder.name, run_id, config, outcome)
    return ReproductionSource(folder.name, run_id, experiment, False, [original], document)


def _find_equal(config: FitConfig, reader: RunReader | None, file: Path) -> StoredRun:
    store = "and there is no store"
    if reader is not None:
        try:
            run = reader.find_newest(config.fingerprint())
        except ValueError as error:
            raise ConfigError(str(error)) from error
        if run is not None:
            return run
        store = f"and no run in {reader.store} has its fingerprint"
    raise ConfigError(
        f"{file} has no {mlflow_names.WEIGHTS_FILE} beside it, {store}: "
        "there is nothing to compare with"
    )
