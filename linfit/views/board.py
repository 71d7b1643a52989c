"""The leaderboard, the same in the terminal, as Markdown, as CSV, as Parquet and in the report's page."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from rich.table import Table

from linfit.tracking.layout import LEADERBOARD
from linfit.tracking.notes import literal
from linfit.views.comparison import Comparison, Entry, number
from linfit.views.tables import fitted

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
    ranks = comparison.frame()["rank"].tolist()
    rows = [_row(rank, entry) for rank, entry in zip(ranks, comparison.entries, strict=True)]
    used = [title for title in rows[0] if any(row[title] for row in rows)]
    return Cells(used, [[row[title] for title in used] for row in rows])


def _row(rank: int, entry: Entry) -> dict[str, str]:
    own = np.isnan(entry.factor)
    return {
        "rank": str(rank),
        "problem": entry.problem,
        "method": entry.method,
        "setting": entry.setting,
        "finished": f"{entry.finished} of {entry.fits}",
        "excess loss": number(entry.excess),
        "95% interval": _interval(entry.low, entry.high),
        "× first": "" if rank == 1 or own else number(entry.factor),
        "× first, 95%": "" if rank == 1 else _interval(entry.factor_low, entry.factor_high),
        "told apart": "" if rank == 1 or (np.isnan(entry.factor_low) and not entry.rounding and not entry.equal) else _told_apart(entry),
        "twins part": _parted(entry.horizon),
    }


def _told_apart(entry: Entry) -> str:
    return "no: equal" if entry.equal else "no: rounding" if entry.rounding else "yes" if entry.distinct else "no"


def _parted(step: float) -> str:
    return "" if np.isnan(step) else "never" if np.isinf(step) else f"step {step:.0f}"


def _interval(low: float, high: float) -> str:
    return "" if np.isnan(low) else f"{number(low)} to {number(high)}"


def write(comparison: Comparison, folder: Path) -> list[Path]:
    """Writes the leaderboard as CSV and Parquet, with all digits, and as Markdown, and returns the files."""
    frame = comparison.frame()
    csv, parquet, readable = (folder / f"{LEADERBOARD}.{ending}" for ending in ("csv", "parquet", "md"))
    frame.to_csv(csv, index=False)
    frame.to_parquet(parquet, index=False)
    readable.write_text(markdown(comparison), encoding="utf-8")
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
    columns = {title: [row[place] for row in board.rows] for place, title in enumerate(board.titles)}
    return fitted(columns, NUMERIC, EXPENDABLE)
