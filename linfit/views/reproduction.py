"""`linfit reproduce` and `linfit diff`: the verdict, and what changed, as text or JSON."""

from __future__ import annotations

import json
from dataclasses import asdict
from typing import Any

import numpy as np
from numpy.typing import NDArray
from rich.table import Table

from linfit.engine.difference import relative_losses
from linfit.reproduction import Repetition, Reproduction
from linfit.tracking.comparison import Outcome, Verdict, tolerance
from linfit.views.markup import escape
from linfit.views.tables import ABSENT, console, number
from linfit.views.verification import plain

SAME, DIFFERENT, CANNOT = 0, 1, 2
MOST_POINTS = 12
MOST_CHANGES = 40


def show_reproduction(reproduction: Reproduction, as_json: bool, exact: bool = False) -> int:
    """Prints it, and returns the exit code: 0 identical or, unless `exact`, within tolerance; 1 differs; 2 some cannot be run again."""
    if as_json:
        print(json.dumps(_json(reproduction), allow_nan=False))
    elif len(reproduction.repetitions) == 1:
        _one(reproduction, reproduction.repetitions[0])
    else:
        _several(reproduction)
    if reproduction.count(Verdict.DIFFERS) or (exact and reproduction.count(Verdict.EQUAL)):
        return DIFFERENT
    return CANNOT if reproduction.count(Verdict.REFUSED) else SAME


def show_diff(comparison: Reproduction, as_json: bool) -> int:
    """The same for two recorded runs: 0 if their numbers are the same or within tolerance, otherwise 1."""
    return show_reproduction(comparison, as_json)


def _json(reproduction: Reproduction) -> Any:
    found = asdict(reproduction)
    for repetition in found["repetitions"]:
        for side in ("then", "now"):
            outcome = repetition[side]
            repetition[side] = outcome and {**outcome, **{key: _list(outcome[key]) for key in ("steps", "losses", "weights")}}
    return plain({"verdict": reproduction.verdict.value, **found})


def _list(array: Any) -> Any:
    return None if array is None else array.tolist()


def _one(reproduction: Reproduction, repetition: Repetition) -> None:
    out = console()
    out.print(f"[bold]{text(reproduction.name)}[/]: run {text(repetition.reproduces)}")
    out.print(f"verdict    [bold]{repetition.verdict.value}[/]: {text(_said(repetition))}")
    _changes(reproduction)
    differ = repetition.verdict in (Verdict.EQUAL, Verdict.DIFFERS)
    if (reproduction.overrides or differ) and repetition.then is not None and repetition.now is not None:
        out.print(_beside(repetition.then, repetition.now))
    if reproduction.run_id:
        out.print(f"beside     run {reproduction.run_id}")


def _said(repetition: Repetition) -> str:
    """The verdict in a sentence."""
    found, now = repetition.difference, repetition.now
    if found is None or now is None:
        return repetition.why
    if repetition.verdict is Verdict.IDENTICAL:
        weights = (
            "" if now.weights is None or repetition.then is None or repetition.then.weights is None else f" and {len(now.weights)} weights"
        )
        number = len(_common(repetition))
        return f"{number} losses{weights} have the same bits" if number else f"it is {now.status} again"
    if found.at is None and not found.weights:
        return repetition.why
    first = f"other bits from step {found.first} on" if found.first is not None else "the losses have the same bits"
    parted = f", and by more than {_tolerance(repetition):g} from step {found.parted} on" if found.parted is not None else ""
    at = f" at step {found.at}" if found.at is not None else ""
    rest = f" ({repetition.why})" if repetition.verdict is Verdict.DIFFERS else ""
    return f"losses differ by up to {found.losses:.2g}{at}, weights by {found.weights:.2g}; {first}{parted}{rest}"


def _common(repetition: Repetition) -> NDArray[np.int64]:
    """The steps of which both have the losses."""
    then, now = repetition.then, repetition.now
    return np.array([], int) if then is None or now is None else np.intersect1d(then.steps, now.steps)


def _tolerance(repetition: Repetition) -> float:
    assert repetition.then is not None and repetition.now is not None
    return tolerance(repetition.then, repetition.now)[1]


def _changes(reproduction: Reproduction) -> None:
    out, changes = console(), reproduction.changes
    if not reproduction.known:
        out.print("changed    unknown: no environment.json says where it was run")
    elif not changes:
        out.print("changed    nothing: schema, code, packages, git and machine are as they were")
    if not changes:
        return
    table = Table(box=None, pad_edge=False, header_style="bold")
    for title in ("changed", "what", "then", "now"):
        table.add_column(title)
    for change in changes[:MOST_CHANGES]:
        table.add_row(*(text(part) for part in (change.kind, change.key, change.then, change.now)))
    out.print(table)
    if len(changes) > MOST_CHANGES:
        out.print(f"           and {len(changes) - MOST_CHANGES} more: --json has all")


def _beside(then: Outcome, now: Outcome) -> Table:
    """Some of the recorded steps, the losses of both, and their relative difference."""
    table = Table(box=None, pad_edge=False, header_style="bold")
    for title in ("step", "loss then", "loss now", "difference"):
        table.add_column(title, justify="right")
    steps, mine, theirs = np.intersect1d(then.steps, now.steps, return_indices=True)
    losses = then.losses[mine], now.losses[theirs]
    differ = relative_losses(*losses, tolerance(then, now)[0])
    for place in sorted({*np.linspace(0, len(steps) - 1, MOST_POINTS).round().astype(int).tolist()} if len(steps) else ()):
        table.add_row(str(steps[place]), *(number(part[place]) for part in losses), f"{differ[place]:.2g}")
    return table


def _several(reproduction: Reproduction) -> None:
    out = console()
    out.print(f"[bold]{text(reproduction.name)}[/]: {len(reproduction.repetitions)} fits of sweep {reproduction.reproduces}")
    _changes(reproduction)
    table = Table(box=None, pad_edge=False, header_style="bold")
    for title in ("run", "verdict", "losses differ", "weights differ", "other bits from step", "parted at step"):
        table.add_column(title, justify="left" if title in ("run", "verdict") else "right")
    for repetition in reproduction.repetitions:
        table.add_row(text(repetition.name), repetition.verdict.value, *_cells(repetition))
    out.print(table)
    for repetition in reproduction.repetitions:
        if repetition.verdict in (Verdict.DIFFERS, Verdict.REFUSED):
            out.print(f"{repetition.verdict.value:<10} {text(repetition.name)}: {text(repetition.why)}")
    counts = (f"{reproduction.count(verdict)} {verdict.value}" for verdict in Verdict if reproduction.count(verdict))
    out.print(f"verdict    {', '.join(counts)}")
    if reproduction.run_id:
        out.print(f"beside     sweep {reproduction.run_id}")


def _cells(repetition: Repetition) -> tuple[str, ...]:
    found = repetition.difference
    if found is None or not len(_common(repetition)):
        return (ABSENT,) * 4
    steps = (ABSENT if step is None else str(step) for step in (found.first, found.parted))
    return (f"{found.losses:.2g}", f"{found.weights:.2g}", *steps)


def text(value: str) -> str:
    """What was stored, on one line and without control characters, for rich to print as it stands."""
    return escape("".join(character if character.isprintable() else "\N{REPLACEMENT CHARACTER}" for character in value))
