"""How much memory the exact optimum of a fit takes while it is found.

The factors are peaks that were measured. The sparse program that tells if classes are separated,
where an optimum without a penalty may not exist, is not counted.

n samples, p features, q targets, m weights that a Hessian couples.
"""

from __future__ import annotations

from linfit.problem.losses import Loss

#: Matrices of the Hessian's size that are held at once: it, scaled, its eigenvectors, a product …
HESSIANS_AT_ONCE = 7
#: Copies of the features: scaled, weighted, their absolute values …
FEATURES_AT_ONCE = 4
#: Arrays of the predictors' size; of a loss that couples targets, of the curvatures' size.
PREDICTOR_COPIES = 8
#: Matrices of the Hessian's size that an update by Newton's method holds.
HESSIANS_OF_UPDATE = 4
FLOAT_BYTES = 8


def estimate_optimum_bytes(shape: tuple[int, int, int], loss: Loss) -> int:
    """Return the bytes that are needed beside the data `[n, p, q]` while one optimum is found."""
    n, p, q = shape
    coupled = q if loss.couples_targets else 1
    hessians = HESSIANS_AT_ONCE * (p * coupled) ** 2
    predictors = PREDICTOR_COPIES * n * q * coupled
    return FLOAT_BYTES * (hessians + FEATURES_AT_ONCE * n * p + predictors)


def estimate_hessian_bytes(shape: tuple[int, int, int], loss: Loss) -> int:
    """Return the bytes of the Hessians of one fit while a step by Newton's method is found."""
    _, p, q = shape
    numbers = (p * q) ** 2 if loss.couples_targets else q * p**2
    return FLOAT_BYTES * HESSIANS_OF_UPDATE * numbers
