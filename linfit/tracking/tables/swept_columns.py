"""The keys that a sweep varies, as typed columns of its results.

A query then needs `results.parquet` alone: `SELECT "optimizer.lr", min(loss) … GROUP BY ALL`.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa

from linfit.errors import LinfitError
from linfit.tracking.schema.config_record import read_swept_values
from linfit.tracking.schema.mlflow_names import LOSS
from linfit.tracking.tables.parquet import read_table

#: Sections of keys that change no number: they get no column.
NOT_SWEPT = ("name", "tracking", "pictures", "objective", "hydra")
#: The column of the swept key `loss`: `loss` is the column of a number.
LOSS_FUNCTION = "loss function"
#: The largest integer of an int64 column.
LARGEST_INTEGER = 2**63 - 1
#: Fits whose configs are in memory at once.
CONFIGS_AT_ONCE = 5000


def name_column(key: str) -> str:
    """Return the column of a swept key, which is the key but for `loss`."""
    return LOSS_FUNCTION if key == LOSS else key


def read_swept_columns(
    manifest: Path, rows: Sequence[int], varying: Sequence[str], taken: Collection[str]
) -> dict[str, pa.Array]:
    """Return a column for each key that varies, with the values of these rows, in their order.

    Keys whose column is `taken` by the results have theirs there already.
    """
    keys = [key for key in varying if _has_column(key) and name_column(key) not in taken]
    if not keys:
        return {}
    found = _read_values(manifest, keys)
    return {
        name_column(key): build_typed_array([found.get(row, {}).get(key) for row in rows])
        for key in keys
    }


def _has_column(key: str) -> bool:
    return not key.startswith("~") and key.split(".")[0] not in NOT_SWEPT


def _read_values(manifest: Path, keys: Sequence[str]) -> dict[int, Mapping[str, Any]]:
    """Return the values of the keys in each config of a manifest, by row."""
    found: dict[int, Mapping[str, Any]] = {}
    try:
        table = read_table(manifest, ("row", "overrides", "config"))
        for batch in table.to_batches(CONFIGS_AT_ONCE):
            for planned in batch.to_pylist():
                overrides = planned["overrides"] or ()
                found[planned["row"]] = read_swept_values(planned["config"], keys, overrides)
    except (pa.ArrowException, OSError, ValueError, TypeError, LookupError) as error:
        why = " ".join(str(error).split())
        raise LinfitError(f"{manifest} is not as linfit writes it: {why}") from error
    return found


def build_typed_array(values: Sequence[Any]) -> pa.Array:
    """Return numbers as numbers, truth values as such, and anything else as text.

    None is null. Text has numbers among it written as JSON.
    """
    kinds = {type(value) for value in values if value is not None}
    if kinds == {bool}:
        return pa.array(values, pa.bool_())
    if kinds == {int} and all(value is None or abs(value) <= LARGEST_INTEGER for value in values):
        return pa.array(values, pa.int64())
    if kinds and kinds <= {int, float}:
        return pa.array([None if value is None else float(value) for value in values])
    return pa.array([_write_text(value) for value in values], pa.string())


def _write_text(value: Any) -> str | None:
    return value if value is None or isinstance(value, str) else json.dumps(value)
