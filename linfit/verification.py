"""`linfit verify`: a sample of a sweep's fits once more, each alone, which must give the stored bits, and in the other engine.

A stacked fit's bits depend on nothing beside its own config, so alone it must end where it ended among thousands. The other engine
computes the same in another order: there rounding parts the two, how far and from which step on is said and not judged.

p features, q targets, k recorded steps.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from linfit.engine.difference import PARTED, relative, relative_losses
from linfit.engine.dispatch import fit
from linfit.engine.fit import Fit, Status
from linfit.engine.surroundings import isolated
from linfit.errors import ConfigError, LinfitError
from linfit.problem.problem import Array
from linfit.settings import SingleEngine, StackedEngine
from linfit.sweeps.composition import load_plugins
from linfit.tracking import layout
from linfit.tracking.access import Kept, Permits
from linfit.tracking.changes import DECIDED
from linfit.tracking.comparison import Verdict, differences
from linfit.tracking.environment import differing, environment, tagged
from linfit.tracking.outcomes import Outcome, of_rows
from linfit.tracking.reading import Reader, Record
from linfit.tracking.store import Store
from linfit.tracking.stored import read_config
from linfit.tracking.sweep_tables import Entry, num_rows


@dataclass(frozen=True)
class Agreement:
    """How near the other engine comes. Infinite where only one of the two is finite."""

    engine: str
    status: str
    losses: float
    """The largest difference of losses at a recorded step, relative to the loss or, if larger, the initial loss × eps."""
    weights: float
    """The largest difference of the weights at the last step that both recorded, relative to the largest weight."""
    parted_at: int | None
    """The first recorded step whose losses differ by more than 1e-9 in float64, 1e-4 in float32; None if none does."""


@dataclass(frozen=True)
class Check:
    """One fit of the sample: `why` says what differs, or why it cannot be refitted."""

    row: int
    name: str
    verdict: Verdict
    why: str = ""
    engine: str = ""
    status: str = ""
    other: Agreement | None = None


@dataclass(frozen=True)
class Verification:
    """The sample of a sweep of `num_fits` fits; `changes` are what of the environment is not as it was, as (then, now)."""

    run_id: str
    name: str
    num_fits: int
    changes: dict[str, tuple[str, str]]
    checks: list[Check]

    def count(self, verdict: Verdict) -> int:
        return sum(check.verdict is verdict for check in self.checks)


@isolated
def verify(
    store: Store,
    reference: str,
    sample: int,
    seed: int,
    trust: bool = False,
    data: str | None = None,
) -> Verification:
    """Refits `sample` fits, drawn with `seed`, of the sweep that `reference` names; LinfitError if it has no tables.

    Plug-ins are imported only with `trust`, and data outside of the working directory read only below `data`.
    """
    load_plugins(())  # those of installed packages
    permits = Permits(load_plugins if trust else None, None if data is None else Path(data))
    record = Reader(store).find(reference, layout.SWEEP)
    if record.kind != layout.SWEEP:
        raise LinfitError(
            f"run {record.run_id} is no sweep: give a sweep's id, the beginning of one, or last"
        )
    tables = record.tables()
    rows = tables.draw(sample, seed)
    checks = [
        _check(row, permits, record.file, *parts)
        for row, parts in zip(rows, tables.read(rows), strict=True)
    ]
    return Verification(
        record.run_id, record.name, num_rows(tables.manifest), _changes(record), checks
    )


def _changes(record: Record) -> dict[str, tuple[str, str]]:
    try:
        then = tagged(record.tags) or {}
        found = differing(then, environment(int(then.get("threads", "1"))))
        return {
            key: pair for key, pair in found.items() if key not in DECIDED
        }  # a fit is refitted on its own device
    except (ValueError, TypeError):
        return {}  # a tag that says nothing is no obstacle: the bits speak for themselves


def _check(
    row: int,
    permits: Permits,
    kept: Kept,
    planned: Entry | None,
    result: Entry | None,
    curve: Entry | None,
) -> Check:
    if planned is None:
        return Check(row, f"row {row}", Verdict.REFUSED, "the manifest has no such row")
    name = str(planned["name"])
    try:
        config = permits.admit(
            read_config(planned["config"], permits.load), planned["fingerprint"], kept
        )
    except ConfigError as error:
        return Check(row, name, Verdict.REFUSED, str(error))
    if result is None:
        return Check(row, name, Verdict.REFUSED, "it has no result: the sweep was interrupted")
    again = fit(config)
    if again.status is Status.FAILED and result["status"] != Status.FAILED.value:
        why = f"it failed this time: {(again.error or '').strip().splitlines()[-1]}"
        return Check(row, name, Verdict.REFUSED, why, config.engine.name, again.status.value)
    different = differences(of_rows(result, curve), Outcome.of(again))
    return Check(
        row,
        name,
        Verdict.DIFFERS if different else Verdict.IDENTICAL,
        "; ".join(different),
        config.engine.name,
        again.status.value,
        _in_the_other_engine(again),
    )


def _in_the_other_engine(again: Fit) -> Agreement | None:
    """The same fit by the engine that did not run it; None where there is none that can, or where nothing came out."""
    config = again.config
    stacked = isinstance(config.engine, StackedEngine)
    if again.status is Status.FAILED or (not stacked and config.unstackable()):
        return None
    engine = SingleEngine() if stacked else StackedEngine()
    return agreement(again, fit(config.model_copy(update={"engine": engine})))


def agreement(one: Fit, other: Fit) -> Agreement:
    """How near `other` comes to `one`, the same fit in another engine, at the recorded steps that both reached."""
    engine, status = other.config.engine.name, other.status.value
    if other.status is Status.FAILED:
        return Agreement(engine, status, np.inf, np.inf, int(one.steps[0]))
    dtype = one.config.dtype
    steps, mine, theirs = np.intersect1d(one.steps, other.steps, return_indices=True)
    losses = relative_losses(one.losses[mine], other.losses[theirs], dtype)  # [k]
    ends = _weights(one, mine[-1]), _weights(other, theirs[-1])
    weights = relative(*ends, np.abs(ends[0]).max())
    parted = steps[losses > PARTED[dtype]]
    return Agreement(
        engine,
        status,
        float(losses.max()),
        float(weights.max()),
        int(parted[0]) if len(parted) else None,
    )


def _weights(fit: Fit, place: int) -> Array:
    """The weights `[p, q]` at a place of the path, in float64."""
    assert fit.path is not None
    return np.asarray(fit.path.weights[place], dtype=np.float64)
