"""The output of `linfit reproduce` and `linfit diff`: the verdict and the changes, text or JSON."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from rich.table import Table

from linfit.engine.difference import compare_losses
from linfit.reproduction import Repetition, Reproduction
from linfit.tracking.read.comparison import Verdict, find_tolerance
from linfit.tracking.read.outcome import Outcome
from linfit.views.report.json_data import print_json
from linfit.views.terminal.tables import (
    NO_VALUE,
    UNSET_VALUE,
    escape_markup,
    format_number,
    format_table,
    open_console,
)

#: Exit codes.
EXIT_SAME = 0
EXIT_DIFFERENT = 1
EXIT_IRREPRODUCIBLE = 2
MOST_COMPARED_STEPS = 12
MOST_SHOWN_CHANGES = 40
#: Characters of a run's id that tell it from others of its sweep.
SHORT_ID = 12


@dataclass(frozen=True)
class OutcomeWords:
    """Names of the two outcomes, and words for equal and different ones."""

    sides: tuple[str, str] = ("then", "now")
    differ: str = "changed"
    same: str = "as they were"
    status: str = "it is {} again"


def choose_words(comparison: Reproduction) -> OutcomeWords:
    """Return the words for two recorded runs.

    Names, or ids where the names are equal.
    """
    [second] = comparison.repetitions
    sides = (comparison.name, second.name)
    if comparison.name == second.name:
        sides = (comparison.reproduces[:SHORT_ID], comparison.run_id[:SHORT_ID])
    return OutcomeWords(sides, "differs", "the same", "both are {}")


def show_reproduction(
    reproduction: Reproduction,
    as_json: bool,
    exact: bool = False,
    words: OutcomeWords | None = None,
) -> int:
    """Print a reproduction and return the exit code.

    0 identical or, unless `exact`, within tolerance; 1 differs; 2 some fit cannot be run again.
    """
    words = words or OutcomeWords()
    if as_json:
        print_json(_plain(reproduction))
    elif len(reproduction.repetitions) == 1:
        _one(reproduction, reproduction.repetitions[0], words)
    else:
        _several(reproduction, words)
    if reproduction.count_verdict(Verdict.DIFFERS) or (
        exact and reproduction.count_verdict(Verdict.EQUAL)
    ):
        return EXIT_DIFFERENT
    return EXIT_IRREPRODUCIBLE if reproduction.count_verdict(Verdict.REFUSED) else EXIT_SAME


def show_diff(comparison: Reproduction, as_json: bool) -> int:
    """Print the comparison of two recorded runs.

    Return 0 if their numbers are equal or within tolerance, otherwise 1.
    """
    return show_reproduction(comparison, as_json, words=choose_words(comparison))


def _plain(reproduction: Reproduction) -> Any:
    """Return a reproduction as plain data, with lists for arrays."""
    found = asdict(reproduction)
    for repetition in found["repetitions"]:
        for outcome in (repetition["then"], repetition["now"]):
            for key in ("steps", "losses", "weights") if outcome else ():
                if outcome[key] is not None:
                    outcome[key] = outcome[key].tolist()
    return {"verdict": reproduction.verdict.value, **found}


def _one(reproduction: Reproduction, repetition: Repetition, words: OutcomeWords) -> None:
    """Print the outcome of a single fit."""
    out = open_console()
    then = repetition.then
    now = repetition.now
    out.print(
        f"[bold]{escape_stored(reproduction.name)}[/]: run {escape_stored(repetition.reproduces)}"
    )
    verdict = escape_stored(_describe_verdict(repetition, words))
    out.print(f"verdict    [bold]{repetition.verdict.value}[/]: {verdict}")
    _print_changes(reproduction, words)
    differ = repetition.verdict in (Verdict.EQUAL, Verdict.DIFFERS)
    if (reproduction.overrides or differ) and then is not None and now is not None:
        out.print(_side_by_side(then, now, words))
    if reproduction.run_id:
        named = (
            "" if repetition.name == reproduction.name else f"{escape_stored(repetition.name)}: "
        )
        out.print(f"beside     {named}run {reproduction.run_id}")


def _describe_verdict(repetition: Repetition, words: OutcomeWords) -> str:
    """Return the verdict in a sentence."""
    found = repetition.difference
    then = repetition.then
    now = repetition.now
    if found is None or now is None:
        return repetition.why
    if repetition.verdict is Verdict.IDENTICAL:
        number = len(_common_steps(repetition))
        if not number:
            return words.status.format(now.status)
        weights = ""
        if then is not None and then.weights is not None and now.weights is not None:
            weights = f" and {len(now.weights)} weights"
        return f"{number} losses{weights} have the same bits"
    if found.largest_at is None and not found.weights:
        return repetition.why

    at = "" if found.largest_at is None else f" at step {found.largest_at}"
    first = "the losses have the same bits"
    if found.first_different is not None:
        first = f"other bits from step {found.first_different} on"
    parted = ""
    if found.parted_at is not None:
        parted = f", and by more than {_tolerance(repetition):g} from step {found.parted_at} on"
    rest = f" ({repetition.why})" if repetition.verdict is Verdict.DIFFERS else ""
    sizes = f"losses differ by up to {found.losses:.2g}{at}"
    if found.weights:  # 0 where one of the runs has none
        sizes += f", weights by {found.weights:.2g}"
    return f"{sizes}; {first}{parted}{rest}"


def _common_steps(repetition: Repetition) -> NDArray[np.int64]:
    """Return the steps at which both outcomes have a loss."""
    then = repetition.then
    now = repetition.now
    if then is None or now is None:
        return np.array([], int)
    return np.intersect1d(then.steps, now.steps)


def _tolerance(repetition: Repetition) -> float:
    assert repetition.then is not None and repetition.now is not None
    return find_tolerance(repetition.then, repetition.now)[1]


def _print_changes(reproduction: Reproduction, words: OutcomeWords) -> None:
    """Print a table of what changed in code, packages, git and machine."""
    out = open_console()
    changes = reproduction.changes
    if not reproduction.known:
        out.print(f"{words.differ}    unknown: no environment.json says where it was run")
    elif not changes:
        unchanged = f"schema, code, packages, git and machine are {words.same}"
        out.print(f"{words.differ}    nothing: {unchanged}")
    if not changes:
        return

    titles = (words.differ, "what", *map(clean_text, words.sides))
    rows = []
    for change in changes[:MOST_SHOWN_CHANGES]:
        parts = (change.kind, change.key, change.then, change.now)
        rows.append([clean_text(part) or UNSET_VALUE for part in parts])
    out.print(_table(titles, rows, texts=4))
    if len(changes) > MOST_SHOWN_CHANGES:
        out.print(f"           and {len(changes) - MOST_SHOWN_CHANGES} more: --json has all")


def _side_by_side(then: Outcome, now: Outcome, words: OutcomeWords) -> Table:
    """Return some recorded steps, the losses of both, and their relative difference."""
    steps, mine, theirs = np.intersect1d(then.steps, now.steps, return_indices=True)
    one = then.losses[mine]
    other = now.losses[theirs]
    differ = compare_losses(one, other, find_tolerance(then, now)[0])
    spread = np.linspace(0, len(steps) - 1, MOST_COMPARED_STEPS).round().astype(int)
    shown = np.unique(spread)[: len(steps)]
    rows = []
    for step, *losses, difference in zip(
        steps[shown], one[shown], other[shown], differ[shown], strict=True
    ):
        rows.append((str(step), *map(format_number, losses), f"{difference:.2g}"))
    titles = ("step", *(f"loss {clean_text(side)}" for side in words.sides), "difference")
    return _table(titles, rows, texts=0)


def _table(titles: Sequence[str], rows: Sequence[Sequence[str]], texts: int) -> Table:
    """Return a table whose first columns are text, and the others numbers.

    Two titles may be equal: blanks behind the second make it another key.
    """
    columns = {}
    for place, title in enumerate(titles):
        key = title + " " * titles[:place].count(title)
        columns[key] = [row[place] for row in rows]
    return format_table(columns, list(columns)[texts:])


def _several(reproduction: Reproduction, words: OutcomeWords) -> None:
    """Print the outcome of several fits of a sweep."""
    out = open_console()
    repetitions = reproduction.repetitions
    fits = f"{len(repetitions)} fits of sweep {reproduction.reproduces}"
    out.print(f"[bold]{escape_stored(reproduction.name)}[/]: {fits}")
    _print_changes(reproduction, words)
    numeric = ("losses differ", "weights differ", "other bits from step", "parted at step")
    rows = []
    for repetition in repetitions:
        own = (clean_text(repetition.name), repetition.verdict.value)
        rows.append((*own, *_cells(repetition)))
    out.print(_table(("run", "verdict", *numeric), rows, texts=2))

    for repetition in repetitions:
        verdict = repetition.verdict
        if verdict in (Verdict.DIFFERS, Verdict.REFUSED):
            out.print(
                f"{verdict.value:<10} "
                f"{escape_stored(repetition.name)}: {escape_stored(repetition.why)}"
            )
    counts = {verdict: reproduction.count_verdict(verdict) for verdict in Verdict}
    named = (f"{count} {verdict.value}" for verdict, count in counts.items() if count)
    out.print(f"verdict    {', '.join(named)}")
    if reproduction.run_id:
        out.print(f"beside     sweep {reproduction.run_id}")


def _cells(repetition: Repetition) -> tuple[str, ...]:
    found = repetition.difference
    if found is None or not len(_common_steps(repetition)):
        return (NO_VALUE,) * 4
    steps = (
        NO_VALUE if step is None else str(step) for step in (found.first_different, found.parted_at)
    )
    return (f"{found.losses:.2g}", f"{found.weights:.2g}", *steps)


def escape_stored(value: str) -> str:
    """Return stored text on one line, without control characters, safe for rich to print."""
    return escape_markup(clean_text(value))


def clean_text(value: str) -> str:
    """Return stored text on one line, without control characters."""
    return "".join(
        character if character.isprintable() else "\N{REPLACEMENT CHARACTER}" for character in value
    )
