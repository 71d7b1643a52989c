"""Fits as they were stored, ready to be run again: read, checked, and refused, each for itself, where they are not what was written."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

from linfit.config import ADHOC, FitConfig
from linfit.errors import ConfigError
from linfit.tracking import environment, layout
from linfit.tracking.accounts import name_of
from linfit.tracking.changes import Document, document_of
from linfit.tracking.comparison import Outcome
from linfit.tracking.data import Kept, located, take_arrays
from linfit.tracking.manifest import about_of
from linfit.tracking.outcomes import Entry, Tables, of_file, of_record, of_rows
from linfit.tracking.places import own_file
from linfit.tracking.reading import Reader, Record
from linfit.tracking.stored import (
    Load,
    Version,
    config_in,
    config_of,
    read_config,
    require_same_numbers,
)


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
    config = permits.admit(
        config,
        record.tags.get(layout.FINGERPRINT),
        lambda name: reader.file(reader.top(record), name),
    )
    original = Original(record.name, record.run_id, config, of_record(reader, record, config))
    return Source(
        record.name,
        record.run_id,
        record.experiment,
        False,
        [original],
        document_of(reader, record),
    )


def from_sweep(reader: Reader, record: Record, sample: int, seed: int, permits: Permits) -> Source:
    """`sample` fits of a sweep, drawn with `seed`; LinfitError where its tables are gone or were changed."""
    tables = Tables.of(reader, record)
    varying = _varying(record.tags.get(layout.VARYING, "[]"))
    swept = _Swept(
        record.run_id,
        varying,
        lambda: record.tags.get(layout.VERSION),
        lambda name: reader.file(record, name),
    )
    originals = _draw_originals(tables, sample, seed, swept, permits)
    return Source(
        record.name,
        record.run_id,
        record.experiment,
        True,
        originals,
        document_of(reader, record),
        varying,
    )


def from_sweep_folder(
    folder: Path, reader: Reader | None, sample: int, seed: int, permits: Permits
) -> Source:
    """Return the same from the folder that a sweep left, whether or not its run is in a store; LinfitError if it was interrupted."""
    tables, about = Tables.in_folder(folder), about_of(folder / layout.MANIFEST) or {}
    record = None if reader is None else reader.sweep(str(about.get("id", "")))
    if record is not None:
        tables.require_unchanged(record)
    document, varying = _document_in(folder), _varying(json.dumps(about.get("varying", [])))
    run_id = folder.absolute().name if record is None else record.run_id
    swept = _Swept(
        run_id, varying, lambda: document.get("linfit"), lambda name: own_file(folder, name)
    )
    originals = _draw_originals(tables, sample, seed, swept, permits)
    first = next(
        (original.config.name for original in originals if original.config is not None), ADHOC
    )
    experiment = first if record is None else record.experiment
    return Source(
        str(about.get("name", run_id)), run_id, experiment, True, originals, document, varying
    )


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
        _of_rows(row, swept, permits, *parts)
        for row, parts in zip(rows, tables.read(rows), strict=True)
    ]


def _of_rows(
    row: int,
    swept: _Swept,
    permits: Permits,
    planned: Entry | None,
    result: Entry | None,
    curve: Entry | None,
) -> Original:
    if planned is None or result is None:
        return Original(
            f"row {row}",
            "",
            None,
            None,
            f"the {'manifest' if planned is None else 'results'} have no row {row}",
        )
    run_id = result["run_id"] or swept.run_id
    try:
        stored = read_config(planned["config"], permits.load, swept.version)
        config = permits.admit(stored, planned["fingerprint"], swept.kept)
    except ConfigError as error:
        return Original(f"row {row}", run_id, None, None, str(error))
    return Original(name_of(config, swept.varying, row), run_id, config, of_rows(result, curve))


def _varying(text: str) -> tuple[str, ...]:
    try:
        keys = json.loads(text)
    except (ValueError, RecursionError):
        return ()
    return tuple(key for key in keys if isinstance(key, str)) if isinstance(keys, list) else ()


def _document_in(folder: Path) -> Document:
    file = own_file(folder, layout.ENVIRONMENT_FILE, environment.MAX_BYTES)
    return environment.read(file) if file.is_file() else {}


def from_files(path: Path, reader: Reader | None, permits: Permits) -> Source | Record:
    """A `config.json`, or the folder that a single run left, with what lies beside it.

    Where no weights lie beside it, the newest run of the same fingerprint is what it is compared with.
    """
    file = own_file(path, layout.CONFIG_FILE) if path.is_dir() else path
    if not file.is_file():
        raise ConfigError(
            f"{path} has no {layout.CONFIG_FILE}: give one, the folder of a run below outputs/runs, or a run id"
        )
    found = _document_in(file.parent)
    config = config_in(file, permits.load, lambda: found.get("linfit"))
    weights = own_file(file.parent, layout.WEIGHTS_FILE)
    if not weights.is_file():
        return _same(config, reader, file)
    outcome, fingerprint = of_file(weights)
    config = permits.admit(config, fingerprint, lambda name: own_file(file.parent, name))
    run = None if reader is None else reader.newest(fingerprint)
    original = Original(
        file.parent.name, run.run_id if run else str(layout.CONFIG_FILE), config, outcome
    )
    experiment = run.experiment if run else config.name
    return Source(original.name, original.run_id, experiment, False, [original], found)


def _same(config: FitConfig, reader: Reader | None, file: Path) -> Record:
    try:
        run = None if reader is None else reader.newest(config.fingerprint())
    except ValueError as error:
        raise ConfigError(str(error)) from error
    if run is None:
        store = (
            "and there is no store"
            if reader is None
            else f"and no run in {reader.store} has its fingerprint"
        )
        raise ConfigError(
            f"{file} has no {layout.WEIGHTS_FILE} beside it, {store}: there is nothing to compare with"
        )
    return run
