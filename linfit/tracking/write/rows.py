"""A block of runs as rows of MLflow's tables: what MLflow's own store would write for them,
computed in memory.

It follows SqlAlchemyStore's create_run, log_batch, log_inputs and update_run_info. MLflow's own
validators are called once for each key instead of once for each number.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from itertools import count
from typing import Any
from uuid import UUID

from mlflow.entities import DatasetInput
from mlflow.store.tracking.dbmodels import models
from mlflow.utils import validation
from mlflow.utils.uri import append_to_uri_path
from sqlalchemy import Table

from linfit.tracking.schema.run_records import RunRecord
from linfit.tracking.write.client import build_dataset_input, describe_source

RUNS: Table = models.SqlRun.__table__
TAGS: Table = models.SqlTag.__table__
PARAMS: Table = models.SqlParam.__table__
METRICS: Table = models.SqlMetric.__table__
LATEST: Table = models.SqlLatestMetric.__table__
DATASETS: Table = models.SqlDataset.__table__
INPUTS: Table = models.SqlInput.__table__
INPUT_TAGS: Table = models.SqlInputTag.__table__
_METRIC_COLUMNS = ("key", "value", "timestamp", "step", "is_nan", "run_uuid")
#: The columns of each table that are written, in MLflow's order; a record is a tuple of these.
COLUMNS: dict[Table, tuple[str, ...]] = {
    RUNS: (
        "run_uuid",
        "name",
        "source_type",
        "source_name",
        "entry_point_name",
        "user_id",
        "status",
        "start_time",
        "end_time",
        "deleted_time",
        "source_version",
        "lifecycle_stage",
        "artifact_uri",
        "experiment_id",
    ),
    TAGS: ("key", "value", "run_uuid"),
    PARAMS: ("key", "value", "run_uuid"),
    METRICS: _METRIC_COLUMNS,
    LATEST: _METRIC_COLUMNS,
    DATASETS: (
        "dataset_uuid",
        "experiment_id",
        "name",
        "digest",
        "dataset_source_type",
        "dataset_source",
        "dataset_schema",
        "dataset_profile",
    ),
    INPUTS: ("input_uuid", "source_type", "source_id", "destination_type", "destination_id"),
    INPUT_TAGS: ("input_uuid", "name", "value"),
}
#: Written in place of infinity, which not every database can hold.
LARGEST_STORED_NUMBER = sys.float_info.max
#: A placeholder for a run's id, which is no id of a run.
RUN_ID_PLACEHOLDER = "0" * 32

TableRecord = tuple[Any, ...]
TableRecords = dict[Table, list[TableRecord]]
MetricPoint = tuple[str, float, int, int, bool, str]
#: Name and digest, which identify a dataset within an MLflow experiment.
DatasetKey = tuple[str, str]


def _empty_records() -> TableRecords:
    return {table: [] for table in (RUNS, TAGS, PARAMS, METRICS, LATEST)}


@dataclass(frozen=True)
class RunBlock:
    """Finished runs, ready to be inserted.

    Only which datasets the MLflow experiment has already is not known yet.
    """

    run_ids: list[str]
    experiment_id: int
    records: TableRecords = field(default_factory=_empty_records)
    datasets: dict[DatasetKey, DatasetInput] = field(default_factory=dict)
    dataset_uses: list[tuple[str, DatasetKey]] = field(default_factory=list)
    """(run id, key of the dataset that the run used)"""

    def build_input_records(
        self, known: Mapping[DatasetKey, str], ids: Iterator[str]
    ) -> TableRecords:
        """Return records of new datasets, and of each run's use.

        `known` maps the datasets of the MLflow experiment to their ids.
        """
        new: list[TableRecord] = []
        uuids: dict[DatasetKey, str] = {}
        for key, dataset in self.datasets.items():
            uuids[key] = known.get(key) or next(ids)
            if key not in known:
                new.append(_dataset_record(uuids[key], self.experiment_id, dataset))

        edges: list[TableRecord] = []
        tags: list[TableRecord] = []
        for run_id, key in self.dataset_uses:
            edge = next(ids)
            edges.append((edge, "DATASET", uuids[key], "RUN", run_id))
            tags += [(edge, tag.key, tag.value) for tag in self.datasets[key].tags]
        return {DATASETS: new, INPUTS: edges, INPUT_TAGS: tags}


def build_run_block(
    rows: Sequence[RunRecord], ids: Iterator[str], experiment: int, artifacts: str
) -> RunBlock:
    """Return `rows` as new runs of an MLflow experiment.

    The experiment has this id, and its artifacts are in `artifacts`. The records are ordered by
    run: besides the primary key of `metrics`, two indexes start with the run.
    """
    block = RunBlock([next(ids) for _ in rows], experiment)
    runs, tags, params, metrics, latest = block.records.values()
    common = describe_source()
    place = append_to_uri_path(artifacts, RUN_ID_PLACEHOLDER, "artifacts")
    for run_id, row in zip(block.run_ids, rows, strict=True):
        own = {"mlflow.runName": row.name, **row.tags, **common}
        address = place.replace(RUN_ID_PLACEHOLDER, run_id)
        runs.append(_run_record(run_id, row, own["mlflow.user"], experiment, address))
        tags.extend((key, value, run_id) for key, value in own.items())
        params.extend((key, _param(key, value), run_id) for key, value in row.params.items())
        points = _metrics(run_id, row)
        metrics.extend(points)
        latest.extend(_latest(points))
        if row.dataset is not None:
            key = (row.dataset.name, row.dataset.digest)
            block.dataset_uses.append((run_id, key))
            if key not in block.datasets:
                block.datasets[key] = build_dataset_input(row.dataset)
    validation._validate_dataset_inputs(list(block.datasets.values()))
    return block


class RunIds:
    """Iterate over hexadecimal UUIDs, each greater than the last.

    They are version 4, as MLflow makes them. The runs of a sweep are then neighbours in every
    index, and inserting them costs less than half. The first six digits are drawn once, the next
    six count, the rest is drawn for each id: they differ from those of any other process. This is
    no generator: a signal that is raised within one ends it, and later runs would get no id.
    """

    def __init__(self) -> None:
        self._prefix = int.from_bytes(os.urandom(3)) << 104
        self._numbers = count()

    def __iter__(self) -> RunIds:
        return self

    def __next__(self) -> str:
        number = next(self._numbers) % 2**24
        drawn = int.from_bytes(os.urandom(10))
        return UUID(int=self._prefix | number << 80 | drawn, version=4).hex


def _run_record(
    run_id: str, row: RunRecord, user: str, experiment: int, address: str
) -> TableRecord:
    # source_type, source_name, entry_point_name
    origin = ("UNKNOWN", "", "")
    # deleted_time, source_version, lifecycle_stage
    stage = (None, "", "active")
    times = (row.start, row.end)
    return (run_id, row.name, *origin, user, row.status, *times, *stage, address, experiment)


def _dataset_record(uuid: str, experiment: int, given: DatasetInput) -> TableRecord:
    dataset = given.dataset
    description = (dataset.source_type, dataset.source, dataset.schema, dataset.profile)
    return (uuid, experiment, dataset.name, dataset.digest, *description)


def _param(key: str, value: str) -> str:
    _validate_param_key(key)
    if len(value) <= validation.MAX_PARAM_VAL_LENGTH:
        return value
    return str(validation._validate_param(key, value).value)


def _metrics(run_id: str, row: RunRecord) -> list[MetricPoint]:
    """Return the points of a run as MLflow stores them.

    NaN is 0 with a flag, and infinity the largest number. A point that is given twice is stored
    once.
    """
    end = row.end
    # Every number of every fit passes here.
    points = [
        (key, float(value), end, step, False, run_id)
        if -LARGEST_STORED_NUMBER <= value <= LARGEST_STORED_NUMBER
        else (key, *_replace_not_finite(value, end, step), run_id)
        for key, value, step in row.metrics
    ]
    return list(dict.fromkeys(points))


def _replace_not_finite(value: float, end: int, step: int) -> tuple[float, int, int, bool]:
    if value != value:
        return (0.0, end, step, True)
    return (max(-LARGEST_STORED_NUMBER, min(value, LARGEST_STORED_NUMBER)), end, step, False)


def _latest(points: Sequence[MetricPoint]) -> list[MetricPoint]:
    """Return the point of each key with the highest step, and among those the highest value.

    All timestamps of a run are equal.
    """
    latest: dict[str, MetricPoint] = {}
    for point in points:
        other = latest.get(point[0])
        # Most points have a higher step than the one before.
        if other is None or point[3] > other[3] or (point[3] == other[3] and point[1] > other[1]):
            latest[point[0]] = point
    for key in latest:
        _validate_metric_key(key)
    return list(latest.values())


@cache
def _validate_metric_key(key: str) -> None:
    validation._validate_metric(key, 0.0, 0, 0)


@cache
def _validate_param_key(key: str) -> None:
    validation._validate_param(key, "")
