"""Theory of a recorded fit: the largest stable learning rate, and the predicted contraction."""

from __future__ import annotations

import math
from collections.abc import Sequence

from linfit.config import FitConfig
from linfit.engine import prediction
from linfit.engine.fit import Fit
from linfit.method.stable_lr import find_largest_stable_lr
from linfit.problem.problem import Problem
from linfit.problem.theory import Optimum
from linfit.sweeps import stability


def stable_rate(config: FitConfig, problem: Problem, optimum: Optimum) -> float | None:
    """Return the largest stable learning rate on all samples.

    None if no finite one is known.
    """
    if not config.batch.is_full:
        return None
    bound = find_largest_stable_lr(
        config.optimizer,
        config.batch,
        float(optimum.curvatures[0]),
        problem.X,
        optimum.scale,
        optimum.shrinkage.strength,
        config.optimizer.count(problem),
    )
    return bound if bound is not None and 0 < bound < math.inf else None


def stable_rates(configs: Sequence[FitConfig]) -> list[float]:
    """Return the largest stable learning rates that are known, all computed at once."""
    full = [config for config in configs if config.batch.is_full]
    return [bound for bound in stability.bounds(full).values() if 0 < bound < math.inf]


def predicted_rate(fit: Fit) -> float | None:
    """Return the factor by which each late step shrinks the distance to the optimum.

    None where it is unknown.
    """
    if fit.optimum is None or fit.problem is None:
        return None
    num_samples = fit.config.optimizer.count(fit.problem)
    return prediction.predicted_rate(fit.config, fit.optimum, num_samples)
