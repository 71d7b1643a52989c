"""The output of `linfit run` when it ends: a fit beside its exact optimum, or a sweep's table."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING

from linfit.engine.fit import Fit, Status
from linfit.engine.prediction.predict import predict_from_fit
from linfit.problem.theory.digits import estimate_digits
from linfit.sweeps.run.block_pipeline import CompletedFit
from linfit.sweeps.run.result import RecordedRun, RunResult
from linfit.system.host import quote_word
from linfit.system.output import print_to_stderr
from linfit.tracking.schema import mlflow_names
from linfit.tracking.secrets.masking import mask
from linfit.views.report.json_data import print_json
from linfit.views.terminal.sweep_outcome import describe_rest, show_failures, show_sweep
from linfit.views.terminal.tables import (
    describe_theory,
    escape_markup,
    format_curve,
    format_number,
    format_weights,
    list_points,
    open_console,
)

if TYPE_CHECKING:  # a single fit does without pandas
    from linfit.views.analysis.compare import ComparedSweep

#: Own terms that are printed.
MOST_OWN_TERMS = 16


def show_outcome(
    result: RunResult,
    as_json: bool,
    compared: ComparedSweep | None = None,
    all_fits: bool = False,
) -> bool:
    """Print what was run, failures last and on stderr.

    Of a sweep the ten best fits are printed, or all. Return True if any fit failed.
    """
    failures = [done for done in result.completed if done.status is Status.FAILED]
    # Jobs of other launchers are single runs without a sweep.
    several = result.sweep_id is not None or len(result.completed) > 1
    if as_json:
        rows = [{**done.result, "run_id": done.run_id} for done in result.completed]
        print_json(rows)
    elif several:
        show_sweep(result, compared, all_fits)
    elif result.completed and not failures:
        _fit(result, result.completed[-1])
    show_failures(failures, len(result.completed), all_fits)
    return bool(failures)


def explain_missing_pictures(result: RunResult) -> str:
    """Return what to say when only pictures and report were interrupted.

    The command that shows the numbers, and that none is missing.
    """
    recorded = result.recorded
    if recorded is None:
        return ""
    verb = "show" if result.sweep_id is None else "report"
    return (
        "; everything is computed and recorded, only pictures and report are missing: "
        f"{_where_kept(recorded, verb)}"
    )


def show_where_kept(result: RunResult) -> None:
    """Print to stderr how to see the numbers, where stdout could not be written."""
    if (recorded := result.recorded) is not None:
        print_to_stderr(f"linfit: what was run is kept: {_where_kept(recorded, 'show')}")


def _where_kept(recorded: RecordedRun, verb: str) -> str:
    if not recorded.run_id:
        return f"the numbers are in {recorded.folder}"
    uri = getattr(recorded.config.tracking, "uri", None)
    store = f" --uri '{mask(uri)}'" if uri and "$" not in uri else ""
    page = os.path.relpath(recorded.folder / mlflow_names.REPORT)
    place = f" --output {quote_word(page)}" if verb == "report" else ""
    return f"linfit {verb} {recorded.run_id}{store}{place}"


def _fit(result: RunResult, done: CompletedFit) -> None:
    """Print a fit that did not fail."""
    out = open_console()
    fit = result.fit
    assert fit is not None and fit.optimum is not None
    ended = "diverged" if fit.status is Status.DIVERGED else fit.status.value
    out.print(f"[bold]{escape_markup(done.name)}[/]: {ended} after {fit.steps[-1]} updates")
    out.print(format_curve(list_points(fit), fit.config.record.every))
    out.print(f"weights        {format_weights(list(fit.weights.ravel()))}")
    if fit.own_weights is not None:
        names, own = fit.own_weights
        texts = [format_weights(_short(row)) for row in own]
        out.print(f"in own terms   {_list_terms(names, texts)}")
    if fit.validation_losses is not None:
        loss = format_number(float(fit.validation_losses[-1]))
        measured = "".join(f", {text}" for text in _name_measures(fit.held_out_measures))
        out.print(f"validation     loss {loss}{measured}, of samples held out")
    if fit.measures:
        out.print(f"measures       {', '.join(_name_measures(fit.measures))}")

    if fit.optimum.is_known:
        _optimum(fit)
        step = fit.steps_to_tolerance
        reached = _describe_end(fit) if step is None else f"reached at step {step}"
        tolerance = f"{fit.config.record.tolerance:g} of the initial excess loss"
        out.print(f"tolerance      {tolerance} {reached}")
        _digits(fit)
    else:
        out.print("exact optimum  not computed: theory=none")
    if theory := predict_from_fit(fit):
        out.print(f"theory         {describe_theory(theory.to_numbers())}")
    if done.run_id:
        out.print(
            f"run            {done.run_id} in MLflow experiment {escape_markup(fit.config.name)!r}"
        )
    out.print(f"browse         {escape_markup(result.where)}")


def _optimum(fit: Fit) -> None:
    """Print the exact optimum and the distance to it, or the infimum."""
    out = open_console()
    assert fit.optimum is not None
    loss = format_number(fit.optimum.loss)
    if not fit.optimum.attained:
        out.print(f"infimum        loss {loss}, which no weights attain")
        return
    optimum = format_weights(_short(fit.optimum.weights.ravel()))
    out.print(f"exact optimum  {optimum}  with loss {loss}")
    out.print(f"distance       {format_number(fit.distance_to_optimum)} to the optimum")


def _describe_end(fit: Fit) -> str:
    """Return how far a fit that did not reach the tolerance ended from its optimum."""
    excess = fit.excess_losses
    if fit.status is not Status.COMPLETED or not excess[0] > 0:
        return "not reached"
    return describe_rest(float(excess[-1] / excess[0]))


def _short(weights: Iterable[float]) -> list[str]:
    return [format_number(weight) for weight in weights]


def _name_measures(measures: Mapping[str, float]) -> list[str]:
    return [f"{name.replace('_', ' ')} {format_number(value)}" for name, value in measures.items()]


def _list_terms(names: Sequence[str], texts: Sequence[str]) -> str:
    """Return the user's own terms, each with its text, as many as are printed."""
    terms = [f"{escape_markup(name)}: {text}" for name, text in zip(names, texts, strict=True)]
    return "  ".join(terms[:MOST_OWN_TERMS]) + (" …" if len(terms) > MOST_OWN_TERMS else "")


def _digits(fit: Fit) -> None:
    """Print the digits to expect of the optimum's weights, and of the user's own terms."""
    assert fit.optimum is not None and fit.problem is not None
    expected = estimate_digits(fit.optimum, fit.problem.cast(fit.config.dtype), fit.config.dtype)
    if expected is None:
        return

    out = open_console()
    weights = format_weights(expected.weights.ravel().tolist())
    out.print(f"digits         {weights}  of its weights to expect")
    if expected.user_terms is not None and fit.own_weights is not None:
        names, _ = fit.own_weights
        texts = [format_weights(row) for row in expected.user_terms.tolist()]
        out.print(f"of own terms   {_list_terms(names, texts)}")
