"""What `linfit run` prints when it is done: a fit's curve and weights beside the exact answer, or a sweep's table."""

from __future__ import annotations

import json
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
    """Prints what was run, all failures last and on stderr; true if any run failed."""
    failures = [done for done in result.done if done.status is Status.FAILED]
    if as_json:
        print_data(json.dumps([_plain(done) for done in result.done]))
    elif (
        result.sweep_id is not None or len(result.done) > 1
    ):  # other launchers make single runs of a sweep
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
    """What is said where only pictures and report were broken off: no number is missing, and how to see them."""
    recorded = result.recorded
    if recorded is None:
        return ""
    verb = "show" if result.sweep_id is None else "report"
    return f"; everything is computed and recorded, only pictures and report are missing: {_where_kept(recorded, verb)}"


def show_where_kept(result: RunResult) -> None:
    """Prints to stderr how to see what was run, where stdout could not be written."""
    if (recorded := result.recorded) is not None:
        tell(f"linfit: what was run is kept: {_where_kept(recorded, 'show')}")


def _where_kept(recorded: Recorded, verb: str) -> str:
    if not recorded.run_id:
        return f"the numbers are in {recorded.folder}"
    uri = getattr(recorded.config.tracking, "uri", None)
    store = f" --uri '{mask(uri)}'" if uri and "$" not in uri else ""
    return f"linfit {verb} {recorded.run_id}{store}"


def _plain(done: Done) -> dict[str, Any]:
    row = {**done.result, "run_id": done.run_id}
    return {
        key: None if isinstance(value, float) and value - value != 0 else value
        for key, value in row.items()
    }


def _fit(result: RunResult, done: Done) -> None:
    out, fit = console(), result.fit
    assert fit is not None and fit.optimum is not None
    ended = "diverged" if fit.status is Status.DIVERGED else fit.status.value
    out.print(f"[bold]{escape(done.name)}[/]: {ended} after {fit.steps[-1]} updates")
    out.print(curve(points_of(fit), fit.config.record.every))
    out.print(f"weights        {numbers(list(fit.weights.ravel()))}")
    if fit.own_weights is not None:
        names, own = fit.own_weights
        terms = [
            f"{escape(name)}: {numbers([number(weight) for weight in row])}"
            for name, row in zip(names, own, strict=True)
        ]
        out.print(f"in own terms   {'  '.join(terms[:SHOWN])}{' …' if len(terms) > SHOWN else ''}")
    if fit.validation_losses is not None:
        out.print(
            f"validation     loss {number(float(fit.validation_losses[-1]))}, of samples held out"
        )
    out.print(
        f"exact optimum  {numbers([number(weight) for weight in fit.optimum.weights.ravel()])}  with loss {number(fit.optimum.loss)}"
    )
    out.print(f"distance       {number(fit.distance_to_optimum)} to the optimum")
    reached = fit.steps_to_tolerance
    tolerance = f"{fit.config.record.tolerance:g} of the initial excess loss"
    out.print(
        f"tolerance      {tolerance} {f'reached at step {reached}' if reached is not None else 'not reached'}"
    )
    _digits(fit)
    if theory := theory_of(fit):
        out.print(f"theory         {in_words(theory.numbers())}")
    if done.run_id:
        out.print(f"run            {done.run_id} in MLflow experiment {escape(fit.config.name)!r}")
    out.print(f"browse         {escape(result.where)}")


def _digits(fit: Fit) -> None:
    """Prints the digits to expect of each weight of the optimum, and of each of the user's own terms."""
    assert fit.optimum is not None and fit.problem is not None
    expected = digits_of(fit.optimum, fit.problem.cast(fit.config.dtype), fit.config.dtype)
    if expected is None:
        return
    out = console()
    out.print(
        f"digits         {numbers(expected.weights.ravel().tolist())}  of its weights to expect"
    )
    if expected.own is not None and fit.own_weights is not None:
        names = fit.own_weights[0]
        terms = [
            f"{escape(name)}: {numbers(row)}"
            for name, row in zip(names, expected.own.tolist(), strict=True)
        ]
        out.print(f"of own terms   {'  '.join(terms[:SHOWN])}{' …' if len(terms) > SHOWN else ''}")


def _sweep(result: RunResult) -> None:
    out = console()
    by = layout.EXCESS if result.recorded is None else layout.compared_by(result.recorded.row.tags)
    out.print(leaderboard([Line.of_done(done, by) for done in result.done]))
    counts = {status: sum(done.status is status for done in result.done) for status in Status}
    out.print(
        f"{len(result.done)} fits: "
        + ", ".join(f"{count} {status.value}" for status, count in counts.items() if count)
    )
    if result.sweep_id:
        out.print(f"sweep     {result.sweep_id}")
    out.print(f"browse    {escape(result.where)}")


def _last_line(done: Done) -> str:
    return (done.result["error"] or "").strip().splitlines()[-1]
