"""Decide what is recorded of a run: its tags, params and metrics at its start and at its end.

Recorders only write what is decided here.

Curves have one point for each recorded step. Every other metric is at step 0: MLflow's UI draws a
line chart for a metric with a later step. Numbers that are not finite are left out: MLflow would
store infinity as 1.797e308. The status tells what happened.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from math import isfinite
from types import MappingProxyType

from linfit.engine.fit import Fit, Status
from linfit.tracking.schema import limits
from linfit.tracking.schema.config_record import ConfigRecord
from linfit.tracking.schema.mlflow_names import (
    CLASSES,
    COMPARED_BY,
    CONFIG,
    ERROR,
    EXCESS,
    FINGERPRINT,
    FIT,
    HPARAM,
    KIND,
    LOSS,
    MAX_WEIGHTS,
    NOT_COMPARABLE,
    OWN_WEIGHT,
    PARENT,
    RETRIES,
    ROW,
    STATUS,
    SWEEP,
    THEORY,
    VALIDATION,
    VARYING,
    WEIGHT,
    tag_notes,
    tag_varying,
)
from linfit.tracking.schema.short_names import name_by_words
from linfit.tracking.secrets.masking import mask

MetricPoints = tuple[tuple[str, float, int], ...]
"""(key, value, step) of each point."""


@dataclass(frozen=True)
class DatasetRecord:
    """A dataset as MLflow's dataset input."""

    name: str
    digest: str
    source: str
    features: tuple[str, ...]
    targets: tuple[str, ...]
    rows: int


@dataclass(frozen=True)
class RunRecord:
    """All that MLflow keeps of one run but its id.

    Times are in milliseconds since the epoch.
    """

    name: str
    start: int
    end: int
    status: str
    tags: dict[str, str]
    params: dict[str, str] = field(default_factory=dict)
    metrics: MetricPoints = ()
    dataset: DatasetRecord | None = None

    def __post_init__(self) -> None:
        """Shorten the name to what people read, and the tags to what every store holds."""
        object.__setattr__(self, "name", name_by_words([self.name]))
        if any(len(value) > limits.MAX_TAG for value in self.tags.values()):
            object.__setattr__(self, "tags", limits.shorten_all(self.tags, limits.MAX_TAG))


@dataclass(frozen=True)
class Amendment:
    """A recorded run's new name, metrics, params and tags.

    A metric, param or tag is added only if the run lacks it.
    """

    name: str = ""
    """Empty where the name stays."""
    metrics: Mapping[str, float] = field(default_factory=dict)
    params: Mapping[str, str] = field(default_factory=dict)
    tags: Mapping[str, str] = field(default_factory=dict)


# ---- single runs and fits ----


def record_start(record: ConfigRecord, name: str, start: int, tags: Mapping[str, str]) -> RunRecord:
    """Return the row of a fit that begins.

    `record` is what is recorded of its config.
    """
    own = {KIND: FIT, FINGERPRINT: record.fingerprint, **tags}
    return RunRecord(name, start, start, "RUNNING", own, record.params)


def record_result(
    begun: RunRecord,
    fit: Fit,
    end: int,
    swept: Mapping[str, float] = MappingProxyType({}),
    theory: Mapping[str, float] | None = None,
) -> RunRecord:
    """Return the row of a fit that has ended.

    It is FINISHED with its numbers and those of `theory`, or FAILED with its traceback.
    """
    notes: tuple[str, ...] = ()
    if fit.problem is not None:
        columns = (*fit.problem.features, *fit.problem.targets)
        notes = (*fit.config.notes(), *fit.problem.notes, *limits.note_missing_schema(columns))
    tags = {**begun.tags, STATUS: fit.status.value, **tag_notes(notes)}
    if fit.problem is not None and fit.problem.classes:
        tags[CLASSES] = json.dumps(fit.problem.classes, ensure_ascii=False)[: limits.MAX_TAG]
    if fit.status is Status.FAILED:
        tags[ERROR] = mask(fit.error or "")[-limits.MAX_TAG :]
        return replace(begun, end=end, status="FAILED", tags=tags)
    predicted = {f"{THEORY}{key}": value for key, value in (theory or {}).items()}
    return replace(
        begun,
        end=end,
        status="FINISHED",
        tags=tags,
        metrics=collect_metrics(fit, swept) + _at_step_0(predicted),
        dataset=record_dataset(fit),
    )


def record_child(
    fit: Fit,
    record: ConfigRecord,
    name: str,
    parent: str,
    row: int,
    times: tuple[int, int],
    retries: str | None = None,
    stable_lr: float | None = None,
) -> RunRecord:
    """Return the whole row of a fit of a sweep.

    It covers the fit from its start to its end. Its config is a tag, unless it is too long for one:
    then only the sweep's manifest has it. Of theory it has the largest stable learning rate alone:
    every number of every fit is a row of the store. `retries` is the id of the failed run that it
    replaces.
    """
    tags = {PARENT: parent, ROW: str(row)}
    if len(record.text) <= limits.MAX_TAG:
        tags[CONFIG] = record.text
    if retries:
        tags[RETRIES] = retries
    start, end = times
    theory = {}
    if stable_lr is not None:
        theory["largest_stable_lr"] = stable_lr
    return record_result(record_start(record, name, start, tags), fit, end, record.swept, theory)


def record_kill(begun: RunRecord, end: int) -> RunRecord:
    """Return the row of a run that was interrupted."""
    return replace(begun, end=end, status="KILLED", tags={**begun.tags, STATUS: "killed"})


def record_unrecorded(begun: RunRecord, end: int, error: str) -> RunRecord:
    """Return the row of a finished fit that was not recorded."""
    tags = {**begun.tags, STATUS: Status.FAILED.value, ERROR: mask(error)[: limits.MAX_TAG]}
    return replace(begun, end=end, status="FAILED", tags=tags)


# ---- sweeps ----


def record_sweep_start(
    name: str,
    start: int,
    records: Iterable[ConfigRecord],
    varying: Sequence[str],
    tags: Mapping[str, str],
) -> RunRecord:
    """Return the row of a sweep that begins.

    Its params are those that all its fits share.
    """
    own = {KIND: SWEEP, **tag_varying(varying), **tags}
    return RunRecord(name, start, start, "RUNNING", own, find_shared_params(records))


def find_shared_params(
    records: Iterable[ConfigRecord], known: Mapping[str, str] | None = None
) -> dict[str, str]:
    """Return the params that all the fits share.

    Also with the `known` ones of earlier fits.
    """
    shared: set[tuple[str, str]] | None = None if known is None else set(known.items())
    for record in records:
        own = record.params.items()
        shared = set(own) if shared is None else shared & own
    return dict(sorted(shared or ()))


def record_sweep_end(
    begun: RunRecord,
    counts: Mapping[Status, int],
    best: Mapping[str, float],
    by: str | None,
    end: int,
) -> RunRecord:
    """Return the row of a sweep whose fits are done.

    It has the count of each status, the loss `by` which fits are compared, and the numbers of the
    `best`.
    """
    numbers = {f"num_{status.value}": float(count) for status, count in counts.items() if count}
    ended = Status.COMPLETED
    status = "FINISHED"
    if counts.get(Status.FAILED):
        ended = Status.FAILED
        status = "FAILED"
    return replace(
        begun,
        end=end,
        status=status,
        tags={**begun.tags, STATUS: ended.value, COMPARED_BY: by or NOT_COMPARABLE},
        metrics=_at_step_0({**numbers, **best}),
    )


def select_new_metrics(row: RunRecord, known: Mapping[str, float]) -> RunRecord:
    """Return the row of a sweep that ends a second time.

    Metrics that it has already are left out. A count that is no longer among its metrics becomes 0.
    """
    current = {key: 0.0 for key in known if key.startswith("num_")}
    current |= {key: value for key, value, _ in row.metrics}
    changed = ((key, value, 0) for key, value in current.items() if known.get(key) != value)
    return replace(row, metrics=tuple(changed))


def read_varying(row: RunRecord) -> list[str]:
    """Return the keys that a sweep varies; empty for another run."""
    keys: list[str] = json.loads(row.tags.get(VARYING, "[]"))
    return keys


# ---- numbers ----


def collect_metrics(fit: Fit, swept: Mapping[str, float] = MappingProxyType({})) -> MetricPoints:
    """Return curves, then numbers at the end, then swept numbers.

    Swept numbers are params too, but only metrics are sorted as numbers.
    """
    steps = fit.steps.tolist()
    curves = {LOSS: fit.losses, EXCESS: fit.excess_losses, VALIDATION: fit.validation_losses}
    points: list[tuple[str, float, int]] = []
    for key, losses in curves.items():
        if losses is not None:
            values = zip(losses.tolist(), steps, strict=False)
            points += [(key, value, step) for value, step in values if isfinite(value)]

    ends: dict[str, float | None] = {
        "distance_to_optimum": fit.distance_to_optimum,
        "distance_to_truth": fit.distance_to_truth,
        "steps_to_tolerance": fit.steps_to_tolerance,
        "diverged_at_step": fit.diverged_at_step,
        **fit.list_measures(),
    }
    for index, weight in enumerate(fit.weights.ravel()[:MAX_WEIGHTS].tolist()):
        ends[f"{WEIGHT}{index}"] = weight
    if fit.own_weights is not None:
        for index, weight in enumerate(fit.own_weights[1].ravel()[:MAX_WEIGHTS].tolist()):
            ends[f"{OWN_WEIGHT}{index}"] = weight
    return tuple(points) + _at_step_0({**ends, **name_swept_metrics(swept)})


def name_swept_metrics(swept: Mapping[str, float]) -> dict[str, float]:
    """Return the metrics of the numbers that a sweep varies."""
    return {f"{HPARAM}{key}": value for key, value in swept.items()}


def record_dataset(fit: Fit) -> DatasetRecord | None:
    """Return a fit's dataset; None if it failed before having one."""
    problem = fit.problem
    if problem is None:
        return None
    return DatasetRecord(
        fit.config.dataset.name,
        problem.digest[: limits.MAX_DATASET_DIGEST],
        problem.source,
        problem.features,
        problem.targets,
        problem.shape[0],
    )


def _at_step_0(numbers: Mapping[str, float | None]) -> MetricPoints:
    """Return the points of numbers that are there and finite."""
    points = []
    for key, value in numbers.items():
        if value is not None and isfinite(value):
            points.append((key, float(value), 0))
    return tuple(points)
