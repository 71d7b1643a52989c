"""Every name that linfit writes into MLflow, and what stands under it. Recorders only carry what is decided here.

Curves have one point per recorded step. Every other metric stands at step 0: the UI draws a line chart for any metric
with a later step. Numbers that are not finite are left out: MLflow would store infinity as 1.797e308; the status says it.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import repeat
from math import isfinite
from types import MappingProxyType

from linfit.engine.fit import Fit, Status
from linfit.engine.prediction import stable_lr_of
from linfit.errors import LinfitError, brief
from linfit.tracking import limits
from linfit.tracking.accounts import Account
from linfit.tracking.masking import mask

KIND = "linfit.kind"
FINGERPRINT = "linfit.fingerprint"
STATUS = "linfit.status"
CONFIG = "linfit.config"
CODE = "linfit.code"
VERSION = "linfit.version"
ENVIRONMENT = "linfit.environment"
DIRTY = "linfit.git.dirty"
ERROR = "linfit.error"
ROW = "linfit.row"
VARYING = "linfit.varying"
REPRODUCES = "linfit.reproduces"
ID = "linfit.id"
OWNER = "linfit.owner"
FOLDER = "linfit.folder"
RETRIES = "linfit.retries"
CHANGES = "linfit.changes"
CHANGED = "linfit.changed"
VERDICT = "linfit.verdict"
FILES = "linfit.files"
NOTES = "linfit.notes"
HORIZON = "linfit.horizon"
COMPARED_BY = "linfit.compared_by"
PARENT = "mlflow.parentRunId"
FIT, SWEEP = "fit", "sweep"
#: A fit or a sweep once more: a kind of its own, because searches in MLflow 3.10 cannot ask whether a tag is absent.
REPRODUCTION = "reproduction"
#: What stands in the tag of what fits are compared by, where they cannot be.
INCOMPARABLE = "nothing"

LOSS, EXCESS, VALIDATION = LOSSES = "loss", "excess_loss", "validation_loss"
WEIGHT, OWN_WEIGHT, HPARAM, THEORY = "weight/", "weight_raw/", "hparam/", "theory/"
CONFIG_FILE, WEIGHTS_FILE = "config.json", "weights.safetensors"
ENVIRONMENT_FILE, GIT_DIFF = "environment.json", "git.diff"
MANIFEST, RESULTS, CURVES = "manifest.parquet", "results.parquet", "curves.parquet"
MODEL = "model"
PICTURES, REPORT, TWINS = "pictures", "report.html", "twins.json"
LEADERBOARD = "leaderboard"

MAX_TAG, MAX_DIGEST, MAX_WEIGHTS = limits.TAG, limits.DIGEST, 32


@dataclass(frozen=True)
class Dataset:
    """A dataset as MLflow's dataset input."""

    name: str
    digest: str
    source: str
    features: tuple[str, ...]
    targets: tuple[str, ...]
    rows: int


@dataclass(frozen=True)
class Row:
    """One run as MLflow keeps it, with everything but its id: times in milliseconds since the epoch."""

    name: str
    start: int
    end: int
    status: str
    tags: dict[str, str]
    params: dict[str, str] = field(default_factory=dict)
    metrics: tuple[tuple[str, float, int], ...] = ()
    """(key, value, step)"""
    dataset: Dataset | None = None

    def __post_init__(self) -> None:
        """What every store holds."""
        if len(self.name) > limits.RUN_NAME:
            object.__setattr__(self, "name", limits.shortened(self.name, limits.RUN_NAME))
        if any(len(value) > limits.TAG for value in self.tags.values()):
            object.__setattr__(self, "tags", limits.shortened_values(self.tags, limits.TAG))


@dataclass(frozen=True)
class Amendment:
    """What a recorded run is to have: another name, and metrics, params and tags it may lack."""

    name: str = ""
    """Empty where its name stays."""
    metrics: Mapping[str, float] = field(default_factory=dict)
    params: Mapping[str, str] = field(default_factory=dict)
    tags: Mapping[str, str] = field(default_factory=dict)


def started(said: Account, name: str, start: int, tags: Mapping[str, str]) -> Row:
    """A run of the config of which `said` is the account, when it begins."""
    return Row(
        name,
        start,
        start,
        "RUNNING",
        {KIND: FIT, FINGERPRINT: said.fingerprint, **tags},
        said.params,
    )


def finished(
    begun: Row,
    fit: Fit,
    end: int,
    swept: Mapping[str, float] = MappingProxyType({}),
    theory: Mapping[str, float] | None = None,
) -> Row:
    """The run that `begun` has become: FINISHED with its numbers and what `theory` says of it, or FAILED with its traceback."""
    notes = (
        ()
        if fit.problem is None
        else (
            *fit.problem.notes,
            *limits.schema_notes((*fit.problem.features, *fit.problem.targets)),
        )
    )
    tags = {**begun.tags, STATUS: fit.status.value, **noted(notes)}
    if fit.status is Status.FAILED:
        return replace(
            begun, end=end, status="FAILED", tags={**tags, ERROR: mask(fit.error or "")[-MAX_TAG:]}
        )
    predicted = _finite((f"{THEORY}{key}", value, 0) for key, value in (theory or {}).items())
    return replace(
        begun,
        end=end,
        status="FINISHED",
        tags=tags,
        metrics=metrics(fit, swept) + predicted,
        dataset=dataset(fit),
    )


def child(
    fit: Fit,
    said: Account,
    name: str,
    parent: str,
    row: int,
    times: tuple[int, int],
    retries: str | None = None,
) -> Row:
    """A fit of a sweep, whole: its config stands in a tag, unless it is too long for one (then the parent's manifest has it).
    Of its theory it has the largest stable learning rate alone: every number of every fit is a row of the store.

    `retries` is the id of the failed run that it stands in for.
    """
    own = {
        PARENT: parent,
        ROW: str(row),
        **({CONFIG: said.text} if len(said.text) <= MAX_TAG else {}),
    }
    own |= {RETRIES: retries} if retries else {}
    bound = stable_lr_of(fit)
    theory = {} if bound is None else {"largest_stable_lr": bound}
    return finished(started(said, name, times[0], own), fit, times[1], said.swept, theory)


def sweep_started(
    name: str,
    start: int,
    accounts: Iterable[Account],
    varying: Sequence[str],
    tags: Mapping[str, str],
) -> Row:
    """The parent of a sweep when it begins; its params are those that all its fits share."""
    kind = {KIND: SWEEP, **varied(varying)}
    return Row(name, start, start, "RUNNING", {**kind, **tags}, shared_params(accounts))


def shared_params(
    accounts: Iterable[Account], known: Mapping[str, str] | None = None
) -> dict[str, str]:
    """Return the params that all the fits share, with those `known` of earlier fits if there were any."""
    shared: set[tuple[str, str]] | None = None if known is None else set(known.items())
    for said in accounts:
        own = said.params.items()
        shared = set(own) if shared is None else shared & own
    return dict(sorted(shared or ()))


def varied(keys: Sequence[str]) -> dict[str, str]:
    """Return the tag with the keys that a sweep varies."""
    return {VARYING: json.dumps(list(keys))}


def sweep_finished(
    begun: Row, counts: Mapping[Status, int], best: Mapping[str, float], by: str | None, end: int
) -> Row:
    """The parent when its fits are done: how many ended how, by which loss they are compared, and the numbers of the best."""
    numbers = [
        (f"num_{status.value}", float(count), 0) for status, count in counts.items() if count
    ]
    numbers += [(key, value, 0) for key, value in best.items()]
    ended = Status.FAILED if counts.get(Status.FAILED) else Status.COMPLETED
    status = "FAILED" if ended is Status.FAILED else "FINISHED"
    tags = {**begun.tags, STATUS: ended.value, COMPARED_BY: by or INCOMPARABLE}
    return replace(begun, end=end, status=status, tags=tags, metrics=_finite(numbers))


def compared_by(tags: Mapping[str, str]) -> str | None:
    """Return the loss by which the fits of a sweep are compared, from its parent's tags; None where they cannot be.

    Parents of before do not say it: theirs are compared by excess loss.
    """
    by = tags.get(COMPARED_BY, EXCESS)
    return by if by in (LOSS, EXCESS, VALIDATION) else None


def noted(notes: Iterable[str]) -> dict[str, str]:
    """The tag with what the user should know of the data, a sentence a line; none where there is nothing."""
    text = "\n".join(notes)
    return {NOTES: brief(text, MAX_TAG - 100)} if text else {}


def news(row: Row, known: Mapping[str, float]) -> Row:
    """A parent that ends a second time: without the metrics that it has already, and with a 0 for each count that it had and has no more."""
    counts = {key: 0.0 for key in known if key.startswith("num_")}
    metrics = {**counts, **{key: value for key, value, _ in row.metrics}}
    return replace(
        row,
        metrics=tuple((key, value, 0) for key, value in metrics.items() if known.get(key) != value),
    )


def killed(begun: Row, end: int) -> Row:
    """A run that was interrupted."""
    return replace(begun, end=end, status="KILLED", tags={**begun.tags, STATUS: "killed"})


def unrecorded(begun: Row, end: int, error: str) -> Row:
    """A run whose fit is done and could not be recorded."""
    return replace(
        begun,
        end=end,
        status="FAILED",
        tags={**begun.tags, STATUS: Status.FAILED.value, ERROR: mask(error)[:MAX_TAG]},
    )


def metrics(
    fit: Fit, swept: Mapping[str, float] = MappingProxyType({})
) -> tuple[tuple[str, float, int], ...]:
    """The curves, then the numbers at the end, then the swept numbers, which sort only as metrics."""
    own = fit.own_weights
    steps = fit.steps.tolist()
    curves = [
        point
        for key, values in (
            (LOSS, fit.losses),
            (EXCESS, fit.excess_losses),
            (VALIDATION, fit.validation_losses),
        )
        if values is not None
        for point in zip(repeat(key), values.tolist(), steps, strict=False)
    ]
    ends = {
        "distance_to_optimum": fit.distance_to_optimum,
        "distance_to_truth": fit.distance_to_truth,
        "steps_to_tolerance": fit.steps_to_tolerance,
        "diverged_at_step": fit.diverged_at_step,
        **{
            f"{WEIGHT}{i}": weight
            for i, weight in enumerate(fit.weights.ravel().tolist()[:MAX_WEIGHTS])
        },
        **(
            {}
            if own is None
            else {
                f"{OWN_WEIGHT}{i}": weight
                for i, weight in enumerate(own[1].ravel().tolist()[:MAX_WEIGHTS])
            }
        ),
        **swept_metrics(swept),
    }
    return _finite(
        curves + [(key, float(value), 0) for key, value in ends.items() if value is not None]
    )


def swept_metrics(swept: Mapping[str, float]) -> dict[str, float]:
    """Return the metrics of numbers that a sweep varies, so that columns sort."""
    return {f"{HPARAM}{key}": value for key, value in swept.items()}


def reproduction(run_id: str) -> dict[str, str]:
    """Return the tags of a run that repeats another one."""
    return {KIND: REPRODUCTION, REPRODUCES: run_id}


def kind_of(tags: Mapping[str, str]) -> str:
    """Return what a run is, fit or sweep, whether or not it is a reproduction of one."""
    kind = tags.get(KIND, "")
    if kind != REPRODUCTION:
        return kind
    return SWEEP if VARYING in tags else FIT


def sweep_of(tags: Mapping[str, str]) -> str | None:
    """Return the id of the sweep that a run is a fit of; None for a run that nothing, or a run of the caller's, is above."""
    return (
        None if CODE in tags else tags.get(PARENT)
    )  # single runs and sweeps have that tag, and fits of sweeps do not


def varying(row: Row) -> list[str]:
    """The keys that a sweep's parent says it varies; none of another run."""
    keys: list[str] = json.loads(row.tags.get(VARYING, "[]"))
    return keys


def dataset(fit: Fit) -> Dataset | None:
    if fit.problem is None:
        return None
    problem = fit.problem
    return Dataset(
        fit.config.dataset.name,
        problem.digest[:MAX_DIGEST],
        problem.source,
        problem.features,
        problem.targets,
        problem.shape[0],
    )


def _finite(numbers: Iterable[tuple[str, float, int]]) -> tuple[tuple[str, float, int], ...]:
    return tuple([number for number in numbers if isfinite(number[1])])


def row_number(text: str) -> int:
    """A fit's place in its sweep, from its tag; LinfitError where the tag is none."""
    if not (text.isascii() and text.isdecimal() and len(text) < 10):
        raise LinfitError(f"the tag {ROW} is no number: {brief(repr(text))}")
    return int(text)
