"""What a gradient is, and what it remembers of its batches.

n samples, p features, q targets, r fits of a stack.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, ClassVar

from linfit.component import Component, optional
from linfit.method.batches import Batch, batch_gradient_scale
from linfit.method.gradients.writing import write_loss
from linfit.method.models import Model, TrainablePredictor
from linfit.method.products import ElementwiseProducts, StackedProducts
from linfit.problem.losses import Loss
from linfit.script_fragments import BatchLines, GradientLines, LossLines, ModelLines

if TYPE_CHECKING:
    import torch
    from torch import Tensor

#: Computes the losses `[r]` of r fits at W `[r, p, q]`, and their gradients `[r, p, q]`.
StackedEvaluation = Callable[["Tensor"], "tuple[Tensor, Tensor]"]
#: Computes the loss `[]` where the weights stand, and leaves its gradient in the parameter's
#: `.grad`.
Evaluation = Callable[[], "Tensor"]
#: Leaves the gradient that a batch gives in the parameter's `.grad`, from its rows `[m]`.
BatchStep = Callable[["Tensor"], None]
#: Computes the gradients `[r, p, q]` of r fits at W `[r, p, q]` from their batches' rows `[r, m]`,
#: `[1, m]` if all fits take the same.
StackedBatchStep = Callable[["Tensor", "Tensor"], "Tensor"]


@dataclass
class BatchMemory:
    """What the gradients of r fits remember of their batches.

    It outlasts the fits that leave their stack.
    """

    steps: int = 0
    """Batches that were taken."""
    tensors: dict[str, Tensor] = field(default_factory=dict)
    """Tensors `[r, …]` by name."""

    def keep_fits(self, rows: Tensor) -> None:
        """Keep the memory of these fits only, in this order."""
        self.tensors = {name: tensor[rows] for name, tensor in self.tensors.items()}


class Gradient(Component):
    """How ∂loss/∂W is obtained."""

    #: True if it takes a summary of the data in place of the samples
    #: (linfit/problem/theory/sufficient_statistics.py).
    uses_summary: ClassVar[bool] = False
    #: True if it takes X and y, and computes, in float64 whatever the fit's dtype is.
    in_float64: ClassVar[bool] = False
    #: True if it reads X and y at every evaluation, so that each may find other samples in them.
    supports_batches: ClassVar[bool] = True
    #: True if it corrects the gradient of a batch so that its noise vanishes at the optimum. It
    #: takes batches alone.
    reduces_variance: ClassVar[bool] = False

    def check_loss(self, loss: Loss) -> None:
        """Raise ValueError unless this obtains the gradient of `loss`."""

    def choose_data_dtype(self, dtype: torch.dtype) -> torch.dtype:
        """Return the dtype of X and y for weights of `dtype`."""
        import torch

        if self.in_float64:
            return torch.float64
        return dtype

    def batch_curvature(
        self, batch: Batch, largest: float, steepest: float, n: int
    ) -> float | None:
        """Return the curvature λ with which batches are stable at learning rates up to 2/λ.

        The rates are gradient descent's. None if no bound is known. Of n samples, `largest` is the
        curvature of the loss, `steepest` the largest that any sample by itself would give it.
        """
        return batch.effective_curvature(largest, steepest, n)

    @abstractmethod
    def bind(
        self, model: Model, predictor: TrainablePredictor, loss: Loss, X: Tensor, y: Tensor
    ) -> Evaluation:
        """Return the evaluation of `loss` and its gradient.

        It is on X `[n, p]` and y `[n, q]`.
        """

    def bind_batches(
        self,
        model: Model,
        predictor: TrainablePredictor,
        loss: Loss,
        X: Tensor,
        y: Tensor,
        size: int,
    ) -> BatchStep:
        """Return the step that takes an unbiased gradient from a batch of `size` samples.

        X is `[n, p]` and y `[n, q]`. Every step copies its batch into the same two buffers.
        """
        import torch

        n = len(X)
        batch_X = X.new_empty(size, *X.shape[1:])
        batch_y = y.new_empty(size, *y.shape[1:])
        evaluate = self.bind(model, predictor, loss, batch_X, batch_y)
        share = batch_gradient_scale(loss, n, size, y.shape[1])

        def step(rows: Tensor) -> None:
            torch.index_select(X, 0, rows, out=batch_X)
            torch.index_select(y, 0, rows, out=batch_y)
            evaluate()
            if share != 1 and predictor.weight.grad is not None:
                predictor.weight.grad *= share

        return step

    def stack_batches(
        self,
        model: Model,
        loss: Loss,
        X: Tensor,
        y: Tensor,
        shape: tuple[int, int],
        memory: BatchMemory,
    ) -> StackedBatchStep:
        """Return the step of r fits at once, each with a batch of m samples.

        X is `[r, p, 1, n]` and y `[r, q, n]`. Either is `[1, …]` if all fits share it, and so are
        the rows of samples, whose shape `[r, m]` is given.
        """
        s, m = shape
        _, p, _, n = X.shape
        q = y.shape[1]
        batch_X = X.new_empty(max(s, len(X)), p, 1, m)
        batch_y = y.new_empty(max(s, len(y)), q, m)
        evaluate = self.stacked(model, loss, ElementwiseProducts(batch_X), batch_y)
        share = batch_gradient_scale(loss, n, m, q)

        def step(W: Tensor, rows: Tensor) -> Tensor:
            take_samples(X, rows, batch_X)
            take_samples(y, rows, batch_y)
            _, gradient = evaluate(W)
            if share != 1:
                gradient = gradient * share
            return gradient

        return step

    @optional
    def script_lines(self, model: ModelLines, loss: LossLines) -> GradientLines:
        """Return the evaluation in a plain program."""
        raise NotImplementedError(f"gradient {self.name} has no script lines")

    def batch_lines(self, model: ModelLines, loss: LossLines, batch: BatchLines) -> GradientLines:
        """Return the evaluation by batches in a plain program: the loss is that of all samples."""
        lines = self.script_lines(model, loss)
        scaled = () if batch.share == 1 else (f"{lines.gradient} *= {batch.share!r}",)
        step = (*lines.forward, *lines.backward, *scaled)
        return replace(
            lines,
            forward=(),
            backward=(*batch.take, *step, batch.release, *write_loss(model, loss)),
            completes=True,
        )

    @optional
    def stacked(self, model: Model, loss: Loss, X: StackedProducts, y: Tensor) -> StackedEvaluation:
        """Return the evaluation of r fits at once.

        y is `[r, q, n]`, or `[1, q, n]` if all fits share it.
        """
        raise NotImplementedError(f"gradient {self.name} has no stacked rule")


def take_samples(tensor: Tensor, rows: Tensor, out: Tensor | None = None) -> Tensor:
    """Return the samples `rows` `[r, m]` of a tensor `[r, …, n]`, as `[r, …, m]`.

    Either is `[1, …]` if all fits share it, and so is the result if all share both.
    """
    import torch

    count = max(len(rows), len(tensor))
    between = tensor.shape[1:-1]
    places = rows.view(len(rows), *(1 for _ in between), -1).expand(count, *between, -1)
    return torch.gather(tensor.expand(count, *tensor.shape[1:]), -1, places, out=out)
