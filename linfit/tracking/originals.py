"""Fits as they were stored, ready to be run again.

Each is read, checked, and refused by itself where it is not what was written.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

from linfit.config import ADHOC, FitConfig
from linfit.errors import ConfigError
from linfit.tracking import environment, layout
from linfit.tracking.access import Kept, Permits, own_file
from linfit.tracking.accounts import name_of
from linfit.tracking.environment import Document
from linfit.tracking.manifest import about_of
from linfit.tracking.outcomes import Outcome, of_file, of_rows
from linfit.tracking.reading import Reader, Record
from linfit.tracking.stored import Version, config_in, read_config
from linfit.tracking.sweep_tables import FitRows, Tables


@dataclass(frozen=True)
class Original:
    """A fit as it was stored, without a config, and with the reason, if it cannot be run again."""

    name: str
    run_id: str
    config: FitConfig | None
    outcome: Outcome | None
    why: str = ""


@dataclass(frozen=True)
class Source:
    """What is reproduced: one fit, or fits of a sweep, whose parent then is `run_id`."""

    name: str
    run_id: str
    experiment: str
    sweep: bool
    originals: list[Original]
    document: Document
    varying: tuple[str, ...] = ()


def authorize_config(record: Record, permits: Permits) -> FitConfig:
    """Return the config of a run, with its data, as far as `permits` allows.

    ConfigError or LinfitError where it cannot be run again.
    """
    config = record.config(permits.load)
    return permits.admit(
        config, record.tags.get(layout.FINGERPRINT), lambda name: record.top.file(name)
    )


def from_run(record: Record, permits: Permits) -> Source:
    """Return a single run, or a fit of a sweep.

    ConfigError or LinfitError where it cannot be run again.
    """
    config = authorize_config(record, permits)
    original = Original(record.name, record.run_id, config, record.outcome(config))
    return Source(
        record.name, record.run_id, record.experiment, False, [original], record.provenance()
    )


def from_sweep(record: Record, sample: int, seed: int, permits: Permits) -> Source:
    """Return `sample` fits of a sweep, drawn with `seed`.

    LinfitError where its tables are gone or were changed.
    """
    varying = _varying_in(record.tags.get(layout.VARYING, "[]"))
    swept = _Swept(
        record.run_id,
        varying,
        lambda: record.tags.get(layout.VERSION),
        record.file,
    )
    originals = _draw_originals(record.tables(), sample, seed, swept, permits)
    return Source(
        record.name,
        record.run_id,
        record.experiment,
        True,
        originals,
        record.provenance(),
        varying,
    )


def from_sweep_folder(
    folder: Path, reader: Reader | None, sample: int, seed: int, permits: Permits
) -> Source:
    """Return `sample` fits of the sweep in a folder, whether or not its run is in a store.

    LinfitError where the sweep was interrupted.
    """
    tables = Tables.in_folder(folder)
    about = about_of(tables.manifest) or {}
    record = None if reader is None else reader.sweep(str(about.get("id", "")))
    if record is not None:
        for file in (tables.manifest, tables.results, tables.curves):
            record.require_unchanged(file)
    document = _document_in(folder)
    varying = _varying_in(json.dumps(about.get("varying", [])))
    run_id = folder.absolute().name if record is None else record.run_id
    swept = _Swept(
        run_id,
        varying,
        lambda: document.get("linfit"),
        lambda name: own_file(folder, name),
    )
    originals = _draw_originals(tables, sample, seed, swept, permits)
    name = str(about.get("name", run_id))
    experiment = _experiment_of(originals) if record is None else record.experiment
    return Source(name, run_id, experiment, True, originals, document, varying)


def _experiment_of(originals: list[Original]) -> str:
    for original in originals:
        if original.config is not None:
            return original.config.name
    return ADHOC


@dataclass(frozen=True)
class _Swept:
    """A sweep whose fits are read from its tables."""

    run_id: str
    varying: tuple[str, ...]
    version: Version
    kept: Kept


def _draw_originals(
    tables: Tables, sample: int, seed: int, swept: _Swept, permits: Permits
) -> list[Original]:
    rows = tables.draw(sample, seed)
    return [
        _read_original(row, parts, swept, permits)
        for row, parts in zip(rows, tables.read(rows), strict=True)
    ]


def _read_original(row: int, parts: FitRows, swept: _Swept, permits: Permits) -> Original:
    planned, result, curve = parts
    if planned is None or result is None:
        table = "manifest" if planned is None else "results"
        return Original(f"row {row}", "", None, None, f"the {table} have no row {row}")
    run_id = result["run_id"] or swept.run_id
    try:
        stored = read_config(planned["config"], permits.load, swept.version)
        config = permits.admit(stored, planned["fingerprint"], swept.kept)
    except ConfigError as error:
        return Original(f"row {row}", run_id, None, None, str(error))
    return Original(name_of(config, swept.varying, row), run_id, config, of_rows(result, curve))


def _varying_in(text: str) -> tuple[str, ...]:
    try:
        keys = json.loads(text)
    except (ValueError, RecursionError):
        return ()
    return tuple(key for key in keys if isinstance(key, str)) if isinstance(keys, list) else ()


def _document_in(folder: Path) -> Document:
    file = own_file(folder, layout.ENVIRONMENT_FILE, environment.MAX_BYTES)
    return environment.read(file) if file.is_file() else {}


def from_files(path: Path, reader: Reader | None, permits: Permits) -> Source | Record:
    """Return the single run of a `config.json`, or of the folder that it left.

    Where no weights lie in that folder, return the newest run with the fingerprint of the config.
    """
    file = own_file(path, layout.CONFIG_FILE) if path.is_dir() else path
    if not file.is_file():
        raise ConfigError(
            f"{path} has no {layout.CONFIG_FILE}: "
            "give one, the folder of a run below outputs/runs, or a run id"
        )
    folder = file.parent
    document = _document_in(folder)
    config = config_in(file, permits.load, lambda: document.get("linfit"))
    weights = own_file(folder, layout.WEIGHTS_FILE)
    if not weights.is_file():
        return _find_equal(config, reader, file)
    outcome, fingerprint = of_file(weights)
    config = permits.admit(config, fingerprint, lambda name: own_file(folder, name))
    run = None if reader is None else reader.newest(fingerprint)
    run_id = run.run_id if run else layout.CONFIG_FILE
    experiment = run.experiment if run else config.name
    original = Original(folder.name, run_id, config, outcome)
    return Source(folder.name, run_id, experiment, False, [original], document)


def _find_equal(config: FitConfig, reader: Reader | None, file: Path) -> Record:
    try:
        run = None if reader is None else reader.newest(config.fingerprint())
    except ValueError as error:
        raise ConfigError(str(error)) from error
    if run is not None:
        return run
    store = "and there is no store"
    if reader is not None:
        store = f"and no run in {reader.store} has its fingerprint"
    raise ConfigError(
        f"{file} has no {layout.WEIGHTS_FILE} beside it, {store}: there is nothing to compare with"
    )
