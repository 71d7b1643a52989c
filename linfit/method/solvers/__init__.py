"""Optimizers that use what is known of the problem: its curvature, its penalty, its optimum."""

from linfit.method.solvers.accelerated import ConjugateGradient, HeavyBall, Nesterov
from linfit.method.solvers.closed_form import ClosedForm
from linfit.method.solvers.coordinate_descent import CoordinateDescent
from linfit.method.solvers.homotopy import Homotopy
from linfit.method.solvers.newton import Newton
from linfit.method.solvers.proximal import FISTA, ProximalGradient

__all__ = [
    "FISTA",
    "ClosedForm",
    "ConjugateGradient",
    "CoordinateDescent",
    "HeavyBall",
    "Homotopy",
    "Nesterov",
    "Newton",
    "ProximalGradient",
]
