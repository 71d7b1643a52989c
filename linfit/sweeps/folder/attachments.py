"""A list of a sweep's runs that have all their files, kept until the sweep is finished.

A run is FINISHED before its files are attached, so a killed process may leave runs without files.
The store cannot tell a whole file from one that was being copied. This list can: a run is entered
after its last file.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from linfit.tracking.schema.mlflow_names import RESULTS
from linfit.tracking.tables.parts import is_unfinished

#: The list is in the folder of the parts, and is removed with it when the sweep is finished.
ATTACHED_FILE = f"{Path(RESULTS).stem}/with_files.txt"


def mark_attached(folder: Path, run_ids: Iterable[str]) -> None:
    """Enter runs of a sweep whose files are all attached.

    The sweep is in `folder`.
    """
    with (folder / ATTACHED_FILE).open("a", encoding="utf-8") as entries:
        entries.writelines(f"{run_id}\n" for run_id in run_ids)


def find_runs_without_files(folder: Path, run_ids: Iterable[str]) -> set[str]:
    """Return the runs that may lack files.

    There are none in a finished sweep.
    """
    if not is_unfinished(folder):
        return set()
    file = folder / ATTACHED_FILE
    attached = file.read_text(encoding="utf-8").split() if file.exists() else []
    # An entry that was cut off is no run's id.
    return set(run_ids).difference(attached)
