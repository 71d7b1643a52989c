"""What theory says of a fit before its first step: how the problem is conditioned, which learning rates are stable, how fast it goes.

Of a quadratic objective, gradient descent with or without momentum is a linear iteration: along an eigenvector of the Hessian with
curvature λ a step multiplies (error, velocity) by a matrix (`propagators`), whose largest eigenvalue is the contraction in the long
run (Lessard, Recht and Packard, 2016, §2). Of anything else nothing is predicted.

n samples, p features, q targets, m curvatures that are not zero.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass

import numpy as np

from linfit.config import FitConfig
from linfit.engine.fit import Fit
from linfit.engine.iteration import NEVER, contraction, steps_until
from linfit.method.batches import Batch, Minibatch, steepest
from linfit.method.classical import Accelerated
from linfit.method.closed_form import ClosedForm
from linfit.method.optimizers import SGD, ManualSGD, Optimizer
from linfit.problem.digits import digits_of
from linfit.problem.problem import Array, Problem
from linfit.problem.theory import Optimum, optimum

#: Eigenvalues, and weights of the optimum, that a theory tells.
MOST = 32


@dataclass(frozen=True)
class Theory:
    """Numbers of a fit that are known before it starts; None where theory knows none.

    The optimum meant has the smallest norm; where it is not unique, because the rank is below p, descent ends at the one nearest
    the start, whose loss is the same.
    """

    minimal_loss: float
    rank: int
    condition: float | None = None
    """κ of the Hessian: the largest curvature over the smallest that is not zero."""
    largest_curvature: float | None = None
    smallest_curvature: float | None = None
    largest_stable_lr: float | None = None
    """With batches, one up to which the error shrinks in the mean whatever is drawn."""
    optimal_lr: float | None = None
    rate: float | None = None
    """The factor by which the distance to the optimum shrinks at each step in the long run."""
    steps_to_tolerance: int | None = None
    noise_floor: float | None = None
    """About the excess loss at which descent by batches, drawn with replacement, comes to rest."""
    digits: float | None = None
    """About how many digits of the optimum are those of the exact solution, of the weight or own term that has fewest."""
    curvature: tuple[float, ...] = ()
    """The eigenvalues of the Hessian, of the largest on, the first of them."""
    optimum: tuple[float, ...] = ()
    """The optimum's weights row by row, the first of them."""

    def numbers(self) -> dict[str, float]:
        """What there is, by name; of several numbers each has its place in its name."""
        found: dict[str, float] = {}
        for key, value in asdict(self).items():
            found.update(
                {f"{key}/{i}": one for i, one in enumerate(value)}
                if isinstance(value, tuple)
                else {key: value}
            )
        return {
            key: float(value)
            for key, value in found.items()
            if value is not None and math.isfinite(value)
        }


def theory_of(fit: Fit) -> Theory | None:
    """What theory says of a fit; None of one that failed."""
    if fit.problem is None or fit.optimum is None or fit.path is None:
        return None
    seen = fit.problem.cast(fit.config.dtype)
    return predict(fit.config, seen, fit.optimum, fit.path.weights[0].astype(np.float64))


def theory_before(config: FitConfig) -> Theory:
    """What theory says of a fit that need not have run; ValueError where its data cannot be had."""
    import torch

    seen = config.problem().cast(config.dtype)
    known = optimum(seen, config.loss, config.shrinkage())
    start = config.init.draw(*seen.shape[1:], config.seed, getattr(torch, config.dtype))
    return predict(config, seen, known, start.double().cpu().numpy())


def predict(config: FitConfig, seen: Problem, optimum: Optimum, start: Array) -> Theory:
    """What theory says of a fit that starts at W `[p, q]` on the problem as its dtype holds it."""
    return predict_all([(config, seen, optimum, start)])[0]


def predict_all(fits: Sequence[tuple[FitConfig, Problem, Optimum, Array]]) -> list[Theory]:
    """The same of many fits at once."""
    with np.errstate(
        over="ignore", invalid="ignore"
    ):  # of learning rates and data at the ends of float64
        return _predict_all(fits)


def _predict_all(fits: Sequence[tuple[FitConfig, Problem, Optimum, Array]]) -> list[Theory]:
    matrices = [
        propagators(config, optimum, config.optimizer.count(seen))
        for config, seen, optimum, _ in fits
    ]
    linear = [place for place, matrix in enumerate(matrices) if matrix is not None]
    known = [matrix for matrix in matrices if matrix is not None]
    shares = [
        shares_of(optimum, start) for _, _, optimum, start in (fits[place] for place in linear)
    ]
    steps = dict(
        zip(
            linear,
            steps_until(known, shares, [fits[place][0].record.tolerance for place in linear]),
            strict=True,
        )
    )
    return [
        _predicted(config, seen, optimum, matrix, steps.get(place, NEVER))
        for place, ((config, seen, optimum, _), matrix) in enumerate(
            zip(fits, matrices, strict=True)
        )
    ]


def _predicted(
    config: FitConfig, seen: Problem, optimum: Optimum, matrices: Array | None, steps: int
) -> Theory:
    weights = tuple(optimum.weights.ravel()[:MOST].tolist())
    if optimum.robust is not None or not optimum.curvature_range[0]:
        return Theory(optimum.loss, optimum.rank, optimum=weights)
    n, optimizer = config.optimizer.count(seen), config.optimizer.know(optimum)
    largest, smallest = optimum.curvature_range
    return Theory(
        optimum.loss,
        optimum.rank,
        largest / smallest,
        largest,
        smallest,
        largest_stable_lr(config, optimizer, seen, optimum),
        None if isinstance(config.batch, Minibatch) else optimal_lr(optimizer, optimum, n),
        None if matrices is None else float(contraction(matrices)),
        None if steps == NEVER else steps,
        noise_floor(config, seen, optimum),
        None if (digits := digits_of(optimum, seen, config.dtype)) is None else digits.fewest,
        tuple(optimum.curvatures[:MOST].tolist()),
        weights,
    )


def stable_lr_of(fit: Fit) -> float | None:
    """The largest stable learning rate of a fit, and nothing else of its theory; None where none is known."""
    if (
        fit.problem is None
        or fit.optimum is None
        or fit.optimum.robust is not None
        or not fit.optimum.curvature_range[0]
    ):
        return None
    seen = (
        fit.problem.cast(fit.config.dtype)
        if isinstance(fit.config.batch, Minibatch)
        else fit.problem
    )
    return largest_stable_lr(fit.config, fit.config.optimizer.know(fit.optimum), seen, fit.optimum)


def largest_stable_lr(
    config: FitConfig, optimizer: Optimizer, seen: Problem, optimum: Optimum
) -> float | None:
    """Of an optimizer that knows the optimum, on the batches of the config; None where none is stated."""
    if not bounded(optimizer, config.batch):
        return None
    curvature = optimum.curvature_range[0]
    if isinstance(config.batch, Minibatch):
        alone = steepest(seen.X, optimum.scale) + config.shrinkage().strength
        curvature = config.batch.curvature(curvature, alone, seen.shape[0])
    return optimizer.largest_stable_lr(curvature, optimizer.count(seen))


def bounded(optimizer: Optimizer, batch: Batch) -> bool:
    """Whether the optimizer states a bound that holds with such batches: a momentum's holds where the gradient is the whole one."""
    if not isinstance(batch, Minibatch):
        return optimizer.knows_its_bound()
    return type(optimizer) is ManualSGD or (type(optimizer) is SGD and not optimizer.momentum)


def predicted_rate(config: FitConfig, optimum: Optimum, n: float) -> float | None:
    """The factor by which the distance to the optimum shrinks at each step in the long run; None where nobody knows it."""
    matrices = propagators(config, optimum, n)
    return None if matrices is None else float(contraction(matrices))


def shares_of(optimum: Optimum, start: Array) -> Array:
    """Twice the excess loss at W `[p, q]` along each curvature `[m]`, of the largest first."""
    curvatures, vectors = optimum.modes
    away = (vectors.T @ (start - optimum.weights))[: optimum.rank]  # [m, q]
    return np.asarray(curvatures[: optimum.rank] * np.square(away).sum(axis=1))


def propagators(config: FitConfig, optimum: Optimum, n: float) -> Array | None:
    """`[m, 2, 2]`: what a step multiplies (error, velocity) by along each curvature; None where the iteration is not linear."""
    known = (
        optimum.robust is None
        and optimum.rank
        and config.schedule.name == "none"
        and not isinstance(config.batch, Minibatch)
    )
    if known and type(config.optimizer) is ClosedForm:
        return np.zeros((optimum.rank, 2, 2))
    constants = _constants(config.optimizer.know(optimum), n)
    if constants is None or not known:
        return None
    (lr, momentum, ahead), curved = constants, optimum.curvatures[: optimum.rank]
    kept = np.full_like(curved, momentum)
    with np.errstate(over="ignore", invalid="ignore"):
        first, second = (
            (lr * curved * (1 + momentum), lr * momentum * kept)
            if ahead
            else (lr * curved, lr * kept)
        )
    matrices = np.array([[1 - first, -second], [curved, kept]]).transpose(2, 0, 1)
    return matrices if np.isfinite(matrices).all() else None


def optimal_lr(optimizer: Optimizer, optimum: Optimum, n: float) -> float | None:
    """The learning rate at which the optimizer contracts fastest; None where theory knows none."""
    largest, smallest = optimum.curvature_range
    if isinstance(optimizer, Accelerated):
        return optimizer.optimal(largest, smallest)[0]
    constants = _constants(optimizer, n)
    if constants is None or constants[1]:
        return None
    return (
        2
        / (largest + smallest)
        * (n if isinstance(optimizer, ManualSGD) and optimizer.average else 1)
    )


def noise_floor(config: FitConfig, seen: Problem, optimum: Optimum) -> float | None:
    """½·Σ lr·Cᵢᵢ/(2 − lr·λᵢ), C the covariance of a batch's gradient at the optimum in the eigenvectors of the Hessian.

    It holds for small lr, where the noise is about that at the optimum. Shuffled batches come closer, how close is not known.
    """
    batch, constants = config.batch, _constants(config.optimizer, config.optimizer.count(seen))
    if (
        not isinstance(batch, Minibatch)
        or not batch.replacement
        or constants is None
        or constants[1]
        or config.penalty.squared()
    ):
        return None
    lr, n = constants[0], seen.shape[0]
    curvatures, vectors = np.linalg.eigh(2 * optimum.scale * optimum.root.T @ optimum.root)
    if lr * batch.curvature(float(curvatures.max()), steepest(seen.X, optimum.scale), n) >= 2:
        return None
    residual = seen.X @ optimum.weights - seen.y  # [n, q]
    slopes = 2 * optimum.scale * (seen.X @ vectors)[:, :, None] * residual[:, None]  # [n, p, q]
    variance = n / batch.size * np.square(slopes).sum(axis=(0, 2))  # [p]
    return float(0.5 * (lr * variance / (2 - lr * curvatures)).sum())


def _constants(optimizer: Optimizer, n: float) -> tuple[float, float, bool] | None:
    """lr, momentum, and whether the momentum is Nesterov's, of an optimizer whose iteration is linear."""
    if type(optimizer) is ManualSGD:
        return optimizer.lr / (n if optimizer.average else 1), 0.0, False
    if type(optimizer) is SGD and not (
        optimizer.weight_decay or optimizer.dampening or optimizer.maximize
    ):
        return optimizer.lr, optimizer.momentum, optimizer.nesterov
    if (
        isinstance(optimizer, Accelerated)
        and optimizer.lr is not None
        and optimizer.momentum is not None
    ):
        return optimizer.lr, optimizer.momentum, optimizer.ahead
    return None
