"""The outcome of `linfit verify`, as text or JSON."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict

from rich.table import Table

from linfit.tracking.read.comparison import Verdict
from linfit.verification import Agreement, Check, Verification
from linfit.views.report.json_data import print_json
from linfit.views.terminal.tables import (
    NO_VALUE,
    UNSET_VALUE,
    escape_markup,
    format_table,
    open_console,
)

#: Exit codes.
EXIT_IDENTICAL = 0
EXIT_DIFFER = 1
EXIT_UNVERIFIABLE = 2
#: Columns in the order in which a narrow terminal loses them.
EXPENDABLE_CHECKS = ("engine", "status", "other engine", "weights differ", "losses differ")


def show_verification(verification: Verification, as_json: bool) -> int:
    """Print a verification and return the exit code.

    1 if some bits differ, otherwise 2 if some fit cannot be refitted, otherwise 0.
    """
    if as_json:
        print_json(asdict(verification))
    else:
        _print(verification)
    if verification.count_verdict(Verdict.DIFFERS):
        return EXIT_DIFFER
    return EXIT_UNVERIFIABLE if verification.count_verdict(Verdict.REFUSED) else EXIT_IDENTICAL


def _print(verification: Verification) -> None:
    out = open_console()
    sweep = f"sweep {verification.run_id} of {verification.num_fits} fits"
    out.print(f"[bold]{escape_markup(verification.name)}[/]: {sweep}")
    for key, (then, now) in verification.changes.items():
        values = (
            f"{escape_markup(then or UNSET_VALUE)} then, {escape_markup(now or UNSET_VALUE)} now"
        )
        out.print(f"changed    {escape_markup(key)}: {values}")
    out.print(_table(verification.checks))
    for check in verification.checks:
        if check.why:
            fit = f"{escape_markup(check.name)} (row {check.row})"
            out.print(f"{check.verdict.value:<10} {fit}: {escape_markup(check.why)}")
    out.print(_summary(verification))
    _print_differences(verification.checks)


def _summary(verification: Verification) -> str:
    endings = {
        Verdict.IDENTICAL: "give the stored bits",
        Verdict.DIFFERS: "do not",
        Verdict.REFUSED: "cannot be refitted",
    }
    counts = []
    for verdict, ending in endings.items():
        if number := verification.count_verdict(verdict):
            counts.append(f"{number} {ending}")
    return f"alone      of {len(verification.checks)} fits {', '.join(counts)}"


def _print_differences(checks: Sequence[Check]) -> None:
    """Print the largest differences to the other engine, and the fit that parts first."""
    others = [(check.other, check.name) for check in checks if check.other is not None]
    if not others:
        return

    out = open_console()
    losses, name = max(((other.losses, name) for other, name in others), key=_first)
    out.print(f"other      losses differ by up to {losses:.2g}, in {escape_markup(name)}")
    weights, name = max(((other.weights, name) for other, name in others), key=_first)
    out.print(f"other      weights differ by up to {weights:.2g}, in {escape_markup(name)}")

    parted = [(at, name) for other, name in others if (at := other.parted_at) is not None]
    if not parted:
        out.print(
            "parted     none: rounding stays below 1e-4 in float32 and 1e-9 in float64 "
            "at every recorded step"
        )
        return
    step, name = min(parted)
    fits = f"{len(parted)} of {len(others)} fits"
    limits = "by more than 1e-4 in float32 or 1e-9 in float64"
    out.print(f"parted     {fits} {limits}, {escape_markup(name)} from step {step} on")


def _first(entry: tuple[float, str]) -> float:
    return entry[0]


def _table(checks: Sequence[Check]) -> Table:
    first = ("run", "engine", "status", "alone", "other engine")
    numeric = ("losses differ", "weights differ", "parted at step")
    columns: dict[str, list[str]] = {title: [] for title in (*first, *numeric)}
    for check in checks:
        own = (check.name, check.engine, check.status, check.verdict.value)
        row = (*own, *_cells(check.other, check.status))
        for title, cell in zip(columns, row, strict=True):
            columns[title].append(cell)
    return format_table(columns, numeric, EXPENDABLE_CHECKS)


def _cells(other: Agreement | None, status: str) -> tuple[str, ...]:
    """Return the cells on the other engine."""
    if other is None:
        return (NO_VALUE,) * 4
    engine = other.engine if other.status == status else f"{other.engine}, {other.status}"
    parted = NO_VALUE if other.parted_at is None else str(other.parted_at)
    return engine, f"{other.losses:.2g}", f"{other.weights:.2g}", parted
