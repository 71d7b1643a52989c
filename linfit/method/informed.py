"""What optimizers have in common that must know the problem: its optimum and its curvature.

n samples, p features, q targets.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, ClassVar

from pydantic import PrivateAttr

from linfit.method.models import Model
from linfit.method.optimizers import Optimizer
from linfit.problem.losses import Loss
from linfit.problem.theory import Optimum

if TYPE_CHECKING:
    from torch import Tensor


class Informed(Optimizer):
    """An optimizer of quadratic objectives that must know the whole problem before it moves anything."""

    batches: ClassVar[bool] = False

    _known: Optimum | None = PrivateAttr(default=None)
    _model: Model | None = PrivateAttr(default=None)

    def know(self, optimum: Optimum, model: Model | None = None) -> Optimizer:
        informed = self.model_copy()
        informed._known, informed._model = optimum, model
        return informed

    def check(self, loss: Loss) -> None:
        if not loss.quadratic:
            raise ValueError(
                f"{self.name} minimizes quadratic losses, not {loss.name}: choose another optimizer, or loss=mse"
            )

    @property
    def known(self) -> Optimum:
        assert self._known is not None, "the problem is known before anything moves"
        return self._known

    def layout(self, tensor: Tensor) -> Tensor:
        """From W's layout `[p, q]` to the parameter's or back."""
        return tensor if self._model is None else self._model.transpose(tensor)

    def features(self) -> str:
        """X of a program in float64, an expression; with a penalty, the rows under it that stand for it."""
        p = len(self.known.weights)
        exempt = self.known.shrinkage.exempt
        diagonal = f"np.diag([1.0] * {p - 1} + [0.0])" if exempt else f"np.eye({p})"
        return self._above(
            f"{math.sqrt(self.known.decay)!r} * {diagonal}", "X.cpu().double().numpy()"
        )

    def targets(self) -> str:
        """The targets of these rows."""
        return self._above(f"np.zeros({self.known.weights.shape})", "y.cpu().double().numpy()")

    def _above(self, rows: str, plain: str) -> str:
        return f"np.vstack([{plain}, {rows}])" if self.known.decay else plain
