"""Models, which predict ŷ `[n, q]` from X `[n, p]` with one weight parameter in torch's own layout.

n samples, p features, q targets, r fits of a stack. W `[p, q]` is the layout of everything that is
stored.
"""

from __future__ import annotations

from abc import abstractmethod
from typing import TYPE_CHECKING, Literal, Protocol

from linfit.component import Component, optional
from linfit.method.products import StackedProducts
from linfit.script_fragments import ModelLines, ScriptScope

if TYPE_CHECKING:
    from torch import Tensor


class TrainablePredictor(Protocol):
    """Result of `Model.build`: ŷ = predictor(X), with its parameter in `weight`."""

    weight: Tensor

    def __call__(self, X: Tensor) -> Tensor: ...


class Model(Component):
    """How weights are held and multiplied."""

    @abstractmethod
    def build(self, weights: Tensor) -> TrainablePredictor:
        """Return a predictor that starts at `weights` `[p, q]`.

        It is of their dtype, on their device.
        """

    @abstractmethod
    def predict(self, predictor: TrainablePredictor, parameter: Tensor, X: Tensor) -> Tensor:
        """Return ŷ `[n, q]` as a pure function of the parameter.

        Transforms of torch.func need it.
        """

    @abstractmethod
    def transpose(self, tensor: Tensor) -> Tensor:
        """Return a tensor in the parameter's layout, or back.

        The other layout is W's `[p, q]`.
        """

    @optional
    def script_lines(self, scope: ScriptScope) -> ModelLines:
        """Return the model in a plain program."""
        raise NotImplementedError(f"model {self.name} has no script lines")

    @optional
    def stacked(self, X: StackedProducts, W: Tensor) -> Tensor:
        """Return ŷ `[r, q, n]` of r fits at W `[r, p, q]`.

        Each fit has the bits that it has in any other stack.
        """
        raise NotImplementedError(f"model {self.name} has no stacked rule")


class TensorPredictor:
    """ŷ = X W: the weights are a tensor, not a module."""

    def __init__(self, weight: Tensor) -> None:
        self.weight = weight

    def __call__(self, X: Tensor) -> Tensor:
        return X @ self.weight


class TensorModel(Model):
    """A raw weight tensor `[p, q]`: ŷ = X W."""

    name: Literal["tensor"] = "tensor"

    def build(self, weights: Tensor) -> TensorPredictor:
        return TensorPredictor(weights.clone().requires_grad_())

    def predict(self, predictor: TrainablePredictor, parameter: Tensor, X: Tensor) -> Tensor:
        return X @ parameter

    def transpose(self, tensor: Tensor) -> Tensor:
        return tensor

    def script_lines(self, scope: ScriptScope) -> ModelLines:
        return ModelLines((), weight="W", parameters="[W]", prediction="X @ W", pure="X @ weight")

    def stacked(self, X: StackedProducts, W: Tensor) -> Tensor:
        return X.multiply(W)


class LinearModel(Model):
    """A real `torch.nn.Linear(p, q, bias=False)`, whose weight is `[q, p]`.

    There is no bias: an intercept is a feature.
    """

    name: Literal["linear"] = "linear"

    def build(self, weights: Tensor) -> TrainablePredictor:
        import torch

        p, q = weights.shape
        # nn.Linear draws weights of its own from the global generator.
        with torch.random.fork_rng(devices=()):
            module = torch.nn.Linear(p, q, bias=False, dtype=weights.dtype)
        module.weight = torch.nn.Parameter(weights.T.clone(memory_format=torch.contiguous_format))
        return module

    def predict(self, predictor: TrainablePredictor, parameter: Tensor, X: Tensor) -> Tensor:
        import torch

        assert isinstance(predictor, torch.nn.Module)
        prediction: Tensor = torch.func.functional_call(predictor, {"weight": parameter}, (X,))
        return prediction

    def transpose(self, tensor: Tensor) -> Tensor:
        return tensor.T

    def script_lines(self, scope: ScriptScope) -> ModelLines:
        device = "" if scope.device == "cpu" else f", device={scope.device!r}"
        made = f"model = torch.nn.Linear({scope.p}, {scope.q}, bias=False{scope.keyword}{device})"
        start = 'model.load_state_dict({"weight": W.T})'
        return ModelLines(
            (made, start),
            weight="model.weight",
            parameters="model.parameters()",
            prediction="model(X)",
            pure='torch.func.functional_call(model, {"weight": weight}, (X,))',
            transposed=".T",
            frozen=(f"{made}.requires_grad_(False)", start),
        )

    def stacked(self, X: StackedProducts, W: Tensor) -> Tensor:
        return X.multiply(W)  # nn.Linear's X·weightᵀ, whose weight is Wᵀ
