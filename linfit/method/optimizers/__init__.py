"""Optimizers: how the weights move by the gradient, by hand or by the real `torch.optim`.

Of these names a plug-in takes what it needs.
"""

from linfit.method.optimizers.adam import Adam, AdamW
from linfit.method.optimizers.adam_variants import Adamax, NAdam, RAdam
from linfit.method.optimizers.adaptive import Adagrad, RMSprop
from linfit.method.optimizers.base import (
    ADDED_TO_STATE,
    Betas,
    Fraction,
    NonNegative,
    Optimizer,
    Positive,
    Stepper,
    TorchOptimizer,
)
from linfit.method.optimizers.gradient_descent import SGD, DescentStepper, ManualSGD
from linfit.method.optimizers.own import Lion
from linfit.method.optimizers.prodigy import Prodigy
from linfit.method.optimizers.quasi_newton import LBFGS
from linfit.method.optimizers.schedule_free import ScheduleFreeAdamW, ScheduleFreeSGD
from linfit.method.optimizers.step_sizes import ASGD, Adadelta, Rprop

__all__ = [
    "ADDED_TO_STATE",
    "ASGD",
    "LBFGS",
    "SGD",
    "Adadelta",
    "Adagrad",
    "Adam",
    "AdamW",
    "Adamax",
    "Betas",
    "DescentStepper",
    "Fraction",
    "Lion",
    "ManualSGD",
    "NAdam",
    "NonNegative",
    "Optimizer",
    "Positive",
    "Prodigy",
    "RAdam",
    "RMSprop",
    "Rprop",
    "ScheduleFreeAdamW",
    "ScheduleFreeSGD",
    "Stepper",
    "TorchOptimizer",
]
