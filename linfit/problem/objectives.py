"""What a sweep may be compared by, and which fits have it."""

from __future__ import annotations

from typing import Literal

from linfit.problem.losses import Loss
from linfit.problem.measures import (
    HELD_OUT_PREFIX,
    SPARSE_MEASURES,
    Measure,
    find_measure,
    list_measures,
)
from linfit.problem.penalties import Penalty

#: What `objective` may be: a loss, or a measure of samples that are fitted or held out.
ObjectiveName = Literal[
    "auto",
    "loss",
    "excess_loss",
    "validation_loss",
    "r2",
    "rmse",
    "mae",
    "accuracy",
    "log_loss",
    "roc_auc",
    "mean_poisson_deviance",
    "support_size",
    "duality_gap",
    "validation_r2",
    "validation_rmse",
    "validation_mae",
    "validation_accuracy",
    "validation_log_loss",
    "validation_roc_auc",
    "validation_mean_poisson_deviance",
]


def check_objective(
    asked: ObjectiveName, loss: Loss, penalty: Penalty, is_summary: bool, holds_out: bool
) -> None:
    """Raise ValueError if a fit does not have what `objective` names.

    Its rows may be a summary, and it holds samples out or not.
    """
    measure = find_measure(asked)
    if asked.startswith(HELD_OUT_PREFIX) and not holds_out:
        other = "objective=loss or objective=excess_loss"
        if measure is not None:
            other = f"objective={measure.name}"
        raise ValueError(
            f"objective {asked} needs samples that are held out: "
            f"add split.validation=0.2, or choose {other}"
        )
    if measure in SPARSE_MEASURES:
        _check_sparse(asked, loss, penalty)
    elif measure is not None:
        _check_predictions(asked, measure, loss, is_summary)


def _check_sparse(asked: str, loss: Loss, penalty: Penalty) -> None:
    if not penalty.absolute():
        raise ValueError(
            f"objective {asked} is none of penalty {penalty.name}, which leaves no weight at 0: "
            "choose penalty=lasso or penalty=elastic_net, or another objective"
        )
    if asked == "duality_gap" and not loss.quadratic:
        raise ValueError(
            f"objective {asked} is of squared errors: choose loss=mse, or another objective"
        )


def _check_predictions(asked: str, measure: Measure, loss: Loss, is_summary: bool) -> None:
    known = list_measures(loss.target_kind, is_summary)
    if measure.name not in known:
        gradient = " with gradient gram" if is_summary else ""
        raise ValueError(
            f"objective {asked} is no measure of loss {loss.name}{gradient}: "
            f"choose one of {', '.join(known)}, or a loss"
        )
