"""The output of commands that add to a store: `linfit model`, and `linfit relocate`."""

from __future__ import annotations

from linfit.errors import escape_unprintable
from linfit.system.output import print_to_stderr
from linfit.tracking.relocation import Relocation
from linfit.tracking.secrets.masking import mask
from linfit.tracking.store.store import Store
from linfit.views.report.json_data import print_json
from linfit.views.terminal.tables import escape_markup, open_console


def show_model(run_id: str, uri: str, place: str, is_new: bool, as_json: bool) -> None:
    """Print the address on stdout, alone, and where the model is on stderr."""
    if as_json:
        print_json({"run_id": run_id, "uri": uri, "place": mask(place), "new": is_new})
        return
    print(escape_unprintable(uri))
    shown = escape_unprintable(mask(place))
    was = "is logged in" if is_new else "is in"
    print_to_stderr(f"linfit: the model of run {run_id} {was} {shown}")


def show_relocation(store: Store, relocation: Relocation, as_json: bool) -> None:
    """Print folders, the number of addresses of each kind, and if they were rewritten."""
    if as_json:
        found = {
            "store": str(store),
            "moves": [{"from": str(move.old), "to": str(move.new)} for move in relocation.moves],
            "addresses": relocation.counts,
            "done": relocation.done,
        }
        print_json(found)
        return

    out = open_console()
    out.print(f"store      {escape_markup(str(store))}")
    for move in relocation.moves:
        out.print(f"from       {escape_markup(str(move.old))}")
        out.print(f"to         {escape_markup(str(move.new))}")
    for kind, count in relocation.counts.items():
        if count:
            out.print(f"{kind:<10} {count:,}")
    out.print(_conclude(relocation))


def _conclude(relocation: Relocation) -> str:
    if not any(relocation.counts.values()):
        return "nothing to rewrite: the artifacts are where the store says"
    if relocation.done:
        return "rewritten: MLflow and linfit find the artifacts in the new place, and write there"
    return "nothing was changed: add --yes to rewrite these addresses"
