"""The output of `linfit run` when a sweep ends: answer, leaderboard, best fits, lost fits."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import TYPE_CHECKING

from linfit.engine.fit import Status
from linfit.errors import count_things
from linfit.sweeps.run.block_pipeline import CompletedFit
from linfit.sweeps.run.result import RunResult
from linfit.system.output import print_to_stderr
from linfit.tracking.schema import mlflow_names
from linfit.views.terminal.tables import (
    FitLine,
    escape_markup,
    format_fits,
    mark_status,
    open_console,
)

if TYPE_CHECKING:  # a sweep that is not compared does without pandas
    from linfit.views.analysis.compare import ComparedSweep

#: Fits, entries of the leaderboard and settings that are printed unless all are asked for.
MOST_BEST_FITS = 10
MOST_LOST_SETTINGS = 5
MOST_TRACEBACKS = 3
MOST_NAMED_FAILURES = 5


def show_sweep(result: RunResult, compared: ComparedSweep | None, all_fits: bool) -> None:
    """Print the answer and the leaderboard, how the fits ended, the best of them, and the lost."""
    out = open_console()
    if compared is not None:
        show_leaderboard(compared, all_fits)
    counts = Counter(done.status for done in result.completed)
    out.print(f"{count_things(len(result.completed), 'fit')}: {_count(counts)}")
    by: str | None = mlflow_names.EXCESS
    if result.recorded is not None:
        by = mlflow_names.read_ranking_loss(result.recorded.row.tags)
    lines = [FitLine.from_completed(done, by) for done in result.completed]
    most = None if all_fits else MOST_BEST_FITS
    out.print(format_fits(lines, most, "linfit show --all", by))
    if compared is not None:
        if distance := describe_nearest(compared):
            out.print(distance)
        for line in describe_lost_settings(compared, None if all_fits else MOST_LOST_SETTINGS):
            out.print(line)
    if result.sweep_id:
        out.print(f"sweep     {result.sweep_id}")
        if compared is None:
            out.print(f"answer    linfit report {result.sweep_id[:12]}")
    out.print(f"browse    {escape_markup(result.where)}")


def show_leaderboard(compared: ComparedSweep, all_entries: bool) -> None:
    """Print the answer of a sweep, its leaderboard, and how both were found."""
    from linfit.views.terminal.report import format_terminal_leaderboard

    out = open_console()
    comparison = compared.comparison
    out.print(f"[bold]{escape_markup(comparison.summarize())}[/]")
    most = None if all_entries else MOST_BEST_FITS
    out.print(format_terminal_leaderboard(comparison, most))
    out.print(escape_markup(comparison.note))
    if comparison.twins_note:
        out.print(f"rounding  {escape_markup(comparison.twins_note)}")


def describe_nearest(compared: ComparedSweep) -> str:
    """Return how far the nearest fit ended from its optimum, empty if one is within tolerance."""
    data = compared.data.distinct
    if not data.has_answers:
        return ""
    left = data.excess[data.finished]
    initial = data.initial[data.finished]
    tolerance = max(data.list_values("record.tolerance"))
    if not left.size or not (left > tolerance * initial).all() or not initial.all():
        return ""
    found = describe_rest((left / initial).min(), " in the nearest fit")
    return f"tolerance {tolerance:g} of the initial excess loss {found}"


def describe_rest(share: float, where: str = "") -> str:
    """Return how much of the initial excess loss is left, and what may help."""
    percent = 100 * share
    shown = f"{percent:.2g}" if percent < 99.5 else f"{percent:,.0f}"
    rest = f"{shown}% is left{where}"
    return f"not reached: {rest}; try more steps or another learning rate"


def _count(counts: Counter[Status]) -> str:
    """Return the number of fits of each status, in the order of statuses."""
    return ", ".join(f"{counts[status]} {status.value}" for status in Status if counts[status])


def describe_lost_settings(compared: ComparedSweep, most: int | None) -> list[str]:
    """Return a line on each setting with fits that diverged or failed, and on what is left out.

    The reason is that of the setting's first fit.
    """
    from linfit.views.report.failures import explain_failure

    data = compared.data.distinct
    runs = compared.comparison.fits.assign(status=data.results["status"])
    lost = runs[runs["status"].isin([Status.DIVERGED.value, Status.FAILED.value])]
    keys = ["status", "problem", "method", "setting"]
    sizes = runs.groupby(keys[1:]).size()
    groups = list(lost.groupby(keys, sort=False).groups.items())
    lines = []
    for (status, *setting), places in groups[:most]:
        # Of a fit that diverged, why its loss grew says more than how large it became.
        why = explain_failure(data, int(places[0])).why.rpartition("; ")[2]
        name = escape_markup(" ".join(filter(None, setting)))
        share = f"{len(places)} of {sizes[tuple(setting)]} fits"
        lines.append(f"{mark_status(status)} {name}, {share}: {escape_markup(why)}")
    if len(groups) > len(lines):
        more = len(groups) - len(lines)
        lines.append(f"          {more} more setting{'s' if more > 1 else ''}: the report has all")
    return lines


def show_failures(failures: Sequence[CompletedFit], total: int, all_failures: bool) -> None:
    """Print why fits failed to stderr: each reason once with its traceback, or every fit's."""
    if not failures:
        return
    shown = list(failures)
    if not all_failures:
        reasons = {_last_line(done): done for done in reversed(failures)}
        shown = [done for done in failures if reasons[_last_line(done)] is done][:MOST_TRACEBACKS]
    for done in shown:
        print_to_stderr(f"linfit: {done.name} FAILED\n{done.result['error']}")

    named = [f"{done.name} ({_last_line(done)})" for done in failures]
    more = len(named) - MOST_NAMED_FAILURES
    if more > 0 and not all_failures:
        named = [*named[:MOST_NAMED_FAILURES], f"{more} more: linfit show --all lists them"]
    print_to_stderr(f"linfit: {len(failures)} of {total} fits failed: {'; '.join(named)}")


def _last_line(done: CompletedFit) -> str:
    return (done.result["error"] or "").strip().splitlines()[-1]
