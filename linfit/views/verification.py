"""`linfit verify`: what refitting showed, as text or JSON."""

from __future__ import annotations

import json
import math
from dataclasses import asdict
from typing import Any

from rich.table import Table

from linfit.output import print_data
from linfit.tracking.comparison import Verdict
from linfit.verification import Agreement, Check, Verification
from linfit.views.markup import escape
from linfit.views.tables import ABSENT, UNSET, console, fitted

IDENTICAL, DIFFER, CANNOT = 0, 1, 2


def show_verification(verification: Verification, as_json: bool) -> int:
    """Prints it, and returns the exit code: 1 if some bits differ, otherwise 2 if some fit cannot be refitted, otherwise 0."""
    if as_json:
        print_data(json.dumps(plain(asdict(verification)), allow_nan=False))
    else:
        _text(verification)
    if verification.count(Verdict.DIFFERS):
        return DIFFER
    return CANNOT if verification.count(Verdict.REFUSED) else IDENTICAL


def plain(value: Any) -> Any:
    """The same without numbers that JSON does not know: infinity is null."""
    if isinstance(value, dict):
        return {key: plain(part) for key, part in value.items()}
    if isinstance(value, list | tuple):
        return [plain(part) for part in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def _text(verification: Verification) -> None:
    out = console()
    out.print(
        f"[bold]{escape(verification.name)}[/]: sweep {verification.run_id} of {verification.num_fits} fits"
    )
    for key, pair in verification.changes.items():
        then, now = (escape(value or UNSET) for value in pair)
        out.print(f"changed    {escape(key)}: {then} then, {now} now")
    out.print(_table(verification.checks))
    for check in verification.checks:
        if check.why:
            out.print(
                f"{check.verdict.value:<10} {escape(check.name)} (row {check.row}): {escape(check.why)}"
            )
    out.print(_summary(verification))
    _largest([check for check in verification.checks if check.other is not None])


def _summary(verification: Verification) -> str:
    words = {
        Verdict.IDENTICAL: "give the stored bits",
        Verdict.DIFFERS: "do not",
        Verdict.REFUSED: "cannot be refitted",
    }
    counts = [
        f"{verification.count(verdict)} {text}"
        for verdict, text in words.items()
        if verification.count(verdict)
    ]
    return f"alone      of {len(verification.checks)} fits {', '.join(counts)}"


def _largest(checks: list[Check]) -> None:
    """The largest differences, and of the fits that part the first to do so."""
    if not checks:
        return
    out, others = console(), [(check, check.other) for check in checks if check.other is not None]
    for what in ("losses", "weights"):
        check, other = max(others, key=lambda entry: getattr(entry[1], what))
        out.print(
            f"other      {what} differ by up to {getattr(other, what):.2g}, in {escape(check.name)}"
        )
    parted = [
        (other.parted_at, check.name) for check, other in others if other.parted_at is not None
    ]
    if not parted:
        out.print(
            "parted     none: rounding stays below 1e-4 in float32 and 1e-9 in float64 at every recorded step"
        )
        return
    step, name = min(parted)
    out.print(
        f"parted     {len(parted)} of {len(others)} fits by more than 1e-4 in float32 or 1e-9 in float64, {escape(name)} from step {step} on"
    )


def _table(checks: list[Check]) -> Table:
    titles = (
        "run",
        "engine",
        "status",
        "alone",
        "other engine",
        "losses differ",
        "weights differ",
        "parted at step",
    )
    rows = [
        (
            check.name,
            check.engine,
            check.status,
            check.verdict.value,
            *_cells(check.other, check.status),
        )
        for check in checks
    ]
    columns = {title: [row[place] for row in rows] for place, title in enumerate(titles)}
    return fitted(columns, titles[5:], ("engine", "status"))


def _cells(other: Agreement | None, status: str) -> tuple[str, ...]:
    if other is None:
        return ABSENT, ABSENT, ABSENT, ABSENT
    engine = other.engine if other.status == status else f"{other.engine}, {other.status}"
    parted = ABSENT if other.parted_at is None else str(other.parted_at)
    return engine, f"{other.losses:.2g}", f"{other.weights:.2g}", parted
