"""The leaderboard as text, for the report and the terminal, and as Markdown, CSV and Parquet."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from linfit.problem.measures import find_measure
from linfit.system.atomic_files import write_atomically
from linfit.tracking.schema.descriptions import escape_markdown
from linfit.tracking.schema.mlflow_names import LEADERBOARD
from linfit.views.analysis.comparison import Comparison, format_ends, format_factors
from linfit.views.analysis.ranking import LeaderboardEntry
from linfit.views.analysis.rounding_floor import format_factor
from linfit.views.analysis.seed_split import SIMULTANEOUS


@dataclass(frozen=True)
class LeaderboardCells:
    """The leaderboard as text."""

    titles: list[str]
    rows: list[list[str]]


#: What the columns of the leaderboard mean, in the words of a legend.
COLUMN_NOTES = {
    "rank": "equal entries share a rank",
    "finished": "fits that neither diverged nor failed",
    "all seeds": "lowest and highest over the fits of a setting",
    "middle half": "lower and upper quartile over the fits of a setting",
    "reached": "fits that reached the tolerance and ended within it",
    "steps": "median number of updates to the tolerance",
    "× first": "the median as a multiple of the first one's",
    "mean × first, 95%": "interval of the geometric mean of the ratio, in pairs of fits; "
    f"{SIMULTANEOUS}; wide: its ends are more than a factor of a million apart",
    "told apart": "the difference to the first is larger than chance and rounding explain",
    "copies part": "the step at which the losses of a fit and of its copies, which differ from it "
    "by rounding alone, come apart",
}


def format_leaderboard(comparison: Comparison) -> LeaderboardCells:
    """Return titles and rows, without columns that are empty."""
    rows = []
    for rank, entry in zip(comparison.compute_ranks(), comparison.entries, strict=True):
        rows.append(_row(rank, entry, comparison))
    titles = [title for title in rows[0] if any(row[title] for row in rows)]
    return LeaderboardCells(titles, [[row[title] for title in titles] for row in rows])


def _row(rank: int, entry: LeaderboardEntry, comparison: Comparison) -> dict[str, str]:
    is_first = comparison.find_first(entry) is entry
    interval = format_factors(entry.factor_low, entry.factor_high)
    return {
        "rank": str(rank),
        "problem": entry.problem,
        "method": entry.method,
        "setting": entry.setting,
        "finished": f"{entry.finished} of {entry.fits}",
        comparison.measured: comparison.format_median(entry),
        comparison.spread: format_ends(entry.low, entry.high),
        "reached": f"{entry.reached} of {entry.fits}",
        "steps": f"{entry.steps:g}" if np.isfinite(entry.steps) else "–",
        "× first": "" if is_first else _factor(entry),
        "mean × first, 95%": "" if is_first else interval,
        "told apart": "" if is_first else _told_apart(entry, comparison),
        "copies part": _parted(entry.horizon),
    }


def _factor(entry: LeaderboardEntry) -> str:
    if np.isnan(entry.factor):
        return ""
    return f"{'≥ ' if entry.factor_at_least else ''}{format_factor(entry.factor)}"


def _told_apart(entry: LeaderboardEntry, comparison: Comparison) -> str:
    """Return the verdict, empty where there are too few seeds for one."""
    if entry.equal:
        return "no: equal"
    if entry.rounding and entry.at_floor and find_measure(comparison.measure) is not None:
        return "no: both 0"
    if entry.rounding:
        return "no: rounding"
    if np.isnan(entry.factor_low):
        return ""
    return "yes" if entry.distinct else "no"


def _parted(step: float) -> str:
    if np.isnan(step):
        return ""
    return "never" if np.isinf(step) else f"from step {step:.0f}"


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
