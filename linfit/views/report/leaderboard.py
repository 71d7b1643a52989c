"""The leaderboard as text, for the report and the terminal, and as Markdown, CSV and Parquet."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from linfit.system.atomic_files import write_atomically
from linfit.tracking.schema.descriptions import escape_markdown
from linfit.tracking.schema.mlflow_names import LEADERBOARD
from linfit.views.analysis.comparison import Comparison
from linfit.views.analysis.ranking import LeaderboardEntry
from linfit.views.analysis.rounding_floor import format_bound, format_rounded


@dataclass(frozen=True)
class LeaderboardCells:
    """The leaderboard as text."""

    titles: list[str]
    rows: list[list[str]]


def format_leaderboard(comparison: Comparison) -> LeaderboardCells:
    """Return titles and rows, without columns that are empty."""
    firsts = comparison.first_entries
    rows = []
    for rank, entry in zip(comparison.compute_ranks(), comparison.entries, strict=True):
        rows.append(_row(rank, entry, firsts[entry.problem] is entry))
    titles = [title for title in rows[0] if any(row[title] for row in rows)]
    return LeaderboardCells(titles, [[row[title] for title in titles] for row in rows])


def _row(rank: int, entry: LeaderboardEntry, is_first: bool) -> dict[str, str]:
    return {
        "rank": str(rank),
        "problem": entry.problem,
        "method": entry.method,
        "setting": entry.setting,
        "finished": f"{entry.finished} of {entry.fits}",
        "excess loss": format_bound(entry.excess, entry.at_floor),
        "95% interval": _interval(entry.low, entry.high),
        "× first": "" if is_first else _factor(entry),
        "× first, 95%": "" if is_first else _interval(entry.factor_low, entry.factor_high),
        "told apart": "" if is_first else _told_apart(entry),
        "twins part": _parted(entry.horizon),
    }


def _factor(entry: LeaderboardEntry) -> str:
    if np.isnan(entry.factor):
        return ""
    return f"{'≥ ' if entry.factor_at_least else ''}{format_rounded(entry.factor)}"


def _told_apart(entry: LeaderboardEntry) -> str:
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
    return "" if np.isnan(low) else f"{format_rounded(low)} to {format_rounded(high)}"


def write_leaderboard(comparison: Comparison, folder: Path) -> list[Path]:
    """Write the leaderboard as CSV and Parquet, with all digits, and as Markdown.

    Return the files.
    """
    frame = comparison.to_frame()
    csv, parquet, readable = (folder / f"{LEADERBOARD}.{end}" for end in ("csv", "parquet", "md"))
    with write_atomically(csv) as temporary:
        frame.to_csv(temporary, index=False)
    with write_atomically(parquet) as temporary:
        frame.to_parquet(temporary, index=False)
    with write_atomically(readable) as temporary:
        temporary.write_text(format_markdown_leaderboard(comparison), encoding="utf-8")
    return [csv, parquet, readable]


def format_markdown_leaderboard(comparison: Comparison) -> str:
    """Return the leaderboard in Markdown.

    The answer, the table, and how it was found.
    """
    table = "\n".join(format_markdown_rows(comparison))
    sentence = escape_markdown(comparison.summarize())
    return f"{sentence}\n\n{table}\n\n{format_markdown_note(comparison)}\n"


def format_markdown_rows(comparison: Comparison) -> list[str]:
    """Return the lines of the Markdown table: titles, rule, rows."""
    board = format_leaderboard(comparison)
    lines = [board.titles, ["---"] * len(board.titles), *board.rows]
    return ["| " + " | ".join(map(escape_markdown, line)) + " |" for line in lines]


def format_markdown_note(comparison: Comparison) -> str:
    """Return how the leaderboard was found, as Markdown."""
    return escape_markdown(f"{comparison.note} {comparison.twins_note}")
