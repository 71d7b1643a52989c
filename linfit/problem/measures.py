"""What a fit is worth at its end: measures of its predictions, never penalized.

| measure | losses of | formula | scikit-learn |
|---|---|---|---|
| r2 | numbers | 1 − Σ(y − η)²/Σ(y − ȳ)² | `r2_score` |
| rmse | numbers | √mean (y − η)² | `root_mean_squared_error` |
| mae | numbers | mean abs(y − η) | `mean_absolute_error` |
| accuracy | classes | share of samples whose class is predicted | `accuracy_score` |
| log_loss | 0/1, classes | mean of −log of the probability of a sample's class | `log_loss` |
| roc_auc | classes | probability that a sample of a class ranks above another | `roc_auc_score` |
| mean_poisson_deviance | counts | mean 2(y log(y/μ) − y + μ), μ = exp(η) | the same |

A measure of several targets is the mean over them. Of several classes `roc_auc` is the mean over
the classes, each against the rest (`multi_class="ovr"`). Means divide by the sum of the samples'
weights: weight 2 is a row twice. All is computed in float64. A measure that is not finite is left
out, as `roc_auc` is where all samples are of one class.

n samples, p features, q targets.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np

from linfit.problem.losses.base import TargetKind
from linfit.problem.problem import Problem, TargetSpread
from linfit.problem.types import Array

#: Before the name of a measure, and of a loss, of samples held out.
HELD_OUT_PREFIX = "validation_"


@dataclass(frozen=True)
class Measure:
    """A number of a fit at its end, by which fits can be compared."""

    name: str
    higher_is_better: bool = field(default=False, kw_only=True)
    """True if 1 is the best; otherwise it is 0."""

    def to_loss(self, value: float) -> float:
        """Return the value as a number of which lower is better, 0 the best: 1 − accuracy."""
        return 1 - value if self.higher_is_better else value


@dataclass(frozen=True)
class PredictionMeasure(Measure):
    """A measure of predictors η and targets y `[n, q]` of samples with weights `[n]`."""

    kinds: tuple[TargetKind, ...]
    """The losses that have it, by their targets."""
    compute: Callable[[Array, Array, Array], float]


def _average(values: Array, weights: Array) -> Array:
    """Return Σw·values/Σw over samples; of equal values it is that value, if weights are whole."""
    return np.asarray(weights @ values / (weights @ np.ones(len(weights))))


def compute_r2(eta: Array, y: Array, weights: Array) -> float:
    """Return 1 − Σw(y − η)²/Σw(y − ȳ)², of a constant target 1 if it is met and 0 otherwise."""
    if len(y) < 2:
        return float("nan")
    constant = (y == y[0]).all(axis=0)
    spread = _average(np.square(y - _average(y, weights)), weights)
    return _explain(_average(np.square(y - eta), weights), np.where(constant, 0, spread))


def _explain(unexplained: Array, spread: Array) -> float:
    """Return the mean over targets of 1 − unexplained/spread `[q]`."""
    known = np.where(spread > 0, spread, 1)
    explained = np.where(spread > 0, 1 - unexplained / known, unexplained == 0)
    return float(explained.mean())


def compute_rmse(eta: Array, y: Array, weights: Array) -> float:
    """Return the root of Σw(y − η)²/Σw, the mean over targets."""
    return float(np.sqrt(_average(np.square(y - eta), weights)).mean())


def compute_mae(eta: Array, y: Array, weights: Array) -> float:
    """Return Σw·abs(y − η)/Σw, the mean over targets."""
    return float(_average(np.abs(y - eta), weights).mean())


def compute_accuracy(eta: Array, y: Array, weights: Array) -> float:
    """Return the share of correct targets of two classes; the other one is predicted at η ≤ 0."""
    return float(_average((eta > 0) == (y > 0), weights).mean())


def compute_class_accuracy(eta: Array, y: Array, weights: Array) -> float:
    """Return the share of samples whose class has the largest predictor, of equals the first."""
    return float(_average(eta.argmax(axis=1) == y.argmax(axis=1), weights))


def compute_log_loss(eta: Array, y: Array, weights: Array) -> float:
    """Return the mean of log(1 + exp(η)) − yη, for y of 0 or 1."""
    return float(_average(np.logaddexp(0, (1 - 2 * y) * eta), weights).mean())


def compute_class_log_loss(eta: Array, y: Array, weights: Array) -> float:
    """Return the mean of log(Σ exp(ηₖ)) − η_y, for y one-hot."""
    above = eta - eta.max(axis=1, keepdims=True)
    terms = np.log(np.exp(above).sum(axis=1)) - (y * above).sum(axis=1)
    return float(_average(terms, weights))


def compute_roc_auc(eta: Array, y: Array, weights: Array) -> float:
    """Return the probability that a sample of class 1 has the larger predictor; a tie is ½."""
    columns = zip(eta.T, y.T > 0, strict=True)
    return float(np.mean([_rank(scores, members, weights) for scores, members in columns]))


def compute_class_roc_auc(eta: Array, y: Array, weights: Array) -> float:
    """Return the mean over classes of the AUC of their probabilities, each against the rest."""
    exponentials = np.exp(eta - eta.max(axis=1, keepdims=True))
    return compute_roc_auc(exponentials / exponentials.sum(axis=1, keepdims=True), y, weights)


def _rank(scores: Array, members: Array, weights: Array) -> float:
    """Return the AUC of scores `[n]`, NaN where all samples, or none, are members `[n]`."""
    order = np.argsort(scores)
    ranked = scores[order]
    last = np.append(np.flatnonzero(ranked[1:] != ranked[:-1]), len(ranked) - 1)  # of equal scores
    own = np.where(members, weights, 0)[order].cumsum()[last]
    others = np.where(members, 0, weights)[order].cumsum()[last]
    if not (own[-1] > 0 and others[-1] > 0):
        return float("nan")
    below = np.append(0, others[:-1])
    area = np.diff(own, prepend=0) @ (below + others) / 2
    return float(area / (own[-1] * others[-1]))


def compute_mean_poisson_deviance(eta: Array, y: Array, weights: Array) -> float:
    """Return the mean of 2(y log(y/μ) − y + μ), μ = exp(η), the mean over targets."""
    entropy = y * np.log(np.where(y > 0, y, 1))
    terms = 2 * (entropy - y * eta - y + np.exp(eta))
    return float(_average(terms, weights).mean())


_TWO: tuple[TargetKind, ...] = ("binary", "sign")
_SEVERAL: tuple[TargetKind, ...] = ("classes",)
#: All measures; one name may stand for the same measure of two and of several classes.
FIT_MEASURES = (
    PredictionMeasure("r2", ("number",), compute_r2, higher_is_better=True),
    PredictionMeasure("rmse", ("number",), compute_rmse),
    PredictionMeasure("mae", ("number",), compute_mae),
    PredictionMeasure("accuracy", _TWO, compute_accuracy, higher_is_better=True),
    PredictionMeasure("accuracy", _SEVERAL, compute_class_accuracy, higher_is_better=True),
    PredictionMeasure("log_loss", ("binary",), compute_log_loss),
    PredictionMeasure("log_loss", _SEVERAL, compute_class_log_loss),
    PredictionMeasure("roc_auc", _TWO, compute_roc_auc, higher_is_better=True),
    PredictionMeasure("roc_auc", _SEVERAL, compute_class_roc_auc, higher_is_better=True),
    PredictionMeasure("mean_poisson_deviance", ("count",), compute_mean_poisson_deviance),
)
#: Measures of sparse weights (problem/sparse_measures.py).
SPARSE_MEASURES = (Measure("support_size"), Measure("duality_gap"))
_BY_NAME: dict[str, Measure] = {one.name: one for one in (*FIT_MEASURES, *SPARSE_MEASURES)}
#: The names of the measures, of the samples fitted and of those held out.
MEASURE_NAMES = tuple(_BY_NAME)
HELD_OUT_MEASURE_NAMES = tuple(
    dict.fromkeys(f"{HELD_OUT_PREFIX}{measure.name}" for measure in FIT_MEASURES)
)


def find_measure(name: str) -> Measure | None:
    """Return the measure of this name, with or without `validation_`; None if it is none."""
    return _BY_NAME.get(name.removeprefix(HELD_OUT_PREFIX))


def list_measures(kind: TargetKind, is_summary: bool = False) -> list[str]:
    """Return the names of the measures of a loss with such targets.

    A summary knows squared errors alone.
    """
    names = [measure.name for measure in FIT_MEASURES if kind in measure.kinds]
    return [name for name in names if not is_summary or name in ("r2", "rmse")]


def measure_predictions(
    kind: TargetKind, eta: Array, y: Array, weights: Array | None = None
) -> dict[str, float]:
    """Return the measures of predictors and targets `[n, q]`, as far as they are finite.

    `weights` `[n]` are those of the samples. A sample of weight 0 is none.
    """
    if weights is not None:
        kept = weights > 0
        eta, y, weights = eta[kept], y[kept], weights[kept]
    if len(y) == 0:
        return {}
    given = np.ones(len(y)) if weights is None else weights
    with np.errstate(all="ignore"):
        found = {
            measure.name: measure.compute(eta, y, given)
            for measure in FIT_MEASURES
            if kind in measure.kinds
        }
    return keep_finite(found)


def measure_weights(problem: Problem, kind: TargetKind, weights: Array) -> dict[str, float]:
    """Return the measures on a problem's samples of a fit's final weights `[p, q]`."""
    with np.errstate(all="ignore"):
        eta = problem.X @ weights
        y = problem.y
        sample_weights = problem.weights
        if problem.row_factors is not None:
            factors = np.where(problem.row_factors > 0, problem.row_factors, 1)[:, None]
            eta = eta / factors
            y = y / factors
            sample_weights = np.square(problem.row_factors)
        if problem.spread is not None:
            n = problem.shape[0]
            return keep_finite(_measure_summary(np.square(y - eta).sum(axis=0), problem.spread, n))
    return measure_predictions(kind, eta, y, sample_weights)


def _measure_summary(unexplained: Array, spread: TargetSpread, n: int) -> dict[str, float]:
    """Return the measures of n samples with sums of squared errors `[q]`."""
    if not spread.weight:
        return {}
    found = {"rmse": float(np.sqrt(unexplained / spread.weight).mean())}
    if n > 1:
        found["r2"] = _explain(unexplained, spread.squares)
    return found


def keep_finite(measures: dict[str, float]) -> dict[str, float]:
    """Return the measures that are finite."""
    return {name: value for name, value in measures.items() if np.isfinite(value)}
