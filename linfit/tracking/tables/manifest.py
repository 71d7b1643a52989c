"""Write and read the manifest of a sweep.

It has every config before the first fit runs, and what the sweep is besides its fits.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

import pyarrow as pa
from pyarrow import parquet

from linfit.config import FitConfig
from linfit.errors import LinfitError
from linfit.problem.datasets.arrays import write_arrays
from linfit.system.atomic_files import flush_parent_names, write_atomically
from linfit.tracking.schema.config_record import ConfigRecord, describe_stored_fit
from linfit.tracking.schema.descriptions import is_plain_command
from linfit.tracking.schema.mlflow_names import MANIFEST
from linfit.tracking.secrets.masking import mask
from linfit.tracking.tables.parquet import read_metadata, read_table
from linfit.tracking.tables.parts import TABLE_SCHEMAS, WRITE_OPTIONS

#: Keys of the file's metadata: what the sweep is, and its number of fits.
SWEEP_INFO_KEY = b"linfit"
NUM_ROWS_KEY = b"linfit.rows"
ROW_GROUP_SIZE = 5000


@dataclass(frozen=True)
class PlannedFits:
    """Fits of a sweep before they run.

    Their configs, what is recorded of each, and overrides.
    """

    configs: Sequence[FitConfig]
    records: Sequence[ConfigRecord]
    overrides: Sequence[Sequence[str]]

    def build_rows(self, first: int = 0) -> Iterator[dict[str, Any]]:
        """Yield the manifest's rows, numbered from `first` on."""
        fits = zip(self.records, self.overrides, strict=True)
        for row, (record, overrides) in enumerate(fits, first):
            yield {
                "row": row,
                "name": record.name_at(row),
                "overrides": list(map(mask, overrides)),
                "fingerprint": record.fingerprint,
                "config": record.text,
            }


def write_manifest(folder: Path, fits: PlannedFits, about: Mapping[str, Any]) -> None:
    """Write the manifest and the arrays from Python.

    This is done before anything runs. `about` is what the sweep is besides its fits, as plain data.
    """
    write_arrays(folder, (config.dataset for config in fits.configs))
    schema = TABLE_SCHEMAS[MANIFEST].with_metadata(_metadata(about, len(fits.configs)))
    rows = fits.build_rows()
    with (
        write_atomically(folder / MANIFEST) as file,
        parquet.ParquetWriter(file, schema, **WRITE_OPTIONS) as writer,
    ):
        while group := list(islice(rows, ROW_GROUP_SIZE)):
            writer.write_table(pa.Table.from_pylist(group, schema=schema))
    flush_parent_names(folder)  # Hydra has made the folder


def extend_manifest(folder: Path, fits: PlannedFits, varying: Sequence[str]) -> None:
    """Add the fits of a sweep's next jobs before they run.

    Earlier fits get the names that follow from the keys that vary now.
    """
    write_arrays(folder, (config.dataset for config in fits.configs))
    file = folder / MANIFEST
    planned = read_table(file)
    about = read_sweep_info(file)
    if about["varying"] != list(varying):
        planned = _rename(planned, varying)
        about["varying"] = list(varying)
    more = pa.Table.from_pylist(list(fits.build_rows(planned.num_rows)), schema=planned.schema)
    together = pa.concat_tables([planned, more])
    metadata = _metadata(about, together.num_rows)
    with write_atomically(file) as temporary:
        parquet.write_table(together.replace_schema_metadata(metadata), temporary, **WRITE_OPTIONS)


def _metadata(about: Mapping[str, Any], num_fits: int) -> dict[bytes, str]:
    return {SWEEP_INFO_KEY: json.dumps(about), NUM_ROWS_KEY: str(num_fits)}


def _rename(planned: pa.Table, varying: Sequence[str]) -> pa.Table:
    configs = planned["config"].to_pylist()
    overrides = planned["overrides"].to_pylist()
    names = []
    for row, (text, own) in enumerate(zip(configs, overrides, strict=True)):
        name, _ = describe_stored_fit(text, varying, row, own)
        names.append(name)
    place = planned.schema.get_field_index("name")
    return planned.set_column(place, planned.schema.field(place), pa.array(names, pa.string()))


def read_sweep_info(file: Path) -> Any:
    """Return what a manifest says of its sweep, None if nothing.

    LinfitError if the file is no manifest, or has lost rows.
    """
    try:
        found = read_metadata(file)
        metadata = found.metadata or {}
        about = json.loads(metadata.get(SWEEP_INFO_KEY, b"null"))
        num_rows = int(metadata.get(NUM_ROWS_KEY, found.num_rows))
    except (pa.ArrowException, OSError, ValueError, RecursionError) as error:
        raise LinfitError(
            f"{file} is no manifest of a sweep: {' '.join(str(error).split())}"
        ) from error
    if num_rows != found.num_rows:
        raise LinfitError(
            f"{file} has {found.num_rows:,} of the sweep's {num_rows:,} fits: "
            "it was changed after it was written"
        )
    if isinstance(about, dict) and not is_plain_command(about.get("typed", "")):
        about["typed"] = ""
    return about
