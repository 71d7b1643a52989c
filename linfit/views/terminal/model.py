"""The output of `linfit model`: the address of a run's MLflow model, and where its files are."""

from __future__ import annotations

from linfit.errors import escape_unprintable
from linfit.system.output import print_to_stderr
from linfit.tracking.secrets.masking import mask
from linfit.views.report.json_data import print_json


def show_model(run_id: str, uri: str, place: str, is_new: bool, as_json: bool) -> None:
    """Print the address on stdout, alone, and where the model is on stderr."""
    if as_json:
        print_json({"run_id": run_id, "uri": uri, "place": mask(place), "new": is_new})
        return
    print(escape_unprintable(uri))
    shown = escape_unprintable(mask(place))
    was = "is logged" if is_new else "was there already"
    print_to_stderr(f"linfit: the model of run {run_id} {was}, in {shown}")
