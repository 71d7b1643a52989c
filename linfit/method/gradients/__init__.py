"""How the gradient of the loss is obtained; it ends in the parameter's `.grad`, as torch's does.

Of these names a plug-in takes what it needs.
"""

from linfit.method.gradients.automatic import Autograd, ForwardMode, FuncGrad
from linfit.method.gradients.base import (
    BatchMemory,
    BatchStep,
    Evaluation,
    Gradient,
    StackedBatchStep,
    StackedEvaluation,
)
from linfit.method.gradients.finite_difference import FiniteDifference
from linfit.method.gradients.gram import Gram
from linfit.method.gradients.manual import Manual
from linfit.method.gradients.penalized import StackedPenalty, add_penalty, add_stacked_penalty
from linfit.method.gradients.variance_reduction import SAGA, SVRG
from linfit.method.gradients.writing import write_loss_alone

__all__ = [
    "SAGA",
    "SVRG",
    "Autograd",
    "BatchMemory",
    "BatchStep",
    "Evaluation",
    "FiniteDifference",
    "ForwardMode",
    "FuncGrad",
    "Gradient",
    "Gram",
    "Manual",
    "StackedBatchStep",
    "StackedEvaluation",
    "StackedPenalty",
    "add_penalty",
    "add_stacked_penalty",
    "write_loss_alone",
]
