"""The leaderboard as text, for the report and the terminal, and as Markdown, CSV and Parquet."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from linfit.tracking.layout import LEADERBOARD
from linfit.tracking.notes import literal
from linfit.views.comparison import Comparison
from linfit.views.floor import number, write_bound
from linfit.views.ranking import Entry
from linfit.writing import whole


@dataclass(frozen=True)
class Cells:
    """The leaderboard as text."""

    titles: list[str]
    rows: list[list[str]]


def cells(comparison: Comparison) -> Cells:
    """Return titles and rows, without columns that are empty."""
    firsts = comparison.firsts
    rows = []
    for rank, entry in zip(comparison.ranks(), comparison.entries, strict=True):
        rows.append(_row(rank, entry, firsts[entry.problem] is entry))
    titles = [title for title in rows[0] if any(row[title] for row in rows)]
    return Cells(titles, [[row[title] for title in titles] for row in rows])


def _row(rank: int, entry: Entry, is_first: bool) -> dict[str, str]:
    return {
        "rank": str(rank),
        "problem": entry.problem,
        "method": entry.method,
        "setting": entry.setting,
        "finished": f"{entry.finished} of {entry.fits}",
        "excess loss": write_bound(entry.excess, entry.at_floor),
        "95% interval": _interval(entry.low, entry.high),
        "× first": "" if is_first else _factor(entry),
        "× first, 95%": "" if is_first else _interval(entry.factor_low, entry.factor_high),
        "told apart": "" if is_first else _told_apart(entry),
        "twins part": _parted(entry.horizon),
    }


def _factor(entry: Entry) -> str:
    if np.isnan(entry.factor):
        return ""
    return f"{'≥ ' if entry.factor_at_least else ''}{number(entry.factor)}"


def _told_apart(entry: Entry) -> str:
    """Return the verdict, empty where there are too few seeds for one."""
    if entry.equal:
        return "no: equal"
    if entry.rounding:
        return "no: rounding"
    if np.isnan(entry.factor_low):
        return ""
    return "yes" if entry.distinct else "no"


def _parted(step: float) -> str:
    if np.isnan(step):
        return ""
    return "never" if np.isinf(step) else f"step {step:.0f}"


def _interval(low: float, high: float) -> str:
    return "" if np.isnan(low) else f"{number(low)} to {number(high)}"


def write(comparison: Comparison, folder: Path) -> list[Path]:
    """Write the leaderboard as CSV and Parquet, with all digits, and as Markdown.

    Return the files.
    """
    frame = comparison.frame()
    csv, parquet, readable = (folder / f"{LEADERBOARD}.{end}" for end in ("csv", "parquet", "md"))
    with whole(csv) as temporary:
        frame.to_csv(temporary, index=False)
    with whole(parquet) as temporary:
        frame.to_parquet(temporary, index=False)
    with whole(readable) as temporary:
        temporary.write_text(markdown(comparison), encoding="utf-8")
    return [csv, parquet, readable]


def markdown(comparison: Comparison) -> str:
    """Return the leaderboard in Markdown.

    The answer, the table, and how it was found.
    """
    table = "\n".join(format_markdown_rows(comparison))
    return f"{literal(comparison.sentence())}\n\n{table}\n\n{format_markdown_note(comparison)}\n"


def format_markdown_rows(comparison: Comparison) -> list[str]:
    """Return the lines of the Markdown table: titles, rule, rows."""
    board = cells(comparison)
    lines = [board.titles, ["---"] * len(board.titles), *board.rows]
    return ["| " + " | ".join(map(literal, line)) + " |" for line in lines]


def format_markdown_note(comparison: Comparison) -> str:
    """Return how the leaderboard was found, as Markdown."""
    return literal(f"{comparison.note} {comparison.trust}")
