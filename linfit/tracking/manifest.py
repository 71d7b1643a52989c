"""The manifest of a sweep: every config, written before the first fit, with what the sweep is besides its fits."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from itertools import islice
from pathlib import Path
from typing import Any

import pyarrow as pa
from pyarrow import parquet

from linfit.config import FitConfig
from linfit.errors import LinfitError
from linfit.problem.arrays import write_arrays
from linfit.tracking.layout import MANIFEST, mask, stored_text
from linfit.tracking.tables import CHECKED, SCHEMAS, whole

#: Under these names the file's metadata say what the sweep is, and how many fits it has.
ABOUT, ROWS = b"linfit", b"linfit.rows"
ROW_GROUP = 5000


def write_manifest(
    folder: Path, names: Iterable[str], overrides: Sequence[Sequence[str]], configs: Sequence[FitConfig], about: Mapping[str, Any]
) -> None:
    """What is going to be run, with the numbers of arrays, before it is; `about` is what a sweep is besides its fits, as plain data."""
    write_arrays(folder, (config.dataset for config in configs))
    schema = SCHEMAS[MANIFEST].with_metadata({ABOUT: json.dumps(about), ROWS: str(len(configs))})
    with whole(folder / MANIFEST) as file, parquet.ParquetWriter(file, schema, **CHECKED) as writer:
        entries = enumerate(zip(names, overrides, configs, strict=True))
        while some := [_planned(*entry) for entry in islice(entries, ROW_GROUP)]:
            writer.write_table(pa.Table.from_pylist(some, schema=schema))


def extend_manifest(folder: Path, names: Iterable[str], overrides: Sequence[Sequence[str]], configs: Sequence[FitConfig]) -> None:
    """The same with the fits of the sweep's next batch, before they are run."""
    write_arrays(folder, (config.dataset for config in configs))
    planned = parquet.read_table(folder / MANIFEST, page_checksum_verification=True)
    entries = enumerate(zip(names, overrides, configs, strict=True), planned.num_rows)
    more = pa.Table.from_pylist([_planned(*entry) for entry in entries], schema=planned.schema)
    together = pa.concat_tables([planned, more])
    counted = together.replace_schema_metadata({**planned.schema.metadata, ROWS: str(together.num_rows)})
    with whole(folder / MANIFEST) as file:
        parquet.write_table(counted, file, **CHECKED)


def about_of(file: Path) -> Any:
    """What a manifest says about its sweep, None if nothing; LinfitError if it is none, or has lost rows."""
    try:
        found = parquet.read_metadata(file)
        said = found.metadata or {}
        about, num_rows = json.loads(said.get(ABOUT, b"null")), int(said.get(ROWS, found.num_rows))
    except (pa.ArrowException, OSError, ValueError) as error:
        raise LinfitError(f"{file} is no manifest of a sweep: {' '.join(str(error).split())}") from error
    if num_rows != found.num_rows:
        raise LinfitError(f"{file} has {found.num_rows:,} of the sweep's {num_rows:,} fits: it was changed after it was written")
    return about


def _planned(row: int, entry: tuple[str, Sequence[str], FitConfig]) -> dict[str, Any]:
    name, overrides, config = entry
    given = [mask(override) for override in overrides]
    return {"row": row, "name": name, "overrides": given, "fingerprint": config.fingerprint(), "config": stored_text(config)}
