"""The classes that weights predict, with their probabilities.

n samples, p features, q targets, k classes.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from linfit.problem.datasets.targets import CLASS_KINDS, TWO_VALUES, format_class
from linfit.problem.losses.base import TargetKind
from linfit.problem.problem import Problem
from linfit.problem.types import Array


@dataclass(frozen=True)
class ClassPredictions:
    """The true class of each sample `[n]` and the probabilities of all classes `[n, k]`."""

    names: tuple[str, ...]
    true: NDArray[np.intp]
    shares: Array
    """1 for the predicted class and else 0, where the loss gives no probabilities."""
    weights: Array
    """Of the samples `[n]`, 1 where they have none."""

    @property
    def predicted(self) -> NDArray[np.intp]:
        """The likeliest class of each sample `[n]`, of equals the first."""
        return np.asarray(self.shares.argmax(axis=1))

    def join(self, other: ClassPredictions) -> ClassPredictions:
        """Return these predictions and others of the same classes."""
        assert self.names == other.names
        return ClassPredictions(
            self.names,
            np.concatenate([self.true, other.true]),
            np.concatenate([self.shares, other.shares]),
            np.concatenate([self.weights, other.weights]),
        )


def predicts_classes(kind: TargetKind) -> bool:
    """Return True if targets of this kind are classes."""
    return kind in CLASS_KINDS


def has_probabilities(kind: TargetKind) -> bool:
    """Return True if a loss with such targets gives each class a probability."""
    return kind in ("binary", "classes")


def name_classes(problem: Problem, kind: TargetKind) -> tuple[str, ...]:
    """Return the names of the classes; of several targets they are the values of each."""
    classes = problem.classes or TWO_VALUES[kind]
    return tuple(format_class(one) for one in classes)


def predict_classes(problem: Problem, kind: TargetKind, weights: Array) -> ClassPredictions | None:
    """Return what weights `[p, q]` predict of a problem's samples, of the first of two-class
    targets.

    None if a prediction is not finite.
    """
    with np.errstate(over="ignore", invalid="ignore"):
        eta = problem.X @ weights.astype(float)
    if not np.isfinite(eta).all():
        return None
    is_several = kind == "classes"
    true = problem.y.argmax(axis=1) if is_several else (problem.y[:, 0] > 0).astype(np.intp)
    own = np.ones(len(true)) if problem.weights is None else problem.weights
    return ClassPredictions(name_classes(problem, kind), true, share_classes(kind, eta), own)


def spread_predictors(kind: TargetKind, eta: Array) -> Array:
    """Return a predictor of each class `[n, k]` for predictors `[n, q]`."""
    if kind == "classes":
        return eta
    return np.stack([np.zeros(len(eta)), eta[:, 0]], axis=1)


def share_classes(kind: TargetKind, eta: Array) -> Array:
    """Return the probabilities of the classes `[n, k]` for predictors `[n, q]`.

    A loss without probabilities gives 1 to the class that it predicts.
    """
    if kind == "classes":
        shares = np.exp(eta - eta.max(axis=1, keepdims=True))
        return np.asarray(shares / shares.sum(axis=1, keepdims=True))
    if kind == "sign":
        positive = (eta[:, 0] > 0).astype(float)
        return np.stack([1 - positive, positive], axis=1)
    return np.stack([compute_logistic(-eta[:, 0]), compute_logistic(eta[:, 0])], axis=1)


def compute_logistic(eta: Array) -> Array:
    """Return 1/(1 + exp(−η)), which never overflows."""
    small = np.exp(-np.abs(eta))
    return np.asarray(np.where(eta >= 0, 1.0, small) / (1 + small))
