"""Read runs of a block back through MLflow's client, and take a wrong block out again."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from mlflow import MlflowClient
from mlflow.entities import Run
from sqlalchemy import Connection, Table, select

from linfit.tracking.write.client import split_sequence
from linfit.tracking.write.rows import (
    COLUMNS,
    DATASETS,
    INPUT_TAGS,
    INPUTS,
    LATEST,
    METRICS,
    PARAMS,
    RUNS,
    TAGS,
    RunBlock,
)

#: Fields of a run as the client names them, with the columns that they are written into.
RUN_FIELDS = {
    "run_name": "name",
    "status": "status",
    "start_time": "start_time",
    "end_time": "end_time",
    "artifact_uri": "artifact_uri",
    "lifecycle_stage": "lifecycle_stage",
}
RUNS_PER_STATEMENT = 500
RunFacts = dict[str, Any]
"""The content of a run by name: its fields, params, tags, metrics, datasets and curves."""

NamedValues = Mapping[str, Any]


def find_difference(client: MlflowClient, block: RunBlock) -> str:
    """Name what the client reads otherwise than written.

    Empty where nothing differs. The first, middle and last run of a block are read.
    """
    ids = block.run_ids
    sample = list(dict.fromkeys((ids[0], ids[len(ids) // 2], ids[-1])))
    listed = ", ".join(f"'{run_id}'" for run_id in sample)
    runs = client.search_runs([str(block.experiment_id)], f"attributes.run_id IN ({listed})")
    found = {run.info.run_id: run for run in runs}
    for run_id, given in _given(block, sample).items():
        if run_id not in found:
            return "the run itself"
        read = _read(client, found[run_id], given["curves"])
        for name, value in given.items():
            if read[name] != value:
                return name.replace("_", " ")
    return ""


def remove_runs(connection: Connection, run_ids: Sequence[str]) -> None:
    """Delete every row of these runs.

    Datasets that no run uses any more are deleted too.
    """
    for some in split_sequence(list(run_ids), RUNS_PER_STATEMENT):
        used = INPUTS.c.destination_id.in_(some)
        query = select(INPUTS.c.input_uuid, INPUTS.c.source_id).where(used)
        rows = connection.execute(query).all()
        inputs = [row.input_uuid for row in rows]
        connection.execute(INPUT_TAGS.delete().where(INPUT_TAGS.c.input_uuid.in_(inputs)))
        connection.execute(INPUTS.delete().where(used))
        datasets = DATASETS.c.dataset_uuid.in_({row.source_id for row in rows})
        unused = DATASETS.c.dataset_uuid.not_in(select(INPUTS.c.source_id))
        connection.execute(DATASETS.delete().where(datasets, unused))
        for table in (LATEST, METRICS, PARAMS, TAGS, RUNS):
            connection.execute(table.delete().where(table.c.run_uuid.in_(some)))


def _given(block: RunBlock, sample: Sequence[str]) -> dict[str, RunFacts]:
    """Return the content of runs as the block was given it."""
    runs = _rows(block, RUNS, sample)
    tags = _rows(block, TAGS, sample)
    params = _rows(block, PARAMS, sample)
    metrics = _rows(block, METRICS, sample)
    latest = _rows(block, LATEST, sample)
    facts: dict[str, RunFacts] = {}
    for run_id in sample:
        [run] = runs[run_id]
        facts[run_id] = {name: run[column] for name, column in RUN_FIELDS.items()} | {
            "params": {row["key"]: row["value"] for row in params[run_id]},
            "tags": {row["key"]: row["value"] for row in tags[run_id]},
            "metrics": {row["key"]: _value(row) for row in latest[run_id]},
            "datasets": [key for used_by, key in block.dataset_uses if used_by == run_id],
            "curves": _curves(metrics[run_id]),
        }
    return facts


def _read(client: MlflowClient, run: Run, curves: Sequence[str]) -> RunFacts:
    """Return the content of a run as the client has it."""
    datasets = []
    if run.inputs is not None:
        given = [used.dataset for used in run.inputs.dataset_inputs]
        datasets = [(dataset.name, dataset.digest) for dataset in given]
    found = {}
    for key in curves:
        points = client.get_metric_history(run.info.run_id, key)
        found[key] = {(_number(one.value), one.step, one.timestamp) for one in points}
    return {name: getattr(run.info, name) for name in RUN_FIELDS} | {
        "params": run.data.params,
        "tags": run.data.tags,
        "metrics": {key: _number(value) for key, value in run.data.metrics.items()},
        "datasets": datasets,
        "curves": found,
    }


def _rows(block: RunBlock, table: Table, sample: Sequence[str]) -> dict[str, list[NamedValues]]:
    """Return the rows of some runs by run."""
    columns = COLUMNS[table]
    wanted = set(sample)
    place = columns.index("run_uuid")
    rows: dict[str, list[NamedValues]] = {run_id: [] for run_id in sample}
    for record in block.records[table]:
        if record[place] in wanted:
            rows[record[place]].append(dict(zip(columns, record, strict=True)))
    return rows


def _curves(rows: Sequence[NamedValues]) -> dict[str, set[tuple[Any, ...]]]:
    """Return the points of each metric that has several, and of one more.

    Reading each metric takes milliseconds.
    """
    points: dict[str, set[tuple[Any, ...]]] = {}
    for row in rows:
        points.setdefault(row["key"], set()).add((_value(row), row["step"], row["timestamp"]))
    single = [key for key, found in points.items() if len(found) == 1]
    for key in single[1:]:
        del points[key]
    return points


def _value(row: NamedValues) -> float | None:
    return None if row["is_nan"] else row["value"]


def _number(value: float) -> float | None:
    """Return None for NaN, which equals nothing."""
    return None if value != value else value
