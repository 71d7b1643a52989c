"""The losses: what a fit minimizes, beside its penalty."""

from linfit.problem.losses.base import Loss
from linfit.problem.losses.huber import Huber
from linfit.problem.losses.squares import MSE, SSE, SumOfSquares
from linfit.problem.losses.weighted import WeightedLoss

__all__ = ["MSE", "SSE", "Huber", "Loss", "SumOfSquares", "WeightedLoss"]
