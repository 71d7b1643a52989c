"""How far a result can be trusted: a fit beside its twins, which differ from it by nothing but rounding.

A twin starts one unit in the last place beside the fit, or sees the samples in reverse, so that every sum is taken in another order.
Where an iteration contracts, twins stay together; RMSProp and its like amplify rounding at a fixed learning rate, and from some
step on, the horizon, losses say no more about the method than about the rounding.

n samples, p features, q targets.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from linfit.config import FitConfig
from linfit.engine.difference import PARTED, relative_losses, rounding_floor
from linfit.engine.dispatch import fit
from linfit.engine.fit import Fit, Status
from linfit.method.batches import Minibatch
from linfit.method.init import Given
from linfit.problem.arrays import arrays
from linfit.problem.features import Raw
from linfit.problem.loading import divide, expanded, expansion_of
from linfit.problem.problem import Problem
from linfit.problem.split import Split
from linfit.settings import SingleEngine

#: Products of all steps, bytes of data files, and weights, beyond which no twin is made of a fit: it would cost more than it tells.
MOST_PRODUCTS, MOST_BYTES, MOST_WEIGHTS = 2**31, 2**26, 2**12


@dataclass(frozen=True)
class Parting:
    """What a fit's twins show."""

    step: int | None
    """The first recorded step at which a twin's loss differs by more than the tolerance of the dtype; None where none does."""
    spread: float
    """|log₁₀| of the ratio of a twin's excess loss to the fit's at the end, or where that is larger the median from that step on; of the
    twin farthest away. Infinite where only one of them finished."""
    least: float
    """The excess loss below which there is only rounding, of the start's squared: less counts as that."""


def partings(configs: Sequence[FitConfig]) -> list[Parting | None]:
    """Runs each fit and its twins, all together; None of a fit that is too large, that failed, or whose twins did."""
    families = [[config, *_twins_if_any(config)] for config in configs]
    done = iter(fit([member for family in families for member in family]))
    return [_parting([next(done) for _ in family]) for family in families]


def _twins_if_any(config: FitConfig) -> list[FitConfig]:
    try:
        return twins_of(config)
    except (ValueError, OSError):  # its data are gone
        return []


def twins_of(config: FitConfig) -> list[FitConfig]:
    """The twins of a fit, in its own engine: one that starts beside it, and, unless batches are drawn by number, one in reverse."""
    config = config.resolved(several=not isinstance(config.engine, SingleEngine))
    p, q = config.shape()
    if (
        p * q > MOST_WEIGHTS
        or sum(Path(file).stat().st_size for file in config.dataset.files()) > MOST_BYTES
    ):
        return []
    beside = config.model_copy(update={"init": _beside(config, p, q)})
    train, _ = divide(config.dataset, config.split, config.seed)
    if len(train.X) * p * q * config.steps > MOST_PRODUCTS:
        return []
    if isinstance(config.batch, Minibatch):
        return [beside]
    return [beside, _reversed(config, train)]


def _reversed(config: FitConfig, train: Problem) -> FitConfig:
    """Return the fit of the training samples in reverse, whose features are made already."""
    made = expanded(train, expansion_of([train], config.features))
    intercept = config.features.intercept
    X = made.X[:, :-1] if intercept else made.X
    weights = None if made.weights is None else made.weights[::-1]
    dataset = arrays(X[::-1], made.y[::-1], weight=weights)
    features = Raw(intercept=intercept)
    update = {"dataset": dataset, "features": features, "split": Split()}
    return config.model_copy(update=update)


def _beside(config: FitConfig, p: int, q: int) -> Given:
    import torch

    start = config.init.draw(p, q, config.seed, getattr(torch, config.dtype)).cpu().numpy()
    moved = np.nextafter(start, np.full_like(start, np.inf)).astype(np.float64)
    return Given(weights=tuple(map(tuple, moved.tolist())))


def _parting(family: Sequence[Fit]) -> Parting | None:
    own, *twins = family
    if not twins or any(member.status is Status.FAILED for member in family):
        return None
    least = rounding_floor(own.excess_losses[0], own.config.dtype)
    step = min(
        (found for found in (_parted(own, twin) for twin in twins) if found is not None),
        default=None,
    )
    return Parting(step, max(_spread(own, twin, least, step) for twin in twins), least)


def _parted(own: Fit, twin: Fit) -> int | None:
    steps, mine, theirs = np.intersect1d(own.steps, twin.steps, return_indices=True)
    dtype = own.config.dtype
    apart = steps[relative_losses(own.losses[mine], twin.losses[theirs], dtype) > PARTED[dtype]]
    if len(apart):
        return int(apart[0])
    return None if own.status is twin.status else int(steps[-1])


def _spread(own: Fit, twin: Fit, least: float, step: int | None) -> float:
    if not (np.isfinite(own.loss) and np.isfinite(twin.loss)):
        return 0.0 if own.status is twin.status else float("inf")
    steps, mine, theirs = np.intersect1d(own.steps, twin.steps, return_indices=True)
    late = steps >= (steps[-1] if step is None else step)
    one, other = (
        np.maximum(member.excess_losses[places][late], least)
        for member, places in ((own, mine), (twin, theirs))
    )
    ratios = np.abs(np.log10(one / other)) if least > 0 else np.zeros(1)
    return float(max(ratios[-1], np.median(ratios)))
