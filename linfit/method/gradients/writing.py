"""Lines of a plain program that have the loss, alone or as a function of the weights."""

from __future__ import annotations

from linfit.script_fragments import GradientLines, Lines, LossLines, ModelLines, indent_lines


def write_loss_alone(model: ModelLines, loss: LossLines) -> GradientLines:
    """Return the loss without its gradient.

    It is for an optimizer that never uses one.
    """
    return GradientLines((), write_loss(model, loss), (), gradient="")


def write_loss(model: ModelLines, loss: LossLines) -> Lines:
    """Return the lines that leave the loss in `loss`."""
    return loss.define(model.prediction), *loss.before, f"loss = {loss.value}"


def write_objective(model: ModelLines, loss: LossLines) -> Lines:
    """Return the loss as a function of the weights, which torch does not record unasked."""
    return ("", "def objective(weight):", *indent_lines(loss.return_loss(model.pure)), "")
