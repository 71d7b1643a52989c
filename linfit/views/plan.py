"""`linfit plan`: what would run, as text or JSON."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

from rich.table import Table

from linfit.output import print_data
from linfit.sweeps.forecast import Forecast
from linfit.sweeps.plan import Plan, Stack, Unstable
from linfit.views.markup import escape
from linfit.views.tables import console, fitted, number, numbers

MOST_VALUES, MOST_NAMES = 8, 20


def show_plan(plan: Plan, as_json: bool) -> bool:
    """Prints the plan; true if a fit could not even begin."""
    if as_json:
        print_data(json.dumps({**asdict(plan), "seconds": plan.seconds, "memory": plan.memory}))
        return bool(plan.failing)
    out = console()
    fits = f"{plan.num_fits} fit{'s' if plan.num_fits != 1 else ''}"
    out.print(f"[bold]{escape(plan.experiment)}[/]: {f'a sweep of {fits}' if plan.sweep else fits}")
    for key, values in plan.varying.items():
        out.print(f"varies    {escape(key)}: {escape(abbreviated(values))}")
    out.print(_stacks(plan.stacks))
    out.print(
        f"time      {_about(plan.seconds)} of fitting here; start-up and recording come on top"
    )
    out.print(f"memory    about {size(plan.memory)} in the largest block")
    _theory(plan.theory)
    for text, _ in _some([(note, "") for note in plan.notes]):
        out.print(f"note      {escape(text)}")
    _stability(plan)
    for text, reason in _some(_alike(plan.left_out)):
        out.print(f"left out  {escape(text)}: {escape(reason)}")
    for name, reason in _some(list(plan.failing.items())):
        out.print(f"fails     {escape(name)}: {escape(reason)}")
    return bool(plan.failing)


def _stacks(stacks: Sequence[Stack]) -> Table:
    rows = [_stack(stack) for stack in stacks]
    columns = {title: [row[title] for row in rows] for title in rows[0]} if rows else {"engine": []}
    if not any(stack.why for stack in stacks):
        columns.pop("why", None)
    return fitted(columns, ("fits", "blocks", "memory", "time"))


def _stack(stack: Stack) -> dict[str, str]:
    return {
        "engine": stack.engine,
        "fits": str(stack.num_fits),
        "n×p×q": "×".join(map(str, stack.shape)),
        "model": stack.model,
        "loss": stack.loss,
        "gradient": stack.gradient,
        "dtype": stack.dtype,
        "optimizers": ", ".join(f"{name} {count}" for name, count in stack.optimizers.items()),
        "blocks": str(stack.blocks),
        "memory": size(stack.memory),
        "time": _about(stack.seconds),
        "why": stack.why or "",
    }


def _theory(forecasts: Sequence[Forecast]) -> None:
    """A row for each problem and optimizer, with the columns in which something stands."""
    if not forecasts:
        return
    out, shown = console(), forecasts[:MOST_NAMES]
    rows = [_forecast(forecast) for forecast in shown]
    columns = {
        title: [row[title] for row in rows] for title in rows[0] if any(row[title] for row in rows)
    }
    out.print(fitted(columns, columns.keys() - {"theory", "optimizer"}))
    optima = {(forecast.problem, forecast.optimum): None for forecast in shown if forecast.optimum}
    for problem, optimum in optima:
        out.print(
            f"optimum   {escape(problem)}: {numbers([number(weight) for weight in optimum or ()])}"
        )
    if len(forecasts) > len(shown):
        out.print(f"          {len(forecasts) - len(shown)} more: --json has all")


def _forecast(forecast: Forecast) -> dict[str, str]:
    steps, never = (
        span(forecast.steps_to_tolerance, 6),
        f"{forecast.never} never" if forecast.never else "",
    )
    return {
        "theory": forecast.problem,
        "optimizer": forecast.optimizer,
        "fits": str(forecast.num_fits),
        "min loss": span(forecast.minimal_loss),
        "eigenvalues": _spectrum(forecast),
        "κ": span(forecast.condition),
        "rank": span(forecast.rank),
        "digits": span(forecast.digits),
        "stable lr ≤": span(forecast.largest_stable_lr),
        "optimal lr": span(forecast.optimal_lr),
        "contraction": span(forecast.rate, 5),
        "steps": ", ".join(filter(None, (steps, never))),
        "noise floor": span(forecast.noise_floor),
    }


def _spectrum(forecast: Forecast) -> str:
    """From the smallest that is not zero to the largest, of all fits."""
    smallest, largest = forecast.smallest_curvature, forecast.largest_curvature
    return span((smallest[0], largest[1])) if smallest and largest else ""


def span(numbers: tuple[float, float] | None, digits: int = 4) -> str:
    """The range of some numbers, or the number that all of them are."""
    if numbers is None:
        return ""
    low, high = (f"{number:.{digits}g}" for number in numbers)
    return low if low == high else f"{low} – {high}"


def _stability(plan: Plan) -> None:
    out = console()
    unknown = sum(plan.no_bound_known.values())
    bounded = plan.num_fits - unknown - len(plan.failing)
    if bounded:
        out.print(
            f"unstable  {len(plan.unstable)} of {bounded} fits whose largest stable learning rate is known"
        )
    for text, reason in _some(_alike(plan.unstable)):
        out.print(f"          {escape(text)}: {escape(reason)}")
    if plan.doubtful:
        out.print(
            f"doubtful  {len(plan.doubtful)} fits may diverge: above what is stable whatever their batches draw"
        )
    for text, reason in _some(_alike(plan.doubtful)):
        out.print(f"          {escape(text)}: {escape(reason)}")
    if unknown:
        names = ", ".join(plan.no_bound_known)
        out.print(f"          no bound known for {unknown} fits: {escape(names)}")


def _alike(unstable: Sequence[Unstable]) -> list[tuple[str, str]]:
    """A line for the fits of one optimizer, learning rate and bound: seeds seldom change the bound."""
    alike: dict[str, list[str]] = {}
    for fit in unstable:
        key = f"{fit.optimizer} lr {fit.lr:g} above {fit.largest_stable_lr:.4g}"
        alike.setdefault(key, []).append(fit.name)
    return [
        (key, names[0] if len(names) == 1 else f"{len(names)} fits, {names[0]} …")
        for key, names in alike.items()
    ]


def _some(entries: list[tuple[str, str]]) -> list[tuple[str, str]]:
    more = len(entries) - MOST_NAMES
    return entries if more <= 0 else [*entries[:MOST_NAMES], (f"{more} more", "--json has all")]


def abbreviated(values: Sequence[Any]) -> str:
    """The values, or the first and the last of many."""
    shown = [str(value) for value in values]
    if len(shown) <= MOST_VALUES:
        return ", ".join(shown)
    return f"{', '.join(shown[: MOST_VALUES - 2])}, …, {shown[-1]} ({len(shown)} values)"


def size(number: int) -> str:
    """Bytes in a unit that leaves few digits."""
    power = min(3, int(math.log(max(number, 1), 1024)))
    return f"{number / 1024**power:.3g} {('B', 'KiB', 'MiB', 'GiB')[power]}"


def _about(seconds: float | None) -> str:
    """Two digits at the most: a sample was timed, not the fits."""
    if seconds is None:
        return "unknown"
    if seconds < 0.1:
        return "< 0.1 s"
    for unit, length in (("h", 3600), ("min", 60)):
        if seconds >= 2 * length:
            return (
                f"about {seconds / length:.2g} {unit}"
                if seconds < 100 * length
                else f"about {seconds / length:.0f} {unit}"
            )
    return f"about {seconds:.2g} s" if seconds < 100 else f"about {seconds:.0f} s"
