"""The output of `linfit plan`: what would run, as text or JSON."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict
from typing import Any

from rich.table import Table

from linfit.errors import count_things
from linfit.sweeps.plan.plan import Plan, PlannedOptima, PlannedStack, UnstableFit
from linfit.sweeps.plan.predictions import Forecast
from linfit.views.report.json_data import print_json
from linfit.views.terminal.tables import (
    escape_markup,
    format_number,
    format_table,
    format_weights,
    open_console,
)

#: Columns in the order in which a narrow terminal loses them: of stacks, and of the theory.
EXPENDABLE_STACK_COLUMNS = ("why", "gradient", "model", "dtype", "loss", "blocks", "optimizers")
EXPENDABLE_THEORY_COLUMNS = (
    "noise floor",
    "digits",
    "rank",
    "eigenvalues",
    "contraction",
    "min loss",
    "κ",
    "fits",
    "optimal lr",
)
MOST_SWEPT_VALUES = 8
MOST_PLAN_ROWS = 20


def show_plan(plan: Plan, as_json: bool) -> bool:
    """Print the plan.

    Return True if a fit could not even begin.
    """
    if as_json:
        print_json({**asdict(plan), "seconds": plan.seconds, "memory": plan.memory})
        return bool(plan.failing)

    out = open_console()
    fits = f"{plan.num_fits} fit{'s' if plan.num_fits != 1 else ''}"
    out.print(
        f"[bold]{escape_markup(plan.experiment)}[/]: {f'a sweep of {fits}' if plan.sweep else fits}"
    )
    for key, values in plan.varying.items():
        out.print(f"varies    {escape_markup(key)}: {escape_markup(shorten_values(values))}")
    out.print(_stacks(plan.stacks))
    time = _describe_time(plan.seconds)
    out.print(f"time      {time} of fitting here; start-up and recording come on top")
    out.print(f"memory    about {format_bytes(plan.memory)} in the largest block")
    if plan.optima.number:
        out.print(f"theory    {_describe_optima(plan.optima)}")
    _print_theory(plan.theory)
    for note, _ in _some([(note, "") for note in plan.notes]):
        out.print(f"note      {escape_markup(note)}")
    _print_stability(plan)
    _print_reasons("left out", _group_alike(plan.left_out))
    _print_reasons("fails", plan.failing.items())
    return bool(plan.failing)


def _print_reasons(label: str, entries: Iterable[tuple[str, str]]) -> None:
    """Print a line for each (text, reason)."""
    for text, reason in _some(list(entries)):
        open_console().print(f"{label:<10}{escape_markup(text)}: {escape_markup(reason)}")


def _stacks(stacks: Sequence[PlannedStack]) -> Table:
    columns = _transpose([_stack(stack) for stack in stacks]) or {"engine": []}
    if not any(stack.why for stack in stacks):
        columns.pop("why", None)
    numeric = ("fits", "blocks", "memory", "time")
    return format_table(columns, numeric, EXPENDABLE_STACK_COLUMNS)


def _transpose(rows: Sequence[Mapping[str, str]]) -> dict[str, list[str]]:
    """Return the columns of rows that have the same titles."""
    if not rows:
        return {}
    return {title: [row[title] for row in rows] for title in rows[0]}


def _stack(stack: PlannedStack) -> dict[str, str]:
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
        "memory": format_bytes(stack.memory),
        "time": _describe_time(stack.seconds),
        "why": stack.why or "",
    }


def _print_theory(forecasts: Sequence[Forecast]) -> None:
    """Print a row for each problem and optimizer, without empty columns."""
    if not forecasts:
        return
    out = open_console()
    shown = forecasts[:MOST_PLAN_ROWS]
    columns = _transpose([_forecast(forecast) for forecast in shown])
    filled = {title: cells for title, cells in columns.items() if any(cells)}
    numeric = filled.keys() - {"theory", "optimizer"}
    out.print(format_table(filled, numeric, EXPENDABLE_THEORY_COLUMNS))
    optima = [(forecast.problem, forecast.optimum) for forecast in shown if forecast.optimum]
    for problem, optimum in dict.fromkeys(optima):
        weights = format_weights([format_number(weight) for weight in optimum or ()])
        out.print(f"optimum   {escape_markup(problem)}: {weights}")
    if len(forecasts) > len(shown):
        out.print(f"          {len(forecasts) - len(shown)} more: --json has all")


def _forecast(forecast: Forecast) -> dict[str, str]:
    steps = [format_range(forecast.steps_to_tolerance, 6)]
    if forecast.never:
        steps.append(f"{forecast.never} never")
    return {
        "theory": forecast.problem,
        "optimizer": forecast.optimizer,
        "fits": str(forecast.num_fits),
        "min loss": format_range(forecast.minimal_loss),
        "eigenvalues": _spectrum(forecast),
        "κ": format_range(forecast.condition),
        "rank": format_range(forecast.rank),
        "digits": format_range(forecast.digits),
        "stable lr ≤": format_range(forecast.largest_stable_lr),
        "optimal lr": format_range(forecast.optimal_lr),
        "contraction": format_range(forecast.rate, 5),
        "steps": ", ".join(filter(None, steps)),
        "noise floor": format_range(forecast.noise_floor),
    }


def _spectrum(forecast: Forecast) -> str:
    """Return the range from the smallest positive eigenvalue to the largest, over all fits."""
    smallest = forecast.smallest_curvature
    largest = forecast.largest_curvature
    return format_range((smallest[0], largest[1])) if smallest and largest else ""


def format_range(numbers: tuple[float, float] | None, digits: int = 4) -> str:
    """Return a range of numbers, or the one number at both ends."""
    if numbers is None:
        return ""
    low, high = (f"{number:.{digits}g}" for number in numbers)
    return low if low == high else f"{low} – {high}"


def _print_stability(plan: Plan) -> None:
    """Print how many fits are unstable or doubtful, and which."""
    out = open_console()
    unknown = sum(plan.no_bound_known.values())
    bounded = plan.num_fits - unknown - len(plan.failing)
    if bounded:
        fits = f"{len(plan.unstable)} of {count_things(bounded, 'fit')}"
        out.print(f"unstable  {fits} whose largest stable learning rate is known")
    _print_reasons("", _group_alike(plan.unstable))
    if plan.doubtful:
        out.print(
            f"doubtful  {count_things(len(plan.doubtful), 'fit')} may diverge: "
            "above what is stable from any start and with any batches"
        )
    _print_reasons("", _group_alike(plan.doubtful))
    if unknown:
        names = ", ".join(plan.no_bound_known)
        fits = count_things(unknown, "fit")
        out.print(f"          no bound known for {fits}: {escape_markup(names)}")


def _group_alike(unstable: Sequence[UnstableFit]) -> list[tuple[str, str]]:
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
    more = len(entries) - MOST_PLAN_ROWS
    return entries if more <= 0 else [*entries[:MOST_PLAN_ROWS], (f"{more} more", "--json has all")]


def shorten_values(values: Sequence[Any]) -> str:
    """Return the values, or the first and the last of many."""
    shown = [str(value) for value in values]
    if len(shown) <= MOST_SWEPT_VALUES:
        return ", ".join(shown)
    return f"{', '.join(shown[: MOST_SWEPT_VALUES - 2])}, …, {shown[-1]} ({len(shown)} values)"


def format_bytes(number: int) -> str:
    """Return a number of bytes in a unit that leaves few digits."""
    power = min(3, int(math.log(max(number, 1), 1024)))
    return f"{number / 1024**power:.3g} {('B', 'KiB', 'MiB', 'GiB')[power]}"


def _describe_optima(optima: PlannedOptima) -> str:
    """Return how long the exact optima take, and how much memory one takes."""
    number = "1 exact optimum" if optima.number == 1 else f"{optima.number:,} exact optima"
    needed = format_bytes(optima.memory)
    return f"{_describe_time(optima.seconds)} for {number} in about {needed}; theory=none skips it"


def _describe_time(seconds: float | None) -> str:
    """Return a time with at most two digits: a sample was timed, not the fits."""
    if seconds is None:
        return "unknown"
    if seconds < 0.1:
        return "< 0.1 s"
    number = seconds
    unit = "s"
    for longer, length in (("min", 60), ("h", 3600)):
        if seconds >= 2 * length:
            number = seconds / length
            unit = longer
    return f"about {number:.2g} {unit}" if number < 100 else f"about {number:.0f} {unit}"
