"""What theory says of a recorded fit, as linfit/engine/prediction.py has it: the largest stable learning rate, and how quickly it contracts."""

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
    """The largest stable learning rate of the config's optimizer on all samples; None where no finite one is known."""
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
    """The same of each config for which one is known, all at once."""
    whole = [config for config in configs if config.batch.is_full]
    return [bound for bound in stability.bounds(whole).values() if 0 < bound < math.inf]


def predicted_rate(fit: Fit) -> float | None:
    """The factor by which the distance to the optimum shrinks at each step in the long run; None where nobody knows it."""
    if fit.optimum is None or fit.problem is None:
        return None
    return prediction.predicted_rate(
        fit.config, fit.optimum, fit.config.optimizer.count(fit.problem)
    )
