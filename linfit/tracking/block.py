"""A block of runs as rows of MLflow's tables: what its own store would write for them, worked out in memory.

Follows SqlAlchemyStore's create_run, log_batch, log_inputs and update_run_info. MLflow's own validators speak, once for
each key instead of once for each number.
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
from mlflow.store.tracking.dbmodels.models import (
    SqlDataset,
    SqlInput,
    SqlInputTag,
    SqlLatestMetric,
    SqlMetric,
    SqlParam,
    SqlRun,
    SqlTag,
)
from mlflow.utils import validation
from mlflow.utils.uri import append_to_uri_path
from sqlalchemy import Table

from linfit.tracking.client import dataset_input, source
from linfit.tracking.run_records import Row

RUNS, TAGS, PARAMS, METRICS, LATEST, DATASETS, INPUTS, INPUT_TAGS = (
    model.__table__
    for model in (
        SqlRun,
        SqlTag,
        SqlParam,
        SqlMetric,
        SqlLatestMetric,
        SqlDataset,
        SqlInput,
        SqlInputTag,
    )
)
#: What is written of each of MLflow's tables, in MLflow's order; a record is a tuple of these.
COLUMNS: dict[Table, tuple[str, ...]] = {
    RUNS: (
        *(
            "run_uuid",
            "name",
            "source_type",
            "source_name",
            "entry_point_name",
            "user_id",
            "status",
            "start_time",
            "end_time",
        ),
        *("deleted_time", "source_version", "lifecycle_stage", "artifact_uri", "experiment_id"),
    ),
    TAGS: ("key", "value", "run_uuid"),
    PARAMS: ("key", "value", "run_uuid"),
    METRICS: ("key", "value", "timestamp", "step", "is_nan", "run_uuid"),
    LATEST: ("key", "value", "timestamp", "step", "is_nan", "run_uuid"),
    DATASETS: (
        *("dataset_uuid", "experiment_id", "name", "digest"),
        *("dataset_source_type", "dataset_source", "dataset_schema", "dataset_profile"),
    ),
    INPUTS: ("input_uuid", "source_type", "source_id", "destination_type", "destination_id"),
    INPUT_TAGS: ("input_uuid", "name", "value"),
}
#: What stands for infinity, which not every database can hold.
LARGEST = sys.float_info.max
#: What stands for a run's id, and is none.
PLACE = "0" * 32

Record = tuple[Any, ...]
Records = dict[Table, list[Record]]
Metric = tuple[str, float, int, int, bool, str]
#: What identifies a dataset within an MLflow experiment: its name and its digest.
Key = tuple[str, str]


@dataclass(frozen=True)
class Block:
    """Whole runs, ready to be inserted: everything but what depends on which datasets the MLflow experiment has already."""

    ids: list[str]
    experiment: int
    records: Records = field(
        default_factory=lambda: {table: [] for table in (RUNS, TAGS, PARAMS, METRICS, LATEST)}
    )
    datasets: dict[Key, DatasetInput] = field(default_factory=dict)
    used: list[tuple[str, Key]] = field(default_factory=list)
    """(run id, the dataset that it used)"""

    def inputs(self, known: Mapping[Key, str], ids: Iterator[str]) -> Records:
        """The datasets that are new beside the `known` ones, given with their ids, and which run used which dataset."""
        uuids = {key: known.get(key) or next(ids) for key in self.datasets}
        new = [
            _dataset(uuids[key], self.experiment, used)
            for key, used in self.datasets.items()
            if key not in known
        ]
        edges = [(next(ids), "DATASET", uuids[key], "RUN", run_id) for run_id, key in self.used]
        tags = [
            (edge[0], tag.key, tag.value)
            for edge, (_, key) in zip(edges, self.used, strict=True)
            for tag in self.datasets[key].tags
        ]
        return {DATASETS: new, INPUTS: edges, INPUT_TAGS: tags}


def make_block(rows: Sequence[Row], ids: Iterator[str], experiment: int, artifacts: str) -> Block:
    """`rows` as new runs of the MLflow experiment whose id is `experiment` and whose artifacts are kept in `artifacts`.

    The records stand run by run: beside the primary key of `metrics` there are two indexes that start with the run.
    """
    block, extra = Block([next(ids) for _ in rows], experiment), source()
    runs, tags, params, metrics, latest = block.records.values()
    place = append_to_uri_path(artifacts, PLACE, "artifacts")
    for run_id, row in zip(block.ids, rows, strict=True):
        own = {"mlflow.runName": row.name, **row.tags, **extra}
        runs.append(_run(run_id, row, own["mlflow.user"], experiment, place.replace(PLACE, run_id)))
        tags.extend((key, value, run_id) for key, value in own.items())
        params.extend((key, _param(key, value), run_id) for key, value in row.params.items())
        points = _metrics(run_id, row)
        metrics.extend(points)
        latest.extend(_latest(points))
        if row.dataset is not None:
            key = (row.dataset.name, row.dataset.digest)
            block.used.append((run_id, key))
            if key not in block.datasets:
                block.datasets[key] = dataset_input(row.dataset)
    validation._validate_dataset_inputs(list(block.datasets.values()))
    return block


class RunIds:
    """Ids as MLflow makes them, hexadecimal UUIDs of version 4, except that each is greater than the one before.

    The runs of a sweep then stand together in every index, and inserting them costs less than half. The first six digits
    are drawn once, the next six count, the rest is drawn for each id: unique whatever other processes draw.
    Not a generator: a signal that is raised in one ends it, and what has to be recorded after it would find no id.
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


def _run(run_id: str, row: Row, user: str, experiment: int, artifact_uri: str) -> Record:
    origin = ("UNKNOWN", "", "")  # source_type, source_name, entry_point_name
    return (
        run_id,
        row.name,
        *origin,
        user,
        row.status,
        row.start,
        row.end,
        None,
        "",
        "active",
        artifact_uri,
        experiment,
    )


def _dataset(uuid: str, experiment: int, used: DatasetInput) -> Record:
    dataset = used.dataset
    described = (dataset.source_type, dataset.source, dataset.schema, dataset.profile)
    return (uuid, experiment, dataset.name, dataset.digest, *described)


def _param(key: str, value: str) -> str:
    _valid_param(key)
    return (
        value
        if len(value) <= validation.MAX_PARAM_VAL_LENGTH
        else validation._validate_param(key, value).value
    )


def _metrics(run_id: str, row: Row) -> list[Metric]:
    """NaN as MLflow keeps it, 0 with a flag; infinity as the largest number; a point given twice is one."""
    end = row.end
    points = [
        (key, float(value), end, step, False, run_id)
        if -LARGEST <= value <= LARGEST
        else (
            key,
            *(
                (0.0, end, step, True)
                if value != value
                else (max(-LARGEST, min(value, LARGEST)), end, step, False)
            ),
            run_id,
        )
        for key, value, step in row.metrics
    ]
    return list(dict.fromkeys(points))


def _latest(points: Sequence[Metric]) -> list[Metric]:
    """The point of each key with the highest step, and of those the highest value: the timestamps of one run are equal."""
    latest: dict[str, Metric] = {}
    for point in points:
        other = latest.get(point[0])
        if other is None or point[3] > other[3] or (point[3] == other[3] and point[1] > other[1]):
            latest[point[0]] = point
    for key in latest:
        _valid_metric(key)
    return list(latest.values())


@cache
def _valid_metric(key: str) -> None:
    validation._validate_metric(key, 0.0, 0, 0)


@cache
def _valid_param(key: str) -> None:
    validation._validate_param(key, "")
