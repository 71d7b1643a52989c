"""The output of `linfit report`: a sweep's leaderboard in the terminal, and its page as a file."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from rich.table import Table

from linfit.errors import LinfitError, shorten
from linfit.tracking.schema import mlflow_names
from linfit.views.analysis.comparison import MEASURES, Comparison, shorten_lines
from linfit.views.report.json_data import print_json
from linfit.views.report.leaderboard import format_leaderboard
from linfit.views.results import Results, load
from linfit.views.terminal.tables import escape_markup, format_table, open_console

#: Columns in the order in which a narrow terminal loses them; the last are the interval and the
#: verdict on the first entry, and then the spread of fits, which keep a comparison honest.
EXPENDABLE_COLUMNS = (
    "copies part",
    "reached",
    "steps",
    "× first",
    "finished",
    "mean × first, 95%",
    "told apart",
)
NUMERIC_COLUMNS = ("rank", "finished", *MEASURES.values(), "reached", "steps", "× first")
#: Errors that tables raise whose content linfit never writes.
MALFORMED_TABLES = (
    ValueError,
    TypeError,
    LookupError,
    AttributeError,
    ArithmeticError,
    RecursionError,
    AssertionError,
)


@contextmanager
def explain_malformed_tables(results: Results) -> Iterator[None]:
    """Raise LinfitError, in a line, where the tables of a stored sweep make no sense."""
    try:
        yield
    except LinfitError:
        raise
    except MALFORMED_TABLES as error:
        cause = shorten(" ".join(f"{type(error).__name__} {error}".split()))
        raise LinfitError(
            f"the tables of {results.swept.name} are not as linfit writes them: {cause}"
        ) from error


def show_report(reference: str, uri: str | None, output: str | None, as_json: bool) -> None:
    """Print the leaderboard of a sweep and write its page.

    LinfitError if there is none.
    """
    results = load(reference, uri)
    file = Path(output or mlflow_names.REPORT)
    with explain_malformed_tables(results):
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
            "answer": comparison.summarize(),
            "report": str(file),
            "horizon": comparison.twins_note,
            "leaderboard": results.leaderboard_rows(),
        }
        print_json(found)
        return

    out = open_console()
    out.print(escape_markup(comparison.summarize()))
    out.print(format_terminal_leaderboard(comparison))
    out.print(escape_markup(comparison.note))
    if comparison.twins_note:
        out.print(f"rounding  {escape_markup(comparison.twins_note)}")
    for line in shorten_lines(comparison.most_robust):
        out.print(f"robust    {escape_markup(line)}")
    out.print(f"report    {escape_markup(str(file))}")


def format_terminal_leaderboard(comparison: Comparison, most: int | None = None) -> Table:
    """Return the leaderboard, or its first entries, as a table for the terminal."""
    board = format_leaderboard(comparison)
    rows = board.rows[:most]
    columns = dict(zip(board.titles, map(list, zip(*rows, strict=True)), strict=True))
    more = len(board.rows) - len(rows)
    caption = f"{more} more: linfit report prints all" if more else ""
    return format_table(columns, NUMERIC_COLUMNS, (*EXPENDABLE_COLUMNS, comparison.spread), caption)
