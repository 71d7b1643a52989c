"""Trust in a result: a fit and its twins, which differ from it by rounding only.

One twin starts one unit in the last place away from the fit; the other sees the samples in reverse,
so that every sum is taken in another order. If an iteration contracts, twins stay together. RMSProp
and its like amplify rounding at a fixed learning rate: from some step on, the horizon, losses say
more about the rounding than about the method.

n samples, p features, q targets.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import chain, islice
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from linfit.config import FitConfig
from linfit.engine.difference import compare_losses, parting_step, rounding_floor
from linfit.engine.dispatch import fit
from linfit.engine.fit import Fit, Status
from linfit.method.init import Given
from linfit.problem.datasets.arrays import arrays
from linfit.problem.datasets.prepare import expand_features, fit_feature_map, split_samples
from linfit.problem.datasets.targets import encode_targets
from linfit.problem.features import Raw
from linfit.problem.problem import Problem
from linfit.problem.split import Holdout
from linfit.problem.types import Array
from linfit.settings import SingleEngine

# A fit with more than this gets no twins: they would cost more than they tell.
#: Most products in all steps of a fit.
MAX_TWIN_PRODUCTS = 2**31
#: Most bytes of data files.
MAX_TWIN_BYTES = 2**26
#: Most weights.
MAX_TWIN_WEIGHTS = 2**12


@dataclass(frozen=True)
class TwinComparison:
    """Differences between a fit and its twins."""

    step: int | None
    """First recorded step at which a twin's loss differs by more than the dtype's tolerance."""
    spread: float
    """|log₁₀(excess loss of a twin / that of the fit)| of the most distant twin.

    It is taken at the end, or if larger as the median from `step` on. Infinite if only one of the
    two finished.
    """
    least: float
    """Excess loss at or below which there is only rounding; smaller ones count as this."""
    loss_spread: float = 0.0
    """Like `spread`, of the losses, or if larger of those of the samples held out."""


def compare_with_twins(configs: Sequence[FitConfig]) -> list[TwinComparison | None]:
    """Run fits with their twins; compare each with its own.

    None for a fit that is too large, that failed, or whose twins failed.
    """
    families = [[config, *_twins_if_any(config)] for config in configs]
    done = iter(fit(list(chain(*families))))
    return [_compare_family(list(islice(done, len(family)))) for family in families]


def _twins_if_any(config: FitConfig) -> list[FitConfig]:
    try:
        return build_twins(config)
    except (ValueError, OSError):  # the data are gone
        return []


def build_twins(config: FitConfig) -> list[FitConfig]:
    """Return the twins of a fit, for the fit's own engine.

    There is no twin in reverse if batches are drawn, because these are drawn by row number.
    """
    config = config.resolved(several=not isinstance(config.engine, SingleEngine))
    p, q = config.shape()
    num_bytes = sum(Path(file).stat().st_size for file in config.dataset.list_files())
    if p * q > MAX_TWIN_WEIGHTS or num_bytes > MAX_TWIN_BYTES:
        return []
    train, _ = split_samples(config.dataset, config.split, config.seed, config.loss.target_kind)
    if len(train.X) * p * q * config.steps > MAX_TWIN_PRODUCTS:
        return []
    made = expand_features(train, fit_feature_map([train], config.features, bool(train.levels)))
    made = encode_targets(made, config.loss.target_kind)
    # Columns of text and classes have more weights than the config can say.
    if math.prod(made.shape) * config.steps > MAX_TWIN_PRODUCTS:
        return []
    beside = config.model_copy(update={"init": _shift_start(config, *made.shape[1:])})
    if not config.batch.is_full:
        return [beside]
    return [beside, _reverse_samples(config, made)]


def _reverse_samples(config: FitConfig, made: Problem) -> FitConfig:
    """Return the fit of the training samples in reverse, with their features already expanded."""
    intercept = config.features.intercept
    X = made.X[:, :-1] if intercept else made.X
    y = made.y
    if config.loss.target_kind == "classes":
        y = y.argmax(axis=1)[:, None]
    weights = None if made.weights is None else made.weights[::-1]
    dataset = arrays(X[::-1], y[::-1], weight=weights)
    features = Raw(intercept=intercept)
    update = {"dataset": dataset, "features": features, "split": Holdout()}
    return config.model_copy(update=update)


def _shift_start(config: FitConfig, p: int, q: int) -> Given:
    """Return initial weights one unit in the last place above the fit's own."""
    import torch

    start = config.init.draw(p, q, config.seed, getattr(torch, config.dtype)).cpu().numpy()
    moved = np.nextafter(start, np.full_like(start, np.inf)).astype(np.float64)
    return Given(weights=tuple(map(tuple, moved.tolist())))


def _compare_family(family: Sequence[Fit]) -> TwinComparison | None:
    own, *twins = family
    if not twins or any(member.status is Status.FAILED for member in family):
        return None
    least = rounding_floor(own.excess_losses[0], own.config.dtype)
    steps = [_find_parting_step(own, twin) for twin in twins]
    step = min((step for step in steps if step is not None), default=None)
    spread = max(_measure_spread(own, twin, least, step) for twin in twins)
    loss_spread = max(_measure_loss_spread(own, twin, step) for twin in twins)
    return TwinComparison(step, spread, least, loss_spread)


def _find_parting_step(own: Fit, twin: Fit) -> int | None:
    """Return the first recorded step at which the two have parted.

    None if they never do.
    """
    steps, mine, theirs = np.intersect1d(own.steps, twin.steps, return_indices=True)
    dtype = own.config.dtype
    step = parting_step(steps, compare_losses(own.losses[mine], twin.losses[theirs], dtype), dtype)
    if step is None and own.status is not twin.status:
        return int(steps[-1])
    return step


def _measure_spread(own: Fit, twin: Fit, least: float, step: int | None) -> float:
    """Return the `spread` of `TwinComparison` for one twin."""
    if not (np.isfinite(own.loss) and np.isfinite(twin.loss)):
        return 0.0 if own.status is twin.status else float("inf")
    if not least > 0:  # the fit starts at the optimum
        return 0.0
    mine, theirs = _find_late_steps(own, twin, step)
    one = np.maximum(own.excess_losses[mine], least)
    other = np.maximum(twin.excess_losses[theirs], least)
    return _summarize_ratios(one / other)


def _measure_loss_spread(own: Fit, twin: Fit, step: int | None) -> float:
    """Return the `loss_spread` of `TwinComparison` for one twin."""
    if not (np.isfinite(own.loss) and np.isfinite(twin.loss)):
        return 0.0 if own.status is twin.status else float("inf")
    mine, theirs = _find_late_steps(own, twin, step)
    spread = _summarize_ratios(own.losses[mine] / twin.losses[theirs])
    held_out = own.validation_losses
    same_held_out = twin.validation_losses
    if held_out is None or same_held_out is None:  # the twin in reverse holds nothing out
        return spread
    return max(spread, _summarize_ratios(held_out[mine] / same_held_out[theirs]))


def _find_late_steps(
    own: Fit, twin: Fit, step: int | None
) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    """Return where both fits have the recorded steps from `step` on, the last one if it is None."""
    steps, mine, theirs = np.intersect1d(own.steps, twin.steps, return_indices=True)
    late = steps >= (steps[-1] if step is None else step)
    return mine[late], theirs[late]


def _summarize_ratios(ratios: Array) -> float:
    """Return the |log₁₀| of the last ratio, or if larger their median; NaN counts as 0."""
    with np.errstate(divide="ignore", invalid="ignore"):
        logs = np.nan_to_num(np.abs(np.log10(ratios)), nan=0.0, posinf=np.inf)
    return float(max(logs[-1], np.median(logs)))
