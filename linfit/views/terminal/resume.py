"""The output of `linfit resume` before a sweep goes on."""

from __future__ import annotations

from typing import Any

from linfit.sweeps.resume.drift import describe_changes
from linfit.sweeps.resume.resume import RemainingWork
from linfit.views.report.json_data import print_json
from linfit.views.terminal.tables import escape_markup, open_console


def show_remaining(left: RemainingWork, as_json: bool) -> None:
    """Print how much of a sweep is done and how much is left."""
    if as_json:
        print_json(_plain(left))
        return

    out = open_console()
    counts = f"{left.num_fits} fits, {left.num_done} done, {len(left.rows_to_run)} left"
    out.print(f"[bold]{escape_markup(left.info.name)}[/]: {counts}")
    retries = len(left.state.retries)
    if retries:
        out.print(f"failed  {retries} of those left have failed and are run again")
    out.print(f"folder  {escape_markup(str(left.path))}")
    if left.parent is not None:
        out.print(f"sweep   {left.parent.run_id}")
    if left.changes:
        changes = escape_markup(describe_changes(left.changes))
        out.print(f"changed {changes}: it goes on with --allow-changes only")


def _plain(left: RemainingWork) -> dict[str, Any]:
    return {
        "name": left.info.name,
        "folder": str(left.path),
        "sweep": None if left.parent is None else left.parent.run_id,
        "num_fits": left.num_fits,
        "num_done": left.num_done,
        "left": left.rows_to_run,
        "retries": left.state.retries,
        "changes": left.changes,
    }
