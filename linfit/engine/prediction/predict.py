"""Theory of a fit before its first step: conditioning, stable learning rates, speed.

For a quadratic objective, gradient descent with or without momentum is a linear iteration: along an
eigenvector of the Hessian with curvature λ, a step multiplies (error, velocity) by a matrix
(`build_propagators`). Its largest eigenvalue is the contraction in the long run (Lessard, Recht and
Packard, 2016, §2). Nothing is predicted for other objectives.

n samples, p features, q targets, m curvatures that are not zero.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace

import numpy as np

from linfit.config import FitConfig
from linfit.engine.fit import Fit
from linfit.engine.prediction.linear_iteration import (
    UNKNOWN_STEP,
    contraction_factor,
    count_steps_to_tolerance,
)
from linfit.method.batches import largest_sample_curvature
from linfit.method.optimizers import Optimizer
from linfit.method.stable_lr import find_largest_stable_lr
from linfit.problem.problem import Problem
from linfit.problem.theory.digits import estimate_digits
from linfit.problem.theory.optimum import Optimum
from linfit.problem.types import Array

#: Most eigenvalues, and most weights of the optimum, that a theory lists.
MAX_LISTED_NUMBERS = 32


@dataclass(frozen=True)
class Theory:
    """Numbers of a fit that are known before it starts.

    None if theory does not know them.

    The optimum is the one with the smallest norm. If it is not unique, because the rank is below p,
    descent ends at the optimum nearest to the start, which has the same loss.
    """

    minimal_loss: float
    rank: int
    condition: float | None = None
    """κ of the Hessian: the largest curvature over the smallest that is not zero."""
    largest_curvature: float | None = None
    smallest_curvature: float | None = None
    largest_stable_lr: float | None = None
    """With batches: one up to which the mean error shrinks for every draw."""
    optimal_lr: float | None = None
    rate: float | None = None
    """Factor by which a step shrinks the distance to the optimum in the long run."""
    steps_to_tolerance: int | None = None
    noise_floor: float | None = None
    """Approximate excess loss at which descent by batches, drawn with replacement, settles."""
    gap: float | None = None
    """Bound of the excess loss of the optimum itself."""
    attained: bool | None = None
    """False if there is no minimum, only an infimum; None if there is a minimum by its nature."""
    digits: float | None = None
    """Approximate digits of the optimum that are exact, for its least exact weight or term."""
    curvature: tuple[float, ...] = ()
    """The first eigenvalues of the Hessian, largest first."""
    optimum: tuple[float, ...] = ()
    """The first weights of the optimum, row by row."""

    def to_numbers(self) -> dict[str, float]:
        """Return the known finite numbers by name.

        Entry i of a tuple is `name/i`.
        """
        found: dict[str, float | None] = {}
        for key, value in asdict(self).items():
            if isinstance(value, tuple):
                found.update((f"{key}/{i}", one) for i, one in enumerate(value))
            else:
                found[key] = value

        finite = {}
        for key, number in found.items():
            if number is not None and math.isfinite(number):
                finite[key] = float(number)
        return finite


def predict_from_fit(fit: Fit) -> Theory | None:
    """Return the theory of a fit, None if it failed or its optimum is unknown."""
    if fit.problem is None or fit.optimum is None or fit.path is None:
        return None
    if not fit.optimum.is_known:
        return None
    seen = fit.problem.cast(fit.config.dtype)
    return predict_theory(fit.config, seen, fit.optimum, fit.path.weights[0].astype(np.float64))


def predict_before_fit(config: FitConfig) -> Theory:
    """Return the theory of a fit that need not have run.

    Raise ValueError without its data.
    """
    import torch

    seen = config.problem().cast(config.dtype)
    known = config.find_optimum(seen)
    start = config.init.draw(*seen.shape[1:], config.seed, getattr(torch, config.dtype))
    return predict_theory(config, seen, known, start.double().cpu().numpy())


def predict_theory(config: FitConfig, seen: Problem, optimum: Optimum, start: Array) -> Theory:
    """Return the theory of a fit from W `[p, q]`.

    `seen` is the problem rounded to its dtype.
    """
    return predict_theories([(config, seen, optimum, start)])[0]


@np.errstate(over="ignore", invalid="ignore")  # rates and data may lie at the ends of float64
def predict_theories(fits: Sequence[tuple[FitConfig, Problem, Optimum, Array]]) -> list[Theory]:
    """Return the theory of many fits at once.

    The arguments are those of `predict_theory`.
    """
    matrices: list[Array | None] = []
    linear: list[int] = []
    known: list[Array] = []
    shares: list[Array] = []
    tolerances: list[float] = []
    for index, (config, seen, answer, start) in enumerate(fits):
        matrix = build_propagators(config, answer, config.optimizer.count_samples(seen))
        matrices.append(matrix)
        if matrix is not None:
            linear.append(index)
            known.append(matrix)
            shares.append(split_excess_loss(answer, start))
            tolerances.append(config.record.tolerance)

    found = count_steps_to_tolerance(known, shares, tolerances)
    steps = dict(zip(linear, found, strict=True))
    theories = []
    for index, (config, seen, answer, _) in enumerate(fits):
        step = steps.get(index, UNKNOWN_STEP)
        theories.append(_predicted(config, seen, answer, matrices[index], step))
    return theories


def _predicted(
    config: FitConfig, seen: Problem, optimum: Optimum, matrices: Array | None, steps: int
) -> Theory:
    weights = tuple(optimum.weights.ravel()[:MAX_LISTED_NUMBERS].tolist())
    if optimum.local_curvatures is not None:
        return _predicted_locally(config, seen, optimum, weights)
    if optimum.around is not None or not optimum.curvature_range[0]:
        return Theory(optimum.loss, optimum.rank, gap=optimum.gap, optimum=weights)
    n = config.optimizer.count_samples(seen)
    optimizer = config.optimizer.tuned_to(optimum)
    largest, smallest = optimum.curvature_range
    fastest = optimizer.optimal_lr(largest, smallest, n) if config.batch.is_full else None
    digits = estimate_digits(optimum, seen, config.dtype)
    return Theory(
        minimal_loss=optimum.loss,
        rank=optimum.rank,
        condition=largest / smallest,
        largest_curvature=largest,
        smallest_curvature=smallest,
        largest_stable_lr=_stable_lr(config, optimizer, seen, optimum),
        optimal_lr=fastest,
        rate=None if matrices is None else float(contraction_factor(matrices)),
        steps_to_tolerance=None if steps == UNKNOWN_STEP else steps,
        noise_floor=noise_floor(config, seen, optimum),
        digits=None if digits is None else digits.fewest,
        curvature=tuple(optimum.curvatures[:MAX_LISTED_NUMBERS].tolist()),
        optimum=weights,
    )


def _predicted_locally(
    config: FitConfig, seen: Problem, optimum: Optimum, weights: tuple[float, ...]
) -> Theory:
    """Return the theory of a smooth loss: what holds near its optimum, and the stable step."""
    known = Theory(
        optimum.loss,
        optimum.rank,
        largest_stable_lr=bound_stable_lr(config, optimum, seen),
        gap=optimum.gap,
        attained=optimum.attained,
    )
    curvatures = optimum.local_curvatures
    assert curvatures is not None
    if not optimum.attained or not len(curvatures):
        return known
    return replace(
        known,
        condition=float(curvatures[0] / curvatures[-1]),
        largest_curvature=float(curvatures[0]),
        smallest_curvature=float(curvatures[-1]),
        rate=_contraction_nearby(config, optimum, config.optimizer.count_samples(seen)),
        curvature=tuple(curvatures[:MAX_LISTED_NUMBERS].tolist()),
        optimum=weights,
    )


def _contraction_nearby(config: FitConfig, optimum: Optimum, n: float) -> float | None:
    """Return the contraction of a step near the optimum, where the Hessian is nearly constant.

    A subgradient of ‖W‖₁ leads around the optimum, and does not come to rest.
    """
    if not (config.schedule.is_constant and config.batch.is_full):
        return None
    if optimum.local_curvatures is None:
        return None
    if optimum.shrinkage.l1 and not config.optimizer.handles_l1:
        return None
    optimizer = config.optimizer.tuned_to(optimum)
    matrices = optimizer.propagators(optimum.local_curvatures, n)
    if matrices is None or not np.isfinite(matrices).all():
        return None
    return float(contraction_factor(matrices))


def bound_stable_lr(config: FitConfig, optimum: Optimum, seen: Problem) -> float | None:
    """Return the learning rate below which gradient descent falls from anywhere.

    It follows from the largest curvature that the loss may have. None for other optimizers: those
    with a momentum may overshoot at rates that are stable near the optimum.
    """
    n = config.optimizer.count_samples(seen)
    constants = config.optimizer.tuned_to(optimum).linear_constants(n)
    if constants is None or constants.momentum or not config.batch.is_full:
        return None
    if optimum.curvature_bound is None:
        return None
    return config.optimizer.largest_stable_lr(optimum.curvature_bound, n)


def largest_stable_lr_of_fit(fit: Fit) -> float | None:
    """Return the largest stable learning rate of a fit.

    None if none is known.
    """
    if fit.problem is None or fit.optimum is None or not fit.optimum.is_known:
        return None
    if fit.optimum.local_curvatures is not None:
        return bound_stable_lr(fit.config, fit.optimum, fit.problem)
    if fit.optimum.around is not None or not fit.optimum.curvature_range[0]:
        return None
    seen = fit.problem
    if not fit.config.batch.is_full:
        seen = seen.cast(fit.config.dtype)
    return _stable_lr(fit.config, fit.config.optimizer.tuned_to(fit.optimum), seen, fit.optimum)


def _stable_lr(
    config: FitConfig, optimizer: Optimizer, seen: Problem, optimum: Optimum
) -> float | None:
    """Return the bound of an optimizer tuned to the optimum, None if it states none."""
    return find_largest_stable_lr(
        optimizer,
        config.batch,
        optimum.curvature_range[0],
        seen.X,
        optimum.scale,
        config.shrinkage().strength,
        optimizer.count_samples(seen),
    )


def contraction_rate(config: FitConfig, optimum: Optimum, n: float) -> float | None:
    """Return a step's long-run contraction, None if unknown.

    It is the factor by which a step shrinks the distance to the optimum.
    """
    matrices = build_propagators(config, optimum, n)
    if matrices is None:
        return None
    return float(contraction_factor(matrices))


def split_excess_loss(optimum: Optimum, start: Array) -> Array:
    """Return twice the excess loss along each curvature `[m]`.

    It is the excess loss at W `[p, q]`. The largest curvature comes first.
    """
    curvatures, vectors = optimum.modes
    away = (vectors.T @ (start - optimum.weights))[: optimum.rank]  # [m, q]
    return np.asarray(curvatures[: optimum.rank] * np.square(away).sum(axis=1))


def build_propagators(config: FitConfig, optimum: Optimum, n: float) -> Array | None:
    """Return the matrices `[m, 2, 2]` of a step.

    A step multiplies (error, velocity) by them. There is one for each curvature. None if the
    iteration is not linear.
    """
    is_known = optimum.around is None and optimum.rank
    if not (is_known and config.schedule.is_constant and config.batch.is_full):
        return None
    optimizer = config.optimizer.tuned_to(optimum)
    matrices = optimizer.propagators(optimum.curvatures[: optimum.rank], n)
    if matrices is None or not np.isfinite(matrices).all():
        return None
    return matrices


def noise_floor(config: FitConfig, seen: Problem, optimum: Optimum) -> float | None:
    """Return ½·Σ lr·Cᵢᵢ/(2 − lr·λᵢ), None if it is unknown.

    C is the covariance of a batch's gradient at the optimum in the eigenvectors of the Hessian. The
    formula holds for small lr, where the noise is about that at the optimum. Shuffled batches come
    closer to the optimum; how close is unknown.
    """
    n = seen.shape[0]
    growth = config.batch.variance(n)
    constants = config.optimizer.linear_constants(config.optimizer.count_samples(seen))
    if growth is None or constants is None or constants.momentum:
        return None
    if not config.shrinkage().is_nothing:
        return None
    lr = constants.lr
    curvatures, vectors = np.linalg.eigh(2 * optimum.scale * optimum.root.T @ optimum.root)
    alone = largest_sample_curvature(seen.X, optimum.scale)
    if lr * config.batch.effective_curvature(float(curvatures.max()), alone, n) >= 2:
        return None
    residual = seen.X @ optimum.weights - seen.y  # [n, q]
    slopes = 2 * optimum.scale * (seen.X @ vectors)[:, :, None] * residual[:, None]  # [n, p, q]
    variance = growth * np.square(slopes).sum(axis=(0, 2))  # [p]
    return float(0.5 * (lr * variance / (2 - lr * curvatures)).sum())
