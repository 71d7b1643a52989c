"""The output of `linfit plan`: what would run, as text or JSON."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict
from typing import Any

from rich.table import Table

from linfit.output import print_data
from linfit.sweeps.forecast import Forecast
from linfit.sweeps.plan import Plan, Stack, Unstable
from linfit.views.markup import escape
from linfit.views.tables import console, fitted, number, numbers

MOST_VALUES = 8
MOST_NAMES = 20


def show_plan(plan: Plan, as_json: bool) -> bool:
    """Print the plan.

    Return True if a fit could not even begin.
    """
    if as_json:
        print_data(
            json.dumps(
                {
                    **asdict(plan),
                    "seconds": plan.seconds,
                    "memory": plan.memory,
                }
            )
        )
        return bool(plan.failing)

    out = console()
    fits = f"{plan.num_fits} fit{'s' if plan.num_fits != 1 else ''}"
    out.print(f"[bold]{escape(plan.experiment)}[/]: {f'a sweep of {fits}' if plan.sweep else fits}")
    for key, values in plan.varying.items():
        out.print(f"varies    {escape(key)}: {escape(abbreviated(values))}")
    out.print(_stacks(plan.stacks))
    time = _describe_time(plan.seconds)
    out.print(f"time      {time} of fitting here; start-up and recording come on top")
    out.print(f"memory    about {size(plan.memory)} in the largest block")
    _print_theory(plan.theory)
    for note, _ in _some([(note, "") for note in plan.notes]):
        out.print(f"note      {escape(note)}")
    _print_stability(plan)
    _print_reasons("left out", _group_alike(plan.left_out))
    _print_reasons("fails", plan.failing.items())
    return bool(plan.failing)


def _print_reasons(label: str, entries: Iterable[tuple[str, str]]) -> None:
    """Print a line for each (text, reason)."""
    for text, reason in _some(list(entries)):
        console().print(f"{label:<10}{escape(text)}: {escape(reason)}")


def _stacks(stacks: Sequence[Stack]) -> Table:
    columns = _transpose([_stack(stack) for stack in stacks]) or {"engine": []}
    if not any(stack.why for stack in stacks):
        columns.pop("why", None)
    return fitted(columns, ("fits", "blocks", "memory", "time"))


def _transpose(rows: Sequence[Mapping[str, str]]) -> dict[str, list[str]]:
    """Return the columns of rows that have the same titles."""
    if not rows:
        return {}
    return {title: [row[title] for row in rows] for title in rows[0]}


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
        "time": _describe_time(stack.seconds),
        "why": stack.why or "",
    }


def _print_theory(forecasts: Sequence[Forecast]) -> None:
    """Print a row for each problem and optimizer, without empty columns."""
    if not forecasts:
        return
    out = console()
    shown = forecasts[:MOST_NAMES]
    columns = _transpose([_forecast(forecast) for forecast in shown])
    filled = {title: cells for title, cells in columns.items() if any(cells)}
    out.print(fitted(filled, filled.keys() - {"theory", "optimizer"}))
    optima = [(forecast.problem, forecast.optimum) for forecast in shown if forecast.optimum]
    for problem, optimum in dict.fromkeys(optima):
        weights = numbers([number(weight) for weight in optimum or ()])
        out.print(f"optimum   {escape(problem)}: {weights}")
    if len(forecasts) > len(shown):
        out.print(f"          {len(forecasts) - len(shown)} more: --json has all")


def _forecast(forecast: Forecast) -> dict[str, str]:
    steps = [span(forecast.steps_to_tolerance, 6)]
    if forecast.never:
        steps.append(f"{forecast.never} never")
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
        "steps": ", ".join(filter(None, steps)),
        "noise floor": span(forecast.noise_floor),
    }


def _spectrum(forecast: Forecast) -> str:
    """Return the range from the smallest positive eigenvalue to the largest, over all fits."""
    smallest, largest = forecast.smallest_curvature, forecast.largest_curvature
    return span((smallest[0], largest[1])) if smallest and largest else ""


def span(numbers: tuple[float, float] | None, digits: int = 4) -> str:
    """Return a range of numbers, or the one number at both ends."""
    if numbers is None:
        return ""
    low, high = (f"{number:.{digits}g}" for number in numbers)
    return low if low == high else f"{low} – {high}"


def _print_stability(plan: Plan) -> None:
    """Print how many fits are unstable or doubtful, and which."""
    out = console()
    unknown = sum(plan.no_bound_known.values())
    bounded = plan.num_fits - unknown - len(plan.failing)
    if bounded:
        fits = f"{len(plan.unstable)} of {bounded} fits"
        out.print(f"unstable  {fits} whose largest stable learning rate is known")
    _print_reasons("", _group_alike(plan.unstable))
    if plan.doubtful:
        out.print(
            f"doubtful  {len(plan.doubtful)} fits may diverge: "
            "above what is stable whatever their batches draw"
        )
    _print_reasons("", _group_alike(plan.doubtful))
    if unknown:
        names = ", ".join(plan.no_bound_known)
        out.print(f"          no bound known for {unknown} fits: {escape(names)}")


def _group_alike(unstable: Sequence[Unstable]) -> list[tuple[str, str]]:
    """Return an entry for the fits of one optimizer, learning rate and bound.

    Seeds seldom change the bound.
    """
    alike: dict[str, list[str]] = {}
    for fit in unstable:
        key = f"{fit.optimizer} lr {fit.lr:g} above {fit.largest_stable_lr:.4g}"
        alike.setdefault(key, []).append(fit.name)
    entries = []
    for key, names in alike.items():
        entries.append((key, names[0] if len(names) == 1 else f"{len(names)} fits, {names[0]} …"))
    return entries


def _some(entries: list[tuple[str, str]]) -> list[tuple[str, str]]:
    more = len(entries) - MOST_NAMES
    return entries if more <= 0 else [*entries[:MOST_NAMES], (f"{more} more", "--json has all")]


def abbreviated(values: Sequence[Any]) -> str:
    """Return the values, or the first and the last of many."""
    shown = [str(value) for value in values]
    if len(shown) <= MOST_VALUES:
        return ", ".join(shown)
    return f"{', '.join(shown[: MOST_VALUES - 2])}, …, {shown[-1]} ({len(shown)} values)"


def size(number: int) -> str:
    """Return a number of bytes in a unit that leaves few digits."""
    power = min(3, int(math.log(max(number, 1), 1024)))
    return f"{number / 1024**power:.3g} {('B', 'KiB', 'MiB', 'GiB')[power]}"


def _describe_time(seconds: float | None) -> str:
    """Return a time with at most two digits: a sample was timed, not the fits."""
    if seconds is None:
        return "unknown"
    if seconds < 0.1:
        return "< 0.1 s"
    number, unit = seconds, "s"
    for longer, length in (("min", 60), ("h", 3600)):
        if seconds >= 2 * length:
            number, unit = seconds / length, longer
    return f"about {number:.2g} {unit}" if number < 100 else f"about {number:.0f} {unit}"
