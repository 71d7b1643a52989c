"""Say what the columns of the report's tables mean."""

from __future__ import annotations

from collections.abc import Iterable

from linfit.problem.measures import HELD_OUT_MEASURE_NAMES, HELD_OUT_PREFIX
from linfit.views.analysis.comparison import Comparison
from linfit.views.report.leaderboard import COLUMN_NOTES

#: Columns of the leaderboard that say what was fitted and how.
GROUP_TERMS = {
    "problem": "the data, the features and the loss that are fitted",
    "method": "the components chosen by name, as the optimizer",
    "setting": "the numbers of the method, as its learning rate",
}
#: Columns of the leaderboard that hold words.
LEADERBOARD_WORDS = ("problem", "method", "setting", "told apart")
#: Measures of the final weights.
MEASURE_TERMS = {
    "r2": "R², the share of the targets' variance that is explained",
    "rmse": "root mean squared error",
    "mae": "mean absolute error",
    "accuracy": "share of samples whose class is predicted",
    "log_loss": "mean of −log of the probability of a sample's class",
    "roc_auc": "probability that a sample of a class ranks above another",
    "mean_poisson_deviance": "mean Poisson deviance of the counts",
}
#: Columns of the table of all fits that are there in every sweep.
FIT_TERMS = {
    "row": "the fit's place in the sweep, from 0",
    "name": "what the sweep varies, in words",
    "excess_loss": "the loss above the least possible, at the last step",
    "status": "completed: all steps; converged: a stopping rule held; diverged: the loss grew "
    "without bound; failed: an error",
    "loss": "the training loss at the last step",
    "validation_loss": "the loss at the last step on samples held out",
    "distance_to_optimum": "from the weights to the exact optimum",
    "distance_to_truth": "from the weights to those that made the data",
    "steps_to_tolerance": "the first step at which the excess loss is within the tolerance",
    "diverged_at_step": "the step at which the fit was given up",
    "step_seconds": "mean time of a step; in a stack the fit's share of the step of all",
    **MEASURE_TERMS,
    **{
        f"{HELD_OUT_PREFIX}{name}": f"{words}, of samples held out"
        for name, words in MEASURE_TERMS.items()
    },
    "support_size": "number of penalized weights that are not 0",
    "duality_gap": "bound of the excess loss that the dual problem proves",
    "weights": "the first weights at the last step",
    "run_id": "the fit's run in MLflow",
}
VARIED_TERM = "varied by the sweep"
#: Columns whose numbers are results, shown with three digits.
ROUNDED_COLUMNS = (
    "excess_loss",
    "loss",
    "validation_loss",
    *MEASURE_TERMS,
    *HELD_OUT_MEASURE_NAMES,
    "duality_gap",
    "distance_to_optimum",
    "distance_to_truth",
)


def explain_fit_columns(titles: Iterable[str]) -> dict[str, str]:
    """Return what each column of the table of all fits means."""
    return {title: FIT_TERMS.get(title, VARIED_TERM) for title in titles}


def explain_leaderboard(comparison: Comparison, titles: Iterable[str]) -> dict[str, str]:
    """Return what each column of the leaderboard means."""
    measured = {comparison.measured: f"at the last step: median over {comparison.replicates.many}"}
    spread = COLUMN_NOTES.get(comparison.spread, COLUMN_NOTES["all seeds"])
    known = {**GROUP_TERMS, **measured, **COLUMN_NOTES, comparison.spread: spread}
    return {title: known[title] for title in titles}
