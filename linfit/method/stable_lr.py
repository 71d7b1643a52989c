"""The largest stable learning rate of an optimizer with its batches, from a known curvature.

n samples, p features.
"""

from __future__ import annotations

from linfit.method.batches import Batch, largest_sample_curvature
from linfit.method.gradients import Gradient
from linfit.method.optimizers import Optimizer
from linfit.problem.types import Array


def has_stable_lr_bound(optimizer: Optimizer, batch: Batch) -> bool:
    """Return True if the optimizer's bound holds with such batches.

    False if it states none. The bound of a momentum holds for the gradient of all samples only.
    """
    if batch.is_full:
        return optimizer.has_stable_lr()
    return optimizer.is_stable_by_batches()


def find_largest_stable_lr(
    optimizer: Optimizer,
    batch: Batch,
    gradient: Gradient,
    curvature: float,
    X: Array,
    scale: float,
    strength: float,
    count: float,
) -> float | None:
    """Return the largest stable learning rate, None if none is stated.

    `curvature` is the largest of the objective: the loss, of `scale`, on X `[n, p]`, and a penalty
    of `strength`. `count` is the n by which the optimizer may average. With batches the bound is
    one up to which the error shrinks in the mean, whatever they draw.
    """
    if not has_stable_lr_bound(optimizer, batch):
        return None
    if batch.is_full:
        return optimizer.largest_stable_lr(curvature, count)
    steepest = largest_sample_curvature(X, scale) + strength
    effective = gradient.batch_curvature(batch, curvature, steepest, len(X))
    return None if effective is None else optimizer.largest_stable_lr(effective, count)
