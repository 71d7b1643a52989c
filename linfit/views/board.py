"""The leaderboard, the same in the terminal, as Markdown, as CSV, as Parquet and in the report's page."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from rich.table import Table

from linfit.tracking.layout import LEADERBOARD
from linfit.tracking.notes import literal
from linfit.views.comparison import Comparison
from linfit.views.floor import number, write_bound
from linfit.views.ranking import Entry
from linfit.views.tables import fitted
from linfit.writing import whole

#: What is left out first where the terminal is narrow; last what keeps a comparison honest: what finished, and intervals.
EXPENDABLE = ("twins part", "told apart", "× first", "finished", "× first, 95%", "95% interval")
NUMERIC = ("rank", "finished", "excess loss", "× first")


@dataclass(frozen=True)
class Cells:
    """The leaderboard as text."""

    titles: list[str]
    rows: list[list[str]]


def cells(comparison: Comparison) -> Cells:
    """Titles and rows; a column in which nothing stands is left out."""
    firsts, ranked = comparison.firsts, zip(comparison.ranks(), comparison.entries, strict=True)
    rows = [_row(rank, entry, firsts[entry.problem] is entry) for rank, entry in ranked]
    used = [title for title in rows[0] if any(row[title] for row in rows)]
    return Cells(used, [[row[title] for title in used] for row in rows])


def _row(rank: int, entry: Entry, first: bool) -> dict[str, str]:
    own = {
        "rank": str(rank),
        "problem": entry.problem,
        "method": entry.method,
        "setting": entry.setting,
        "finished": f"{entry.finished} of {entry.fits}",
        "excess loss": write_bound(entry.excess, entry.at_floor),
        "95% interval": _interval(entry.low, entry.high),
    }
    beside = {"× first": "", "× first, 95%": "", "told apart": ""} if first else _beside(entry)
    return {**own, **beside, "twins part": _parted(entry.horizon)}


def _beside(entry: Entry) -> dict[str, str]:
    """Return how an entry compares with the first of its problem."""
    bound = "≥ " if entry.factor_at_least else ""
    known = not np.isnan(entry.factor)
    return {
        "× first": f"{bound}{number(entry.factor)}" if known else "",
        "× first, 95%": _interval(entry.factor_low, entry.factor_high),
        "told apart": _told_apart(entry),
    }


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
    return "" if np.isnan(step) else "never" if np.isinf(step) else f"step {step:.0f}"


def _interval(low: float, high: float) -> str:
    return "" if np.isnan(low) else f"{number(low)} to {number(high)}"


def write(comparison: Comparison, folder: Path) -> list[Path]:
    """Writes the leaderboard as CSV and Parquet, with all digits, and as Markdown, and returns the files."""
    frame = comparison.frame()
    csv, parquet, readable = (
        folder / f"{LEADERBOARD}.{ending}" for ending in ("csv", "parquet", "md")
    )
    with whole(csv) as temporary:
        frame.to_csv(temporary, index=False)
    with whole(parquet) as temporary:
        frame.to_parquet(temporary, index=False)
    with whole(readable) as temporary:
        temporary.write_text(markdown(comparison), encoding="utf-8")
    return [csv, parquet, readable]


def markdown(comparison: Comparison) -> str:
    """The leaderboard as a Markdown table, with the answer above and how it was found below."""
    board = cells(comparison)
    lines = [board.titles, ["---"] * len(board.titles), *board.rows]
    table = "\n".join("| " + " | ".join(literal(cell) for cell in line) + " |" for line in lines)
    return f"{literal(comparison.sentence())}\n\n{table}\n\n{literal(' '.join(filter(None, (comparison.note, comparison.trust))))}\n"


def terminal(comparison: Comparison) -> Table:
    """The leaderboard for rich's console."""
    board = cells(comparison)
    columns = {
        title: [row[place] for row in board.rows] for place, title in enumerate(board.titles)
    }
    return fitted(columns, NUMERIC, EXPENDABLE)
