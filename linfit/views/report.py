"""The output of `linfit report`: a sweep's leaderboard in the terminal, and its page as a file."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from rich.table import Table

from linfit.errors import LinfitError, brief
from linfit.output import print_data
from linfit.tracking import layout
from linfit.views.board import cells
from linfit.views.comparison import Comparison, few
from linfit.views.markup import escape
from linfit.views.results import Results, load
from linfit.views.tables import console, fitted

#: Columns in the order in which a narrow terminal loses them; the counts of fits and the
#: intervals, which keep a comparison honest, are the last.
EXPENDABLE_COLUMNS = (
    "twins part",
    "told apart",
    "× first",
    "finished",
    "× first, 95%",
    "95% interval",
)
NUMERIC_COLUMNS = ("rank", "finished", "excess loss", "× first")
#: Errors that tables raise whose content linfit never writes.
NONSENSE = (
    ValueError,
    TypeError,
    LookupError,
    AttributeError,
    ArithmeticError,
    RecursionError,
    AssertionError,
)


@contextmanager
def explaining(results: Results) -> Iterator[None]:
    """Raise LinfitError, in a line, where the tables of a stored sweep make no sense."""
    try:
        yield
    except LinfitError:
        raise
    except NONSENSE as error:
        cause = brief(" ".join(f"{type(error).__name__} {error}".split()))
        raise LinfitError(
            f"the tables of {results.swept.name} are not as linfit writes them: {cause}"
        ) from error


def show_report(reference: str, uri: str | None, output: str | None, as_json: bool) -> None:
    """Print the leaderboard of a sweep and write its page.

    LinfitError if there is none.
    """
    results = load(reference, uri)
    file = Path(output or layout.REPORT)
    with explaining(results):
        comparison = results.comparison
        try:
            results.report(file)
        except OSError as error:
            cause = error.strerror or error
            raise LinfitError(
                f"{file} cannot be written: {cause}; choose another with --output"
            ) from error

    if as_json:
        found = {
            "answer": comparison.sentence(),
            "report": str(file),
            "horizon": comparison.trust,
            "leaderboard": results.leaderboard_rows(),
        }
        print_data(json.dumps(found))
        return

    out = console()
    out.print(escape(comparison.sentence()))
    out.print(format_terminal_leaderboard(comparison))
    out.print(escape(comparison.note))
    if comparison.trust:
        out.print(f"horizon {escape(comparison.trust)}")
    for line in few(comparison.robust):
        out.print(f"robust  {escape(line)}")
    out.print(f"report  {escape(str(file))}")


def format_terminal_leaderboard(comparison: Comparison) -> Table:
    """Return the leaderboard as a table for the terminal."""
    board = cells(comparison)
    columns = dict(zip(board.titles, map(list, zip(*board.rows, strict=True)), strict=True))
    return fitted(columns, NUMERIC_COLUMNS, EXPENDABLE_COLUMNS)
