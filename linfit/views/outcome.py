"""The output of `linfit run` when it ends: a fit beside its exact optimum, or a sweep's table."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Any

from linfit.engine.fit import Fit, Status
from linfit.engine.prediction import theory_of
from linfit.output import print_data, tell
from linfit.problem.digits import digits_of
from linfit.sweeps.recording import Done
from linfit.sweeps.run_result import Recorded, RunResult
from linfit.tracking import layout
from linfit.tracking.masking import mask
from linfit.views.markup import escape
from linfit.views.tables import (
    Line,
    console,
    curve,
    in_words,
    leaderboard,
    number,
    numbers,
    points_of,
)

#: Own terms that are printed.
SHOWN = 16


def show_outcome(result: RunResult, as_json: bool) -> bool:
    """Print what was run, failures last and on stderr.

    Return True if any fit failed.
    """
    failures = [done for done in result.done if done.status is Status.FAILED]
    # Jobs of other launchers are single runs without a sweep.
    several = result.sweep_id is not None or len(result.done) > 1
    if as_json:
        print_data(json.dumps([_plain(done) for done in result.done]))
    elif several:
        _sweep(result)
    elif result.done and not failures:
        _fit(result, result.done[-1])

    for done in failures:
        tell(f"linfit: {done.name} FAILED\n{done.result['error']}")
    if failures:
        names = "; ".join(f"{done.name} ({_last_line(done)})" for done in failures)
        tell(f"linfit: {len(failures)} of {len(result.done)} fits failed: {names}")
    return bool(failures)


def finished(result: RunResult) -> str:
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
        tell(f"linfit: what was run is kept: {_where_kept(recorded, 'show')}")


def _where_kept(recorded: Recorded, verb: str) -> str:
    if not recorded.run_id:
        return f"the numbers are in {recorded.folder}"
    uri = getattr(recorded.config.tracking, "uri", None)
    store = f" --uri '{mask(uri)}'" if uri and "$" not in uri else ""
    return f"linfit {verb} {recorded.run_id}{store}"


def _plain(done: Done) -> dict[str, Any]:
    """Return a fit as plain data, None where a number is not finite."""
    row = {**done.result, "run_id": done.run_id}
    for key, value in row.items():
        if isinstance(value, float) and value - value != 0:
            row[key] = None
    return row


def _fit(result: RunResult, done: Done) -> None:
    """Print a fit that did not fail."""
    out, fit = console(), result.fit
    assert fit is not None and fit.optimum is not None
    ended = "diverged" if fit.status is Status.DIVERGED else fit.status.value
    out.print(f"[bold]{escape(done.name)}[/]: {ended} after {fit.steps[-1]} updates")
    out.print(curve(points_of(fit), fit.config.record.every))
    out.print(f"weights        {numbers(list(fit.weights.ravel()))}")
    if fit.own_weights is not None:
        names, own = fit.own_weights
        texts = [numbers(_short(row)) for row in own]
        out.print(f"in own terms   {_list_terms(names, texts)}")
    if fit.validation_losses is not None:
        loss = number(float(fit.validation_losses[-1]))
        out.print(f"validation     loss {loss}, of samples held out")

    optimum = numbers(_short(fit.optimum.weights.ravel()))
    out.print(f"exact optimum  {optimum}  with loss {number(fit.optimum.loss)}")
    out.print(f"distance       {number(fit.distance_to_optimum)} to the optimum")
    step = fit.steps_to_tolerance
    reached = "not reached" if step is None else f"reached at step {step}"
    tolerance = f"{fit.config.record.tolerance:g} of the initial excess loss"
    out.print(f"tolerance      {tolerance} {reached}")
    _digits(fit)
    if theory := theory_of(fit):
        out.print(f"theory         {in_words(theory.numbers())}")
    if done.run_id:
        out.print(f"run            {done.run_id} in MLflow experiment {escape(fit.config.name)!r}")
    out.print(f"browse         {escape(result.where)}")


def _short(weights: Iterable[float]) -> list[str]:
    return [number(weight) for weight in weights]


def _list_terms(names: Sequence[str], texts: Sequence[str]) -> str:
    """Return the user's own terms, each with its text, as many as are printed."""
    terms = [f"{escape(name)}: {text}" for name, text in zip(names, texts, strict=True)]
    return "  ".join(terms[:SHOWN]) + (" …" if len(terms) > SHOWN else "")


def _digits(fit: Fit) -> None:
    """Print the digits to expect of the optimum's weights, and of the user's own terms."""
    assert fit.optimum is not None and fit.problem is not None
    expected = digits_of(fit.optimum, fit.problem.cast(fit.config.dtype), fit.config.dtype)
    if expected is None:
        return

    out = console()
    weights = numbers(expected.weights.ravel().tolist())
    out.print(f"digits         {weights}  of its weights to expect")
    if expected.own is not None and fit.own_weights is not None:
        names, _ = fit.own_weights
        texts = [numbers(row) for row in expected.own.tolist()]
        out.print(f"of own terms   {_list_terms(names, texts)}")


def _sweep(result: RunResult) -> None:
    """Print the table of a sweep, and how its fits ended."""
    out = console()
    by = layout.EXCESS if result.recorded is None else layout.compared_by(result.recorded.row.tags)
    out.print(leaderboard([Line.of_done(done, by) for done in result.done]))
    number = Counter(done.status for done in result.done)
    counts = ", ".join(f"{number[status]} {status.value}" for status in Status if number[status])
    out.print(f"{len(result.done)} fits: {counts}")
    if result.sweep_id:
        out.print(f"sweep     {result.sweep_id}")
    out.print(f"browse    {escape(result.where)}")


def _last_line(done: Done) -> str:
    return (done.result["error"] or "").strip().splitlines()[-1]
