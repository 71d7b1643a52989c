"""Say what the columns of the report's tables mean."""

from __future__ import annotations

from collections.abc import Iterable

#: Titles of the leaderboard.
LEADERBOARD_TERMS = {
    "rank": "place on its problem; settings that cannot be told from each other share one",
    "problem": "the data, the features and the loss that are fitted",
    "method": "model, gradient, optimizer and whatever else is a choice by name",
    "setting": "the values chosen for the method on the seeds to choose on",
    "finished": "fits that neither diverged nor failed, of all fits of the setting",
    "excess loss": "the loss above the least possible at the last step: median over seeds",
    "spread": "over the seeds: all of up to five, from six on the quartiles",
    "95% interval": "where the number lies if other seeds had been drawn, in 95% of draws",
    "× first": "how many times the number of the first, paired by seed",
    "× first, 95%": "where that factor lies if other seeds had been drawn, in 95% of draws",
    "told apart": "yes if the seeds at hand tell the setting from the first",
    "twins part": "the step from which rounding alone parts two equal fits",
}
#: Columns of the leaderboard that hold words.
LEADERBOARD_WORDS = ("problem", "method", "setting", "told apart")
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
    "weights": "the first weights at the last step",
    "run_id": "the fit's run in MLflow",
}
VARIED_TERM = "varied by the sweep"
#: Columns whose numbers are results, shown with three digits.
ROUNDED_COLUMNS = (
    "excess_loss",
    "loss",
    "validation_loss",
    "distance_to_optimum",
    "distance_to_truth",
)


def explain_fit_columns(titles: Iterable[str]) -> dict[str, str]:
    """Return what each column of the table of all fits means."""
    return {title: FIT_TERMS.get(title, VARIED_TERM) for title in titles}


def explain_leaderboard(titles: Iterable[str]) -> dict[str, str]:
    """Return what each column of the leaderboard means."""
    return {title: LEADERBOARD_TERMS[title] for title in titles if title in LEADERBOARD_TERMS}
