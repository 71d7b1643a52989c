"""`linfit verify`: refit a sample of a sweep's fits alone, and in the other engine.

A stacked fit's bits depend on nothing but its own config: alone it must end with the stored bits.
The other engine computes in another order, so that rounding parts the two. How far, and from which
step on, is reported and not judged.

p features, q targets, k recorded steps.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from linfit.engine.caller_settings import isolate_from_caller
from linfit.engine.difference import compare_losses, parting_step, relative_difference
from linfit.engine.dispatch import fit
from linfit.engine.fit import Fit, Status
from linfit.errors import ConfigError, LinfitError
from linfit.problem.types import Array
from linfit.settings import SingleEngine, StackedEngine
from linfit.sweeps.compose.compose import load_plugins
from linfit.tracking.provenance.environment import (
    collect_environment,
    compare_environments,
    read_machine_tag,
)
from linfit.tracking.read.access import FindKeptFile, ReadPolicy
from linfit.tracking.read.comparison import Verdict, list_differences
from linfit.tracking.read.config import read_config
from linfit.tracking.read.environment_diff import KEYS_OF_CONFIG
from linfit.tracking.read.outcome import Outcome, read_row_outcome
from linfit.tracking.read.reader import RunReader, StoredRun
from linfit.tracking.read.sweep_tables import TableEntry, count_rows
from linfit.tracking.schema import mlflow_names
from linfit.tracking.store.store import Store


@dataclass(frozen=True)
class Agreement:
    """Difference between the two engines.

    Infinite if only one of the two is finite.
    """

    engine: str
    status: str
    losses: float
    """Largest difference of losses, relative to the larger of the loss and the initial loss × ε."""
    weights: float
    """Largest difference of weights at the last common step, relative to the largest weight."""
    parted_at: int | None
    """First recorded step whose losses differ by more than 1e-9 in float64, 1e-4 in float32."""


@dataclass(frozen=True)
class Check:
    """One fit of the sample.

    `why` says what differs, or why it cannot be refitted.
    """

    row: int
    name: str
    verdict: Verdict
    why: str = ""
    engine: str = ""
    status: str = ""
    other: Agreement | None = None


@dataclass(frozen=True)
class Verification:
    """A sample of a sweep of `num_fits` fits.

    `changes` are the differences of the environment, as (then, now).
    """

    run_id: str
    name: str
    num_fits: int
    changes: dict[str, tuple[str, str]]
    checks: list[Check]

    def count_verdict(self, verdict: Verdict) -> int:
        """Return the number of fits with this verdict."""
        return sum(check.verdict is verdict for check in self.checks)


@isolate_from_caller
def verify_sweep(
    store: Store,
    reference: str,
    sample: int,
    seed: int,
    trust: bool = False,
    data: str | None = None,
) -> Verification:
    """Refit `sample` fits, drawn with `seed`, of a sweep.

    Raise LinfitError without its tables.

    Plug-ins are imported only with `trust`. Data outside of the working directory are read only
    below `data`.
    """
    load_plugins(())  # those of installed packages
    permits = ReadPolicy(load_plugins if trust else None, None if data is None else Path(data))
    record = RunReader(store).find_run(reference, mlflow_names.SWEEP)
    if record.kind != mlflow_names.SWEEP:
        raise LinfitError(
            f"run {record.run_id} is no sweep: give a sweep's id, the beginning of one, or last"
        )
    tables = record.find_tables()
    rows = tables.draw_rows(sample, seed)
    checks = [
        _check(row, permits, record.fetch_file, *parts)
        for row, parts in zip(rows, tables.read_fits(rows), strict=True)
    ]
    num_fits = count_rows(tables.manifest)
    return Verification(record.run_id, record.name, num_fits, _environment_changes(record), checks)


def _environment_changes(record: StoredRun) -> dict[str, tuple[str, str]]:
    try:
        then = read_machine_tag(record.tags) or {}
        found = compare_environments(then, collect_environment(int(then.get("threads", "1"))))
    except (ValueError, TypeError):
        return {}  # an unreadable tag is no obstacle: the bits decide
    # A fit is refitted on its own device.
    return {key: pair for key, pair in found.items() if key not in KEYS_OF_CONFIG}


def _check(
    row: int,
    permits: ReadPolicy,
    kept: FindKeptFile,
    planned: TableEntry | None,
    result: TableEntry | None,
    curve: TableEntry | None,
) -> Check:
    if planned is None:
        return Check(row, f"row {row}", Verdict.REFUSED, "the manifest has no such row")
    name = str(planned["name"])
    try:
        stored = read_config(planned["config"], permits.load)
        config = permits.authorize(stored, planned["fingerprint"], kept)
    except ConfigError as error:
        return Check(row, name, Verdict.REFUSED, str(error))
    if result is None:
        return Check(row, name, Verdict.REFUSED, "it has no result: the sweep was interrupted")

    again = fit(config)
    engine = config.engine.name
    status = again.status.value
    if again.status is Status.FAILED and result["status"] != Status.FAILED.value:
        why = f"it failed this time: {(again.error or '').strip().splitlines()[-1]}"
        return Check(row, name, Verdict.REFUSED, why, engine, status)
    different = list_differences(read_row_outcome(result, curve), Outcome.from_fit(again))
    verdict = Verdict.DIFFERS if different else Verdict.IDENTICAL
    other = _compare_engines(again)
    return Check(row, name, verdict, "; ".join(different), engine, status, other)


def _compare_engines(again: Fit) -> Agreement | None:
    """Compare a fit with the other engine's.

    None if that cannot run it, or if the fit failed.
    """
    config = again.config
    is_stacked = isinstance(config.engine, StackedEngine)
    if again.status is Status.FAILED or (not is_stacked and config.unstackable()):
        return None
    engine = SingleEngine() if is_stacked else StackedEngine()
    return measure_agreement(again, fit(config.model_copy(update={"engine": engine})))


def measure_agreement(one: Fit, other: Fit) -> Agreement:
    """Compare two engines' fits of one config at their common steps."""
    engine = other.config.engine.name
    status = other.status.value
    if other.status is Status.FAILED:
        return Agreement(engine, status, np.inf, np.inf, int(one.steps[0]))
    dtype = one.config.dtype
    steps, mine, theirs = np.intersect1d(one.steps, other.steps, return_indices=True)
    losses = compare_losses(one.losses[mine], other.losses[theirs], dtype)  # [k]
    own_end = _weights_at(one, mine[-1])
    other_end = _weights_at(other, theirs[-1])
    weights = relative_difference(own_end, other_end, np.abs(own_end).max())
    parted_at = parting_step(steps, losses, dtype)
    return Agreement(engine, status, float(losses.max()), float(weights.max()), parted_at)


def _weights_at(fit: Fit, index: int) -> Array:
    """Return the weights `[p, q]` at one point of the path, in float64."""
    assert fit.path is not None
    return np.asarray(fit.path.weights[index], dtype=np.float64)
