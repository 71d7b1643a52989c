"""The manifest of a sweep: every config, written before the first fit, with what the sweep is besides its fits."""

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
from linfit.problem.arrays import write_arrays
from linfit.tracking.accounts import Account, described
from linfit.tracking.layout import MANIFEST
from linfit.tracking.masking import mask
from linfit.tracking.notes import is_plain_command
from linfit.tracking.parquet_tables import read_metadata, read_table
from linfit.tracking.tables import CHECKED, SCHEMAS
from linfit.writing import flush_names_above, whole

#: Under these names the file's metadata say what the sweep is, and how many fits it has.
ABOUT, ROWS = b"linfit", b"linfit.rows"
ROW_GROUP = 5000


@dataclass(frozen=True)
class PlannedFits:
    """Fits of a sweep before they run: their configs, what is recorded of each, and the overrides that made it."""

    configs: Sequence[FitConfig]
    accounts: Sequence[Account]
    overrides: Sequence[Sequence[str]]

    def rows(self, first: int = 0) -> Iterator[dict[str, Any]]:
        """The manifest's, numbered from `first` on."""
        for row, (said, overrides) in enumerate(
            zip(self.accounts, self.overrides, strict=True), first
        ):
            given = [mask(override) for override in overrides]
            yield {
                "row": row,
                "name": said.name(row),
                "overrides": given,
                "fingerprint": said.fingerprint,
                "config": said.text,
            }


def write_manifest(folder: Path, fits: PlannedFits, about: Mapping[str, Any]) -> None:
    """What is going to be run, with the numbers of arrays, before it is; `about` is what a sweep is besides its fits, as plain data."""
    write_arrays(folder, (config.dataset for config in fits.configs))
    schema = SCHEMAS[MANIFEST].with_metadata(
        {ABOUT: json.dumps(about), ROWS: str(len(fits.configs))}
    )
    with whole(folder / MANIFEST) as file, parquet.ParquetWriter(file, schema, **CHECKED) as writer:
        rows = fits.rows()
        while some := list(islice(rows, ROW_GROUP)):
            writer.write_table(pa.Table.from_pylist(some, schema=schema))
    flush_names_above(folder)  # Hydra has made it


def extend_manifest(folder: Path, fits: PlannedFits, varying: Sequence[str]) -> None:
    """Add the fits of the sweep's next batch, before they are run.

    Fits of earlier batches get the names that follow from what is `varying` now.
    """
    write_arrays(folder, (config.dataset for config in fits.configs))
    planned, about = read_table(folder / MANIFEST), about_of(folder / MANIFEST)
    if about["varying"] != list(varying):
        planned = _renamed(planned, varying)
        about["varying"] = list(varying)
    more = pa.Table.from_pylist(list(fits.rows(planned.num_rows)), schema=planned.schema)
    together = pa.concat_tables([planned, more])
    said = {ABOUT: json.dumps(about), ROWS: str(together.num_rows)}
    with whole(folder / MANIFEST) as file:
        parquet.write_table(together.replace_schema_metadata(said), file, **CHECKED)


def _renamed(planned: pa.Table, varying: Sequence[str]) -> pa.Table:
    fits = enumerate(
        zip(planned["config"].to_pylist(), planned["overrides"].to_pylist(), strict=True)
    )
    names = pa.array(
        [described(text, varying, row, overrides)[0] for row, (text, overrides) in fits],
        pa.string(),
    )
    return planned.set_column(
        planned.column_names.index("name"), planned.schema.field("name"), names
    )


def about_of(file: Path) -> Any:
    """What a manifest says about its sweep, None if nothing; LinfitError if it is none, or has lost rows."""
    try:
        found = read_metadata(file)
        said = found.metadata or {}
        about, num_rows = json.loads(said.get(ABOUT, b"null")), int(said.get(ROWS, found.num_rows))
    except (pa.ArrowException, OSError, ValueError, RecursionError) as error:
        raise LinfitError(
            f"{file} is no manifest of a sweep: {' '.join(str(error).split())}"
        ) from error
    if isinstance(about, dict) and not is_plain_command(about.get("typed", "")):
        about["typed"] = ""
    if num_rows != found.num_rows:
        raise LinfitError(
            f"{file} has {found.num_rows:,} of the sweep's {num_rows:,} fits: it was changed after it was written"
        )
    return about
