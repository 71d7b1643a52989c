"""Which runs of a sweep have all their files: a list beside the sweep's parts, as long as it is unfinished.

A run is FINISHED before its files are attached, so a killed process may leave some without. The store does not tell a whole file from
one that was being copied; this list does: a run is entered when its last file is there.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from linfit.tracking.layout import RESULTS
from linfit.tracking.tables import unfinished

#: It goes when the sweep is finished, with the folder of the parts.
LIST = f"{Path(RESULTS).stem}/with_files.txt"


def note_attached(folder: Path, run_ids: Iterable[str]) -> None:
    """Enter runs of the sweep in `folder` whose files are all attached."""
    with (folder / LIST).open("a", encoding="utf-8") as entries:
        entries.write("".join(f"{run_id}\n" for run_id in run_ids))


def lacking_files(folder: Path, run_ids: Iterable[str]) -> set[str]:
    """Return those of the runs that may lack files; a finished sweep has none."""
    if not unfinished(folder):
        return set()
    file = folder / LIST
    attached = file.read_text(encoding="utf-8").split() if file.exists() else []
    return set(run_ids).difference(attached)  # an entry that was cut off is no run's id
