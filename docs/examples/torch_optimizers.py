"""The other optimizers of torch.optim as a plug-in: `plugins: [torch_optimizers]`.

They run in the single engine; plain programs call torch's own. The fields are torch's own keyword
arguments with torch's own defaults. LBFGS is not among them: it evaluates the loss several times a
step, and a step here has one evaluation.
"""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from linfit.method.optimizers import Betas, Fraction, NonNegative, Positive, TorchOptimizer

Pair = Annotated[tuple[Positive, Positive], Field(strict=False)]


class Adadelta(TorchOptimizer, keeps=[TorchOptimizer.script_lines]):
    """torch.optim.Adadelta (Zeiler, 2012): steps in the ratio of running means."""

    torch_name = "Adadelta"
    name: Literal["adadelta"] = "adadelta"
    lr: Positive = 1.0
    rho: Fraction = 0.9
    eps: NonNegative = 1e-6
    weight_decay: NonNegative = 0.0


class Adamax(TorchOptimizer, keeps=[TorchOptimizer.script_lines]):
    """torch.optim.Adamax (Kingma and Ba, 2015): Adam by largest gradients, not mean squares."""

    torch_name = "Adamax"
    name: Literal["adamax"] = "adamax"
    lr: Positive = 2e-3
    betas: Betas = (0.9, 0.999)
    eps: NonNegative = 1e-8
    weight_decay: NonNegative = 0.0


class NAdam(TorchOptimizer, keeps=[TorchOptimizer.script_lines]):
    """torch.optim.NAdam (Dozat, 2016): Adam with Nesterov's momentum."""

    torch_name = "NAdam"
    name: Literal["nadam"] = "nadam"
    lr: Positive = 2e-3
    betas: Betas = (0.9, 0.999)
    eps: NonNegative = 1e-8
    weight_decay: NonNegative = 0.0
    momentum_decay: NonNegative = 4e-3


class RAdam(TorchOptimizer, keeps=[TorchOptimizer.script_lines]):
    """torch.optim.RAdam (Liu et al., 2020): Adam whose first steps are held back."""

    torch_name = "RAdam"
    name: Literal["radam"] = "radam"
    lr: Positive = 1e-3
    betas: Betas = (0.9, 0.999)
    eps: NonNegative = 1e-8
    weight_decay: NonNegative = 0.0


class ASGD(TorchOptimizer, keeps=[TorchOptimizer.script_lines]):
    """torch.optim.ASGD (Polyak and Juditsky, 1992): gradient descent that averages its path.

    The weights are not the average.
    """

    torch_name = "ASGD"
    name: Literal["asgd"] = "asgd"
    lr: Positive = 1e-2
    lambd: NonNegative = 1e-4
    alpha: NonNegative = 0.75
    t0: NonNegative = 1e6
    weight_decay: NonNegative = 0.0


class Rprop(TorchOptimizer, keeps=[TorchOptimizer.script_lines]):
    """torch.optim.Rprop (Riedmiller and Braun, 1993): by the sign of the gradient alone.

    Each weight has a step size of its own.
    """

    torch_name = "Rprop"
    name: Literal["rprop"] = "rprop"
    lr: Positive = 1e-2
    etas: Pair = (0.5, 1.2)
    step_sizes: Pair = (1e-6, 50.0)
