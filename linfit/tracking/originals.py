"""Fits as they were stored, ready to be run again: read, checked, and refused, each for itself, where they are not what was written."""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from pathlib import Path

from linfit.config import FitConfig
from linfit.errors import ConfigError, LinfitError
from linfit.tracking import environment, layout
from linfit.tracking.accounts import name_of
from linfit.tracking.changes import Document, document_of
from linfit.tracking.comparison import Outcome
from linfit.tracking.data import Kept, located, take_arrays
from linfit.tracking.outcomes import Entry, Tables, of_file, of_record, of_rows
from linfit.tracking.places import own_file
from linfit.tracking.reading import Reader, Record
from linfit.tracking.stored import Load, config_in, config_of, read_config, read_rows, require_same_numbers


@dataclass(frozen=True)
class Permits:
    """What the user allows a stored config: to import its plug-ins through `load`, to read data below `data`."""

    load: Load | None = None
    data: Path | None = None

    def admit(self, config: FitConfig, fingerprint: object, kept: Kept) -> FitConfig:
        """The config, its data where they are here; ConfigError where they are not allowed, or not what they were."""
        config = located(config, self.data)
        take_arrays(config, kept)
        require_same_numbers(config, fingerprint)
        return config


@dataclass(frozen=True)
class Original:
    """A fit as it was stored; without a config, and with the reason, where it cannot be run again."""

    name: str
    run_id: str
    config: FitConfig | None
    outcome: Outcome | None
    why: str = ""


@dataclass(frozen=True)
class Source:
    """What is to be reproduced: a fit, or some fits of a sweep, whose parent then is `run_id`."""

    name: str
    run_id: str
    experiment: str
    sweep: bool
    originals: list[Original]
    document: Document
    varying: tuple[str, ...] = ()


def from_run(reader: Reader, record: Record, permits: Permits) -> Source:
    """A single run, or a child of a sweep; ConfigError or LinfitError where it cannot be run again."""
    config = config_of(reader, record, permits.load)
    config = permits.admit(config, record.tags.get(layout.FINGERPRINT), lambda name: reader.file(reader.top(record), name))
    original = Original(record.name, record.run_id, config, of_record(reader, record, config))
    return Source(record.name, record.run_id, record.experiment, False, [original], document_of(reader, record))


def from_sweep(reader: Reader, record: Record, sample: int, seed: int, permits: Permits) -> Source:
    """`sample` fits of a sweep, drawn with `seed`; LinfitError where its tables are gone or were changed."""
    tables = Tables.of(reader, record)
    varying = _varying(record)
    rows = tables.draw(sample, seed)
    originals = [
        _of_rows(row, record, varying, permits, lambda name: reader.file(record, name), *parts)
        for row, parts in zip(rows, tables.read(rows), strict=True)
    ]
    return Source(record.name, record.run_id, record.experiment, True, originals, document_of(reader, record), varying)


def _of_rows(
    row: int,
    record: Record,
    varying: tuple[str, ...],
    permits: Permits,
    kept: Kept,
    planned: Entry | None,
    result: Entry | None,
    curve: Entry | None,
) -> Original:
    if planned is None or result is None:
        return Original(f"row {row}", "", None, None, f"the {'manifest' if planned is None else 'results'} have no row {row}")
    run_id = result["run_id"] or record.run_id
    try:
        config = permits.admit(
            read_config(planned["config"], permits.load, lambda: record.tags.get(layout.VERSION)), planned["fingerprint"], kept
        )
    except ConfigError as error:
        return Original(f"row {row}", run_id, None, None, str(error))
    return Original(name_of(config, varying, row), run_id, config, of_rows(result, curve))


def _varying(record: Record) -> tuple[str, ...]:
    try:
        keys = json.loads(record.tags.get(layout.VARYING, "[]"))
    except (ValueError, RecursionError):
        return ()
    return tuple(key for key in keys if isinstance(key, str)) if isinstance(keys, list) else ()


def from_files(path: Path, reader: Reader, permits: Permits) -> Source | Record:
    """A `config.json`, or a folder that Hydra left, with what lies beside it; of a sweep's folder the sweep's run.

    Where no weights lie beside it, the newest run of the same fingerprint is what it is compared with.
    """
    if (path / layout.MANIFEST).is_file():
        return _sweep_of(path, reader)
    file = own_file(path, layout.CONFIG_FILE) if path.is_dir() else path
    if not file.is_file():
        raise ConfigError(f"{path} has no {layout.CONFIG_FILE}: give one, the folder of a run below outputs/runs, or a run id")
    document = own_file(file.parent, layout.ENVIRONMENT_FILE, environment.MAX_BYTES)
    found = environment.read(document) if document.is_file() else {}
    config = config_in(file, permits.load, lambda: found.get("linfit"))
    weights = own_file(file.parent, layout.WEIGHTS_FILE)
    if not weights.is_file():
        return _same(config, reader, file)
    outcome, fingerprint = of_file(weights)
    config = permits.admit(config, fingerprint, lambda name: own_file(file.parent, name))
    run = reader.newest(fingerprint)
    original = Original(file.parent.name, run.run_id if run else str(layout.CONFIG_FILE), config, outcome)
    return Source(original.name, original.run_id, config.name, False, [original], found)


def _same(config: FitConfig, reader: Reader, file: Path) -> Record:
    try:
        run = reader.newest(config.fingerprint())
    except ValueError as error:
        raise ConfigError(str(error)) from error
    if run is None:
        raise ConfigError(
            f"{file} has no {layout.WEIGHTS_FILE} beside it, and no run in {reader.store} has its fingerprint: there is nothing to compare with"
        )
    return run


def _sweep_of(folder: Path, reader: Reader) -> Record:
    """The run of a sweep's folder, found through its fits."""
    if not own_file(folder, layout.RESULTS).is_file():
        raise LinfitError(f"{folder} has no {layout.RESULTS}: the sweep was interrupted; name one of its fits")
    found = read_rows(folder / layout.RESULTS, ("row", "run_id"), range(1000))
    ids = [entry["run_id"] for entry in found.values() if entry["run_id"]]
    if not ids:
        raise LinfitError(f"no fit of {folder} is a run: give the sweep's own run id")
    parent = reader.find(ids[0]).tags.get(layout.PARENT)
    if parent is None:
        raise LinfitError(f"run {ids[0]}, a fit of {folder}, has no parent in {reader.store}")
    return replace(reader.find(parent))
