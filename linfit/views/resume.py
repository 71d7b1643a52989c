"""The output of `linfit resume` before a sweep goes on."""

from __future__ import annotations

import json
from typing import Any

from linfit.output import print_data
from linfit.sweeps.drift import told
from linfit.sweeps.resuming import Left
from linfit.views.markup import escape
from linfit.views.tables import console


def show_left(left: Left, as_json: bool) -> None:
    """Print how much of a sweep is done and how much is left."""
    if as_json:
        print_data(json.dumps(_plain(left)))
        return

    out = console()
    counts = f"{left.num_fits} fits, {left.num_done} done, {len(left.todo)} left"
    out.print(f"[bold]{escape(left.about.name)}[/]: {counts}")
    retries = len(left.earlier.retries)
    if retries:
        out.print(f"failed  {retries} of those left have failed and are run again")
    out.print(f"folder  {escape(str(left.path))}")
    if left.parent is not None:
        out.print(f"sweep   {left.parent.run_id}")
    if left.changes:
        changes = escape(told(left.changes))
        out.print(f"changed {changes}: it goes on with --allow-changes only")


def _plain(left: Left) -> dict[str, Any]:
    return {
        "name": left.about.name,
        "folder": str(left.path),
        "sweep": None if left.parent is None else left.parent.run_id,
        "num_fits": left.num_fits,
        "num_done": left.num_done,
        "left": left.todo,
        "retries": left.earlier.retries,
        "changes": left.changes,
    }
