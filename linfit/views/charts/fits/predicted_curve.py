"""The excess loss that theory predicts for each step of gradient descent.

Along an eigenvector of the Hessian with curvature λᵢ, the error c_i is multiplied by a matrix with
each step. After k steps the excess loss is ½ Σ λᵢ c_i² (Mᵢᵏ)₀₀², exactly but for rounding; without
momentum (Mᵢᵏ)₀₀ is (1 − lr·λᵢ)ᵏ.

m curvatures that are not zero, k steps.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from linfit.engine.fit import Fit
from linfit.engine.prediction.predict import build_propagators, split_excess_loss
from linfit.problem.types import Array

#: Steps at which a prediction is drawn.
MOST_PREDICTED_STEPS = 300


def predict_excess(fit: Fit) -> tuple[NDArray[np.int64], Array] | None:
    """Return some of a fit's recorded steps, and the excess losses predicted there.

    None where the iteration is not linear.
    """
    if fit.problem is None or fit.optimum is None or fit.path is None:
        return None
    n = fit.config.optimizer.count_samples(fit.problem)
    matrices = build_propagators(fit.config, fit.optimum, n)
    if matrices is None:
        return None
    shares = split_excess_loss(fit.optimum, fit.path.weights[0].astype(np.float64))
    steps = fit.steps
    if len(steps) > MOST_PREDICTED_STEPS:
        kept = np.geomspace(1, len(steps), MOST_PREDICTED_STEPS).round().astype(np.intp) - 1
        steps = steps[np.unique(kept)]
    return steps, _follow(matrices, shares, steps)


@np.errstate(over="ignore", under="ignore", invalid="ignore")
def _follow(matrices: Array, shares: Array, steps: NDArray[np.int64]) -> Array:
    """Return half the sum of shares `[m]`, each after the powers `steps` of its matrix."""
    power = np.broadcast_to(np.eye(2), matrices.shape)
    excess = []
    for step in np.diff(steps, prepend=0).tolist():
        power = power @ np.linalg.matrix_power(matrices, step)
        excess.append(0.5 * float(shares @ np.square(power[:, 0, 0])))
    return np.array(excess)
