"""Optimizers that must know the problem: its optimum and its curvature.

n samples, p features, q targets.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, ClassVar, Self, cast

from pydantic import PrivateAttr

from linfit.method.models import Model
from linfit.method.optimizers import Optimizer
from linfit.method.stacked_state import HyperparameterColumns
from linfit.problem.losses import Loss
from linfit.problem.theory.optimum import Optimum

if TYPE_CHECKING:
    from torch import Tensor


class Informed(Optimizer):
    """An optimizer of quadratic objectives that knows the problem.

    It must know the whole of it before its steps.
    """

    supports_batches: ClassVar[bool] = False

    _known: Optimum | None = PrivateAttr(default=None)
    _model: Model | None = PrivateAttr(default=None)

    def tuned_to(self, optimum: Optimum, model: Model | None = None) -> Optimizer:
        informed = self.model_copy()
        informed._known = optimum
        informed._model = model
        return informed

    def check_loss(self, loss: Loss) -> None:
        if not loss.quadratic:
            raise ValueError(
                f"{self.name} minimizes quadratic losses, not {loss.name}: "
                "choose another optimizer, or loss=mse"
            )

    def check_l1(self, penalty: str) -> None:
        raise ValueError(
            f"{self.name} minimizes quadratic objectives, which penalty {penalty} is not: "
            "choose optimizer=fista, or penalty=ridge"
        )

    @property
    def optimum(self) -> Optimum:
        assert self._known is not None, "the problem is known before anything moves"
        return self._known

    def list_alike(self, hyperparameters: HyperparameterColumns) -> Sequence[Self]:
        """Return the optimizers of a stack, all of this class."""
        return cast("Sequence[Self]", hyperparameters.components)

    def transpose(self, tensor: Tensor) -> Tensor:
        """Return a tensor in the parameter's layout, or back.

        The other layout is W's `[p, q]`.
        """
        if self._model is None:
            return tensor
        return self._model.transpose(tensor)

    def write_features(self) -> str:
        """Return X of a plain program in float64, an expression.

        A penalty's rows are below it.
        """
        p = len(self.optimum.weights)
        exempt = self.optimum.shrinkage.exempt
        diagonal = f"np.diag([1.0] * {p - 1} + [0.0])" if exempt else f"np.eye({p})"
        rows = f"{math.sqrt(self.optimum.decay)!r} * {diagonal}"
        return self._above(rows, "X.cpu().double().numpy()")

    def write_targets(self) -> str:
        """Return the targets of these rows, an expression."""
        return self._above(f"np.zeros({self.optimum.weights.shape})", "y.cpu().double().numpy()")

    def _above(self, rows: str, plain: str) -> str:
        if not self.optimum.decay:
            return plain
        return f"np.vstack([{plain}, {rows}])"
