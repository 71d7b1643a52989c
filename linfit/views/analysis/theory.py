"""Theory of a recorded fit: the largest stable learning rate, and the predicted contraction."""

from __future__ import annotations

import math
from collections.abc import Sequence

from linfit.config import FitConfig
from linfit.engine.fit import Fit
from linfit.engine.prediction import predict
from linfit.problem.problem import Problem
from linfit.problem.theory.optimum import Optimum
from linfit.sweeps.preflight import stability


def compute_stable_rate(config: FitConfig, problem: Problem, optimum: Optimum) -> float | None:
    """Return the largest stable learning rate on all samples.

    None if no finite one is known.
    """
    optimizer = config.optimizer
    if not optimum.is_known or not config.batch.is_full or not optimizer.has_stable_lr():
        return None
    if optimum.local_curvatures is not None:
        bound = predict.bound_stable_lr(config, optimum, problem)
    else:
        curvature = float(optimum.curvatures[0])
        bound = optimizer.largest_stable_lr(curvature, optimizer.count_samples(problem))
    return bound if bound is not None and 0 < bound < math.inf else None


def compute_stable_rates(configs: Sequence[FitConfig]) -> list[float]:
    """Return the largest stable learning rates that are known, all computed at once."""
    full = [config for config in configs if config.batch.is_full]
    return [bound for bound in stability.find_bounds(full).values() if 0 < bound < math.inf]


def predict_rate(fit: Fit) -> float | None:
    """Return the factor by which each late step shrinks the distance to the optimum.

    None where it is unknown.
    """
    if fit.optimum is None or fit.problem is None:
        return None
    num_samples = fit.config.optimizer.count_samples(fit.problem)
    return predict.contraction_rate(fit.config, fit.optimum, num_samples)
