"""The losses: what a fit minimizes, beside its penalty."""

from linfit.problem.losses.base import Loss
from linfit.problem.losses.classification import CrossEntropy, Logistic, SquaredHinge
from linfit.problem.losses.huber import Huber
from linfit.problem.losses.poisson import Poisson
from linfit.problem.losses.quantile import Quantile
from linfit.problem.losses.squares import MSE, SSE, SumOfSquares
from linfit.problem.losses.weighted import WeightedLoss

__all__ = [
    "MSE",
    "SSE",
    "CrossEntropy",
    "Huber",
    "Logistic",
    "Loss",
    "Poisson",
    "Quantile",
    "SquaredHinge",
    "SumOfSquares",
    "WeightedLoss",
]
