"""Gradients of batches whose noise vanishes at the optimum: SVRG and SAGA.

Both keep a table T `[n, q]` of ∂loss/∂η, one row a sample, of weights that the fit has had. The
gradient of a batch B of m samples is n/m·X_Bᵀ(∂loss/∂η_B − T_B) + XᵀT. Its mean is the gradient of
all samples whatever T is, and its variance goes to 0 with T's distance from ∂loss/∂η. They differ
in when T is renewed. The gradient of a penalty is exact, and no part of T.

n samples, p features, q targets, m samples of a batch, r fits of a stack.
"""

from __future__ import annotations

import math
from abc import abstractmethod
from typing import TYPE_CHECKING, Annotated, ClassVar, Literal

from pydantic import Field

from linfit.method.batches import Batch, batch_loss_ratio
from linfit.method.gradients.base import (
    BatchMemory,
    BatchStep,
    Evaluation,
    Gradient,
    StackedBatchStep,
    StackedEvaluation,
    take_samples,
)
from linfit.method.gradients.manual import Manual
from linfit.method.gradients.writing import write_loss
from linfit.method.models import Model, TrainablePredictor
from linfit.method.products import ElementwiseProducts, StackedProducts
from linfit.problem.losses import Loss
from linfit.script_fragments import (
    BatchLines,
    GradientLines,
    Lines,
    LossLines,
    ModelLines,
    indent_lines,
)

if TYPE_CHECKING:
    from torch import Tensor


class VarianceReduced(Gradient):
    """The gradient of a batch, corrected by a table of earlier derivatives."""

    reduces_variance: ClassVar[bool] = True
    #: True if the samples of a batch renew their rows of the table.
    renews_rows: ClassVar[bool] = False

    @abstractmethod
    def count_period(self, n: int, size: int) -> int | None:
        """Return the steps between two renewals of the whole table, None if only step 0 makes it.

        n samples are fitted, `size` of them at a time.
        """

    def check_loss(self, loss: Loss) -> None:
        if not loss.smooth:
            raise ValueError(
                f"{self.name} needs a continuous derivative, which {loss.name} has not: "
                "choose gradient=manual, or loss=huber"
            )

    def renews_table(self, step: int, n: int, size: int) -> bool:
        """Return True if the whole table is renewed at a step, counted from 0."""
        period = self.count_period(n, size)
        return step == 0 or (period is not None and step % period == 0)

    def bind(
        self, model: Model, predictor: TrainablePredictor, loss: Loss, X: Tensor, y: Tensor
    ) -> Evaluation:
        return Manual().bind(model, predictor, loss, X, y)

    def stacked(self, model: Model, loss: Loss, X: StackedProducts, y: Tensor) -> StackedEvaluation:
        return Manual().stacked(model, loss, X, y)

    def script_lines(self, model: ModelLines, loss: LossLines) -> GradientLines:
        return Manual().script_lines(model, loss)

    def bind_batches(
        self,
        model: Model,
        predictor: TrainablePredictor,
        loss: Loss,
        X: Tensor,
        y: Tensor,
        size: int,
    ) -> BatchStep:
        n, columns = y.shape
        ratio = batch_loss_ratio(loss, n, size, columns)
        weight = predictor.weight.requires_grad_(False)
        count = 0
        table = whole = X.new_empty(0)

        def step(rows: Tensor) -> None:
            nonlocal count, table, whole
            renewed = self.renews_table(count, n, size)
            if renewed:
                table = loss.derivative(predictor(X), y)  # [n, q]
            if renewed or self.renews_rows:
                whole = X.T @ table  # [p, q]
            batch_X = X[rows]
            fresh = ratio * loss.derivative(predictor(batch_X), y[rows])  # [m, q]
            change = batch_X.T @ (fresh - table[rows])
            weight.grad = model.transpose(n / size * change + whole)
            if self.renews_rows:
                table.index_copy_(0, rows, fresh)
            count += 1

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
        _, m = shape
        n = X.shape[-1]
        ratio = batch_loss_ratio(loss, n, m, y.shape[1])
        all_products = ElementwiseProducts(X)
        kept = memory.tensors

        def step(W: Tensor, rows: Tensor) -> Tensor:
            renewed = self.renews_table(memory.steps, n, m)
            if renewed:
                kept["table"] = loss.derivative(model.stacked(all_products, W), y)  # [r, q, n]
            table = kept["table"]
            if renewed or self.renews_rows:
                kept["whole"] = all_products.multiply_transposed(table)  # [r, p, q]
            batch_X = ElementwiseProducts(take_samples(X, rows))
            batch_y = take_samples(y, rows)
            places = rows[:, None].expand(*table.shape[:2], m)
            fresh = ratio * loss.derivative(model.stacked(batch_X, W), batch_y)  # [r, q, m]
            change = fresh - table.gather(2, places)
            if self.renews_rows:
                table.scatter_(2, places, fresh)
            memory.steps += 1
            return n / m * batch_X.multiply_transposed(change) + kept["whole"]

        return step

    def batch_lines(self, model: ModelLines, loss: LossLines, batch: BatchLines) -> GradientLines:
        define = loss.define(model.prediction), *loss.before
        before, renewed = self._write_table(define, loss.derivative, batch)
        change = f"{batch.n / batch.size!r} * (X.T @ (fresh - table[rows])) + whole"
        gradient = f"({change}){model.transposed}" if model.transposed else change
        step = (
            *renewed,
            *batch.take,
            *define,
            f"fresh = {batch.ratio!r} * ({loss.derivative})",
            f"gradient = {gradient}",
            *(("table.index_copy_(0, rows, fresh)",) if self.renews_rows else ()),
            batch.release,
        )
        backward = (*step, *write_loss(model, loss))
        return GradientLines(before, (), backward, completes=True)

    def _write_table(
        self, define: Lines, derivative: str, batch: BatchLines
    ) -> tuple[Lines, Lines]:
        """Return lines before the loop and in it that renew the table, and `whole`, its gradient.

        `define` are the lines that the expression of the derivative needs.
        """
        table = (*define, f"table = {derivative}  # [n, q]")
        whole = "whole = X.T @ table  # [p, q]"
        period = self.count_period(batch.n, batch.size)
        if period is None:
            return table, (whole,)
        if self.renews_rows:
            return (), (f"if step % {period} == 0:", *indent_lines(table), whole)
        return (), (f"if step % {period} == 0:", *indent_lines((*table, whole)))


class SVRG(VarianceReduced, keeps=[VarianceReduced.stacked, VarianceReduced.script_lines]):
    """Stochastic variance reduced gradient (Johnson and Zhang, 2013), with batches.

    n/m·X_Bᵀ(∂loss/∂η_B − T_B) + XᵀT, where T `[n, q]` is ∂loss/∂η of all samples at a snapshot of
    the weights, taken every `epoch` steps, which are 2n/m for batches of m samples unless given.
    The snapshot is the last point, not one drawn of the epoch's. At a constant learning rate
    gradient descent, and so its proximal form, converges to the exact optimum. Not in torch.
    """

    name: Literal["svrg"] = "svrg"
    epoch: Annotated[int, Field(ge=1)] | None = None

    def count_period(self, n: int, size: int) -> int:
        return self.epoch or math.ceil(2 * n / size)

    def batch_curvature(self, batch: Batch, largest: float, steepest: float, n: int) -> None:
        """Return None: the stable learning rate depends on the length of the epoch, too."""


class SAGA(VarianceReduced, keeps=[VarianceReduced.stacked, VarianceReduced.script_lines]):
    """SAGA (Defazio, Bach and Lacoste-Julien, 2014), with batches.

    n/m·X_Bᵀ(∂loss/∂η_B − T_B) + XᵀT, where a row of T `[n, q]` is ∂loss/∂η of a sample when it was
    last in a batch, at first of all at the initial weights. XᵀT is summed anew at every step, so
    that no rounding gathers, and a sample that is twice in a batch counts once in it. At a constant
    learning rate up to 1/(3L), L the largest curvature of a sample by itself, gradient descent, and
    so its proximal form, converges to the exact optimum. Not in torch.
    """

    renews_rows: ClassVar[bool] = True
    name: Literal["saga"] = "saga"

    def count_period(self, n: int, size: int) -> None:
        return None

    def batch_curvature(self, batch: Batch, largest: float, steepest: float, n: int) -> float:
        """Return 6L, which makes 1/(3L) of gradient descent's 2 over a curvature.

        L is `steepest`. That rate is of Defazio et al., theorem 1, for batches of one sample drawn
        with replacement; the variance of more is less.
        """
        return 6 * steepest
