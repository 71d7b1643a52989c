"""What came out of a run, read back: from MLflow, from the tables of its sweep, or from a file that stands beside its config."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from linfit.config import FitConfig
from linfit.engine.fit import Status
from linfit.errors import ConfigError, LinfitError
from linfit.tracking import layout
from linfit.tracking.comparison import Outcome
from linfit.tracking.model import read_weights
from linfit.tracking.places import own_file
from linfit.tracking.reading import Reader, Record
from linfit.tracking.sealed import hashes_of, require_hash, unchanged
from linfit.tracking.stored import (
    CURVES_COLUMNS,
    MANIFEST_COLUMNS,
    RESULTS_COLUMNS,
    num_rows,
    read_rows,
)

Entry = dict[str, Any]
#: The files of a sweep that all its fits are in.
TABLES = (layout.MANIFEST, layout.RESULTS, layout.CURVES)


@dataclass(frozen=True)
class Tables:
    """The three Parquet files of a sweep, each of which is what was written."""

    manifest: Path
    results: Path
    curves: Path
    hashes: Mapping[str, str] = field(default_factory=dict)
    """SHA-256 by the name of a table, as far as they are known."""

    @staticmethod
    def of(reader: Reader, record: Record) -> Tables:
        """LinfitError where a file is gone, or was changed after it was written."""
        manifest, results, curves = (unchanged(reader, record, name) for name in TABLES)
        return Tables(manifest, results, curves, hashes_of(record))

    @staticmethod
    def in_folder(folder: Path) -> Tables:
        """Return the tables that a sweep left in its folder; LinfitError where it did not come to its end."""
        files = [own_file(folder, name) for name in TABLES]
        if absent := [file.name for file in files if not file.is_file()]:
            raise LinfitError(
                f"{folder} has no {absent[0]}: the sweep was interrupted; go on with it, or name one of its fits"
            )
        manifest, results, curves = files
        return Tables(manifest, results, curves)

    def require_unchanged(self, record: Record) -> None:
        """LinfitError where a table is not the one whose hash the sweep's run has."""
        for file in (self.manifest, self.results, self.curves):
            require_hash(file, record)

    def draw(self, sample: int, seed: int) -> list[int]:
        """The numbers of `sample` rows, drawn with `seed`, increasing."""
        total = num_rows(self.manifest)
        if not total:
            raise LinfitError(f"{self.manifest} lists no fit")
        rows: list[int] = np.sort(
            np.random.default_rng(seed).choice(total, min(sample, total), replace=False)
        ).tolist()
        return rows

    def read(self, rows: Sequence[int]) -> list[tuple[Entry | None, Entry | None, Entry | None]]:
        """Of each row what the manifest, the results and the curves have."""
        files = (
            (self.manifest, MANIFEST_COLUMNS),
            (self.results, RESULTS_COLUMNS),
            (self.curves, CURVES_COLUMNS),
        )
        found = [
            read_rows(file, columns, rows, self.hashes.get(file.name)) for file, columns in files
        ]
        return [(found[0].get(row), found[1].get(row), found[2].get(row)) for row in rows]


def of_rows(result: Entry, curve: Entry | None) -> Outcome:
    """A fit of a sweep, from its rows in the tables."""
    stored = curve or {"step": None, "loss": None}
    steps, losses, weights = (
        np.array(part or [], float) for part in (stored["step"], stored["loss"], result["weights"])
    )
    return Outcome(str(result["status"]), str(result["dtype"]), steps.astype(int), losses, weights)


def of_file(file: Path) -> tuple[Outcome, str]:
    """A single run, from its `weights.safetensors`, and its fingerprint; LinfitError if the file was changed after it was written."""
    tensors, header = read_weights(file)
    weights = tensors["weight"]
    status = header.get("status", "")
    found = Outcome(
        status,
        str(weights.dtype),
        tensors["steps"],
        tensors["losses"],
        weights.astype(np.float64).ravel(),
    )
    return found, header.get("fingerprint", "")


def of_record(reader: Reader, record: Record, config: FitConfig) -> Outcome:
    """Any run, from MLflow, which is what counts, and its exact weights from the file or the table that has them.

    ConfigError if it has no result: it runs still, or was interrupted.
    """
    status = record.tags.get(layout.STATUS, "")
    if status not in list(Status):
        raise ConfigError(
            f"run {record.run_id} has no result to compare with: it is {record.status} {status}".rstrip()
        )
    points = reader.curves(record, [layout.LOSS]).get(layout.LOSS, [])
    if not points and status in (Status.COMPLETED, Status.CONVERGED):
        raise ConfigError(
            f"run {record.run_id} has no losses to compare with: they were deleted from {reader.store}"
        )
    steps, losses = (
        np.array([step for step, _ in points], int),
        np.array([loss for _, loss in points], float),
    )
    weights = None if status == Status.FAILED else _weights(reader, record, config)
    return Outcome(status, config.dtype, steps, losses, weights, whole=False)


def _weights(reader: Reader, record: Record, config: FitConfig) -> Any:
    """None where a sweep was interrupted and its fits have more weights than MLflow keeps as metrics."""
    p, q = config.shape()
    sweep = layout.sweep_of(record.tags)
    if sweep is None:
        found, fingerprint = of_file(reader.file(record, layout.WEIGHTS_FILE))
        if fingerprint != record.tags.get(layout.FINGERPRINT):
            raise ConfigError(
                f"{layout.WEIGHTS_FILE} of run {record.run_id} belongs to another run: its fingerprint is another"
            )
        return found.weights
    parent = reader.find(sweep)
    if layout.FILES in parent.tags and (entry := _row_of(reader, parent, record)) is not None:
        return of_rows(entry, None).weights
    return np.array(record.weights) if len(record.weights) == p * q else None


def _row_of(reader: Reader, parent: Record, record: Record) -> Entry | None:
    """A child's row of its sweep's results, None if it was run again after they were written; ConfigError where it is another fit's."""
    row = layout.row_number(record.tags.get(layout.ROW, ""))
    planned, entry = (
        read_rows(unchanged(reader, parent, name), columns, [row], hashes_of(parent).get(name)).get(
            row
        )
        for name, columns in (
            (layout.MANIFEST, MANIFEST_COLUMNS),
            (layout.RESULTS, RESULTS_COLUMNS),
        )
    )
    same = planned is not None and planned["fingerprint"] == record.tags.get(layout.FINGERPRINT)
    if (
        not same
        or entry is None
        or entry["run_id"] not in (None, "", record.run_id, record.tags.get(layout.RETRIES))
    ):
        raise ConfigError(
            f"row {row} of sweep {parent.run_id} is another fit than run {record.run_id}: its tag {layout.ROW} or {layout.PARENT} was changed"
        )
    return None if entry["run_id"] == record.tags.get(layout.RETRIES, "") else entry
