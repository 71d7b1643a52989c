"""`linfit report`: a sweep's leaderboard in the terminal, and its page as a file."""

from __future__ import annotations

import json
from pathlib import Path

from linfit.errors import LinfitError
from linfit.tracking import layout
from linfit.views.board import terminal
from linfit.views.comparison import few
from linfit.views.markup import escape
from linfit.views.results import load
from linfit.views.tables import console


def show_report(reference: str, uri: str | None, output: str | None, as_json: bool) -> None:
    """Prints the leaderboard of the sweep that `reference` names, and writes its page; LinfitError if there is none."""
    results = load(reference, uri)
    comparison = results.comparison
    file = Path(output or layout.REPORT)
    try:
        results.report(file)
    except OSError as error:
        raise LinfitError(f"{file} cannot be written: {error.strerror or error}; choose another with --output") from error
    if as_json:
        print(
            json.dumps(
                {
                    "answer": comparison.sentence(),
                    "report": str(file),
                    "horizon": comparison.trust,
                    "leaderboard": results.leaderboard_rows(),
                }
            )
        )
        return
    out = console()
    out.print(escape(comparison.sentence()))
    out.print(terminal(comparison))
    out.print(escape(comparison.note))
    if comparison.trust:
        out.print(f"horizon {escape(comparison.trust)}")
    for line in few(comparison.robust):
        out.print(f"robust  {escape(line)}")
    out.print(f"report  {escape(str(file))}")
