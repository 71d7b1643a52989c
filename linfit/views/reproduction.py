"""`linfit reproduce` and `linfit diff`: the verdict, and what changed, as text or JSON."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from rich.table import Table

from linfit.engine.difference import relative_losses
from linfit.output import print_data
from linfit.reproduction import Repetition, Reproduction
from linfit.tracking.comparison import Verdict, tolerance
from linfit.tracking.outcomes import Outcome
from linfit.views.markup import escape
from linfit.views.tables import ABSENT, UNSET, console, fitted, number
from linfit.views.verification import plain

SAME, DIFFERENT, CANNOT = 0, 1, 2
MOST_POINTS = 12
MOST_CHANGES = 40
#: Characters of a run's id that tell it from others of its sweep.
SHORT_ID = 12


@dataclass(frozen=True)
class Words:
    """What the two outcomes are called, and how it is said that they differ or are the same."""

    sides: tuple[str, str] = ("then", "now")
    differ: str = "changed"
    same: str = "as they were"
    status: str = "it is {} again"


def words_for(comparison: Reproduction) -> Words:
    """Return the words for two recorded runs: their names, or ids where their names are the same."""
    [second] = comparison.repetitions
    names = comparison.name, second.name
    ids = comparison.reproduces[:SHORT_ID], comparison.run_id[:SHORT_ID]
    return Words(ids if names[0] == names[1] else names, "differs", "the same", "both are {}")


def show_reproduction(
    reproduction: Reproduction, as_json: bool, exact: bool = False, words: Words | None = None
) -> int:
    """Prints it, and returns the exit code: 0 identical or, unless `exact`, within tolerance; 1 differs; 2 some cannot be run again."""
    words = words or Words()
    if as_json:
        print_data(json.dumps(_json(reproduction), allow_nan=False))
    elif len(reproduction.repetitions) == 1:
        _one(reproduction, reproduction.repetitions[0], words)
    else:
        _several(reproduction, words)
    if reproduction.count(Verdict.DIFFERS) or (exact and reproduction.count(Verdict.EQUAL)):
        return DIFFERENT
    return CANNOT if reproduction.count(Verdict.REFUSED) else SAME


def show_diff(comparison: Reproduction, as_json: bool) -> int:
    """The same for two recorded runs: 0 if their numbers are the same or within tolerance, otherwise 1."""
    return show_reproduction(comparison, as_json, words=words_for(comparison))


def _json(reproduction: Reproduction) -> Any:
    found = asdict(reproduction)
    for repetition in found["repetitions"]:
        for side in ("then", "now"):
            outcome = repetition[side]
            repetition[side] = outcome and {
                **outcome,
                **{key: _list(outcome[key]) for key in ("steps", "losses", "weights")},
            }
    return plain({"verdict": reproduction.verdict.value, **found})


def _list(array: Any) -> Any:
    return None if array is None else array.tolist()


def _one(reproduction: Reproduction, repetition: Repetition, words: Words) -> None:
    out = console()
    out.print(f"[bold]{text(reproduction.name)}[/]: run {text(repetition.reproduces)}")
    out.print(f"verdict    [bold]{repetition.verdict.value}[/]: {text(_said(repetition, words))}")
    _changes(reproduction, words)
    differ = repetition.verdict in (Verdict.EQUAL, Verdict.DIFFERS)
    if (
        (reproduction.overrides or differ)
        and repetition.then is not None
        and repetition.now is not None
    ):
        out.print(_beside(repetition.then, repetition.now, words))
    if reproduction.run_id:
        named = "" if repetition.name == reproduction.name else f"{text(repetition.name)}: "
        out.print(f"beside     {named}run {reproduction.run_id}")


def _said(repetition: Repetition, words: Words) -> str:
    """The verdict in a sentence."""
    found, now = repetition.difference, repetition.now
    if found is None or now is None:
        return repetition.why
    if repetition.verdict is Verdict.IDENTICAL:
        weights = (
            ""
            if now.weights is None or repetition.then is None or repetition.then.weights is None
            else f" and {len(now.weights)} weights"
        )
        number = len(_common(repetition))
        return (
            f"{number} losses{weights} have the same bits"
            if number
            else words.status.format(now.status)
        )
    if found.at is None and not found.weights:
        return repetition.why
    first = (
        f"other bits from step {found.first} on"
        if found.first is not None
        else "the losses have the same bits"
    )
    parted = (
        f", and by more than {_tolerance(repetition):g} from step {found.parted} on"
        if found.parted is not None
        else ""
    )
    at = f" at step {found.at}" if found.at is not None else ""
    rest = f" ({repetition.why})" if repetition.verdict is Verdict.DIFFERS else ""
    return f"losses differ by up to {found.losses:.2g}{at}, weights by {found.weights:.2g}; {first}{parted}{rest}"


def _common(repetition: Repetition) -> NDArray[np.int64]:
    """The steps of which both have the losses."""
    then, now = repetition.then, repetition.now
    return (
        np.array([], int) if then is None or now is None else np.intersect1d(then.steps, now.steps)
    )


def _tolerance(repetition: Repetition) -> float:
    assert repetition.then is not None and repetition.now is not None
    return tolerance(repetition.then, repetition.now)[1]


def _changes(reproduction: Reproduction, words: Words) -> None:
    out, changes = console(), reproduction.changes
    if not reproduction.known:
        out.print(f"{words.differ}    unknown: no environment.json says where it was run")
    elif not changes:
        out.print(
            f"{words.differ}    nothing: schema, code, packages, git and machine are {words.same}"
        )
    if not changes:
        return
    titles = (words.differ, "what", *map(legible, words.sides))
    parts = [
        (change.kind, change.key, change.then, change.now) for change in changes[:MOST_CHANGES]
    ]
    out.print(_table(titles, [[legible(part) or UNSET for part in row] for row in parts], texts=4))
    if len(changes) > MOST_CHANGES:
        out.print(f"           and {len(changes) - MOST_CHANGES} more: --json has all")


def _beside(then: Outcome, now: Outcome, words: Words) -> Table:
    """Some of the recorded steps, the losses of both, and their relative difference."""
    titles = ("step", *(f"loss {legible(side)}" for side in words.sides), "difference")
    steps, mine, theirs = np.intersect1d(then.steps, now.steps, return_indices=True)
    losses = then.losses[mine], now.losses[theirs]
    differ = relative_losses(*losses, tolerance(then, now)[0])
    places = sorted(
        {*np.linspace(0, len(steps) - 1, MOST_POINTS).round().astype(int).tolist()}
        if len(steps)
        else ()
    )
    rows = [
        (str(steps[place]), *(number(part[place]) for part in losses), f"{differ[place]:.2g}")
        for place in places
    ]
    return _table(titles, rows, texts=0)


def _table(titles: Sequence[str], rows: Sequence[Sequence[str]], texts: int) -> Table:
    """Return a table whose first columns are text, and the others numbers; two titles may be the same."""
    unique = [title + " " * titles[:place].count(title) for place, title in enumerate(titles)]
    columns = {title: [row[place] for row in rows] for place, title in enumerate(unique)}
    return fitted(columns, unique[texts:])


def _several(reproduction: Reproduction, words: Words) -> None:
    out = console()
    out.print(
        f"[bold]{text(reproduction.name)}[/]: {len(reproduction.repetitions)} fits of sweep {reproduction.reproduces}"
    )
    _changes(reproduction, words)
    titles = (
        "run",
        "verdict",
        "losses differ",
        "weights differ",
        "other bits from step",
        "parted at step",
    )
    rows = [
        (legible(repetition.name), repetition.verdict.value, *_cells(repetition))
        for repetition in reproduction.repetitions
    ]
    out.print(_table(titles, rows, texts=2))
    for repetition in reproduction.repetitions:
        if repetition.verdict in (Verdict.DIFFERS, Verdict.REFUSED):
            out.print(
                f"{repetition.verdict.value:<10} {text(repetition.name)}: {text(repetition.why)}"
            )
    counts = (
        f"{reproduction.count(verdict)} {verdict.value}"
        for verdict in Verdict
        if reproduction.count(verdict)
    )
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
    return escape(legible(value))


def legible(value: str) -> str:
    """What was stored, on one line and without control characters."""
    return "".join(
        character if character.isprintable() else "\N{REPLACEMENT CHARACTER}" for character in value
    )
