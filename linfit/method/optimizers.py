"""What an update does with the gradient: by hand, or by the real `torch.optim`.

The classes carry torch's own defaults. What they leave out of torch's signatures are switches of the implementation, which
change speed or memory and not the method: `foreach`, `fused`, `capturable`, `differentiable`.
"""

from __future__ import annotations

from abc import abstractmethod
from typing import TYPE_CHECKING, Annotated, ClassVar, Literal, Protocol, Self

from pydantic import Field, model_validator

from linfit.component import Component

if TYPE_CHECKING:
    from torch import Tensor

Positive = Annotated[float, Field(gt=0)]
NonNegative = Annotated[float, Field(ge=0)]
Fraction = Annotated[float, Field(ge=0, lt=1)]
Betas = Annotated[tuple[Fraction, Fraction], Field(strict=False)]


class Stepper(Protocol):
    """What an optimizer builds: each `step()` updates the parameter in place from its `.grad`."""

    def step(self) -> object: ...


class Optimizer(Component):
    """How the weights move."""

    @abstractmethod
    def build(self, parameter: Tensor, n: int) -> Stepper:
        """A stepper for `parameter`, on a problem of n samples."""


class Descent:
    """w ← w − lr·∂loss/∂w, by hand."""

    def __init__(self, parameter: Tensor, lr: float, divisor: int) -> None:
        self.parameter, self.lr, self.divisor = parameter, lr, divisor
        self.weight = parameter.detach()  # the same storage, outside the graph: what `with torch.no_grad()` is for

    def step(self) -> None:
        gradient = self.parameter.grad
        assert gradient is not None
        self.weight -= self.lr * (gradient if self.divisor == 1 else gradient / self.divisor)


class ManualSGD(Optimizer):
    """Gradient descent with the update by hand, w ← w − lr·g; `average` divides the gradient g by n, as the article does."""

    name: Literal["manual_sgd"] = "manual_sgd"
    lr: Positive = 1e-3
    average: bool = False

    def build(self, parameter: Tensor, n: int) -> Stepper:
        return Descent(parameter, self.lr, n if self.average else 1)


class TorchOptimizer(Optimizer):
    """An optimizer of torch.optim: its fields are that class's keyword arguments."""

    torch_name: ClassVar[str]

    def build(self, parameter: Tensor, n: int) -> Stepper:
        from torch import optim

        stepper: Stepper = getattr(optim, self.torch_name)([parameter], **self.model_dump(exclude={"name"}))
        return stepper


class SGD(TorchOptimizer):
    """torch.optim.SGD: b ← momentum·b + (1 − dampening)·g, w ← w − lr·b, or with Nesterov w ← w − lr·(g + momentum·b).

    Differs from Sutskever et al. (2013) in that the velocity does not contain lr.
    """

    torch_name = "SGD"
    name: Literal["sgd"] = "sgd"
    lr: Positive = 1e-3
    momentum: NonNegative = 0.0
    dampening: float = 0.0
    weight_decay: NonNegative = 0.0
    nesterov: bool = False
    maximize: bool = False

    @model_validator(mode="after")
    def _coherent(self) -> Self:
        if self.nesterov and (self.momentum == 0 or self.dampening != 0):
            raise ValueError("nesterov needs momentum above 0 and dampening 0: set momentum=0.9 or nesterov=false")
        return self


class Adam(TorchOptimizer):
    """torch.optim.Adam (Kingma and Ba, 2015): w ← w − lr·m̂/(√v̂ + eps), ε outside the root, decay added to the gradient."""

    torch_name = "Adam"
    name: Literal["adam"] = "adam"
    lr: Positive = 1e-3
    betas: Betas = (0.9, 0.999)
    eps: NonNegative = 1e-8
    weight_decay: NonNegative = 0.0
    amsgrad: bool = False
    maximize: bool = False
    decoupled_weight_decay: bool = False


class AdamW(TorchOptimizer):
    """torch.optim.AdamW (Loshchilov and Hutter, 2019): Adam whose decay acts on the weights, w ← (1 − lr·weight_decay)·w."""

    torch_name = "AdamW"
    name: Literal["adamw"] = "adamw"
    lr: Positive = 1e-3
    betas: Betas = (0.9, 0.999)
    eps: NonNegative = 1e-8
    weight_decay: NonNegative = 1e-2
    amsgrad: bool = False
    maximize: bool = False


class RMSprop(TorchOptimizer):
    """torch.optim.RMSprop (Hinton, 2012): v ← alpha·v + (1 − alpha)·g², w ← w − lr·g/(√v + eps), ε outside the root."""

    torch_name = "RMSprop"
    name: Literal["rmsprop"] = "rmsprop"
    lr: Positive = 1e-2
    alpha: Fraction = 0.99
    eps: NonNegative = 1e-8
    weight_decay: NonNegative = 0.0
    momentum: NonNegative = 0.0
    centered: bool = False
    maximize: bool = False


class Adagrad(TorchOptimizer):
    """torch.optim.Adagrad (Duchi et al., 2011): s ← s + g², w ← w − lr/(1 + k·lr_decay)·g/(√s + eps)."""

    torch_name = "Adagrad"
    name: Literal["adagrad"] = "adagrad"
    lr: Positive = 1e-2
    lr_decay: NonNegative = 0.0
    weight_decay: NonNegative = 0.0
    initial_accumulator_value: NonNegative = 0.0
    eps: NonNegative = 1e-10
    maximize: bool = False
