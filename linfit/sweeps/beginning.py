"""The start of a sweep: its folder and manifest before its store is opened, then its parent run."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from omegaconf import DictConfig

from linfit.config import FitConfig
from linfit.errors import LinfitError
from linfit.owner import owner
from linfit.sweeps.folder import About, Folder
from linfit.sweeps.nesting import nest
from linfit.sweeps.readiness import check_tracking, recorder_of, resolved_tracking
from linfit.sweeps.recording import now
from linfit.sweeps.sweep_run import SweepRun
from linfit.tracking import environment, layout, notes, run_records
from linfit.tracking.accounts import Account
from linfit.tracking.manifest import PlannedFits
from linfit.tracking.objective import Contest


def plan_sweep(fits: PlannedFits, about: About, path: Path, settings: DictConfig) -> Folder:
    """Claim a sweep's folder and write its manifest; its store is opened afterwards."""
    check_tracking(fits.configs[0])
    folder = Folder(path)
    folder.plan(fits, about, settings)
    return folder


def begin_sweep(fits: PlannedFits, about: About, folder: Folder, more: bool) -> SweepRun:
    """Start the parent run of a planned sweep.

    If the store cannot be opened, the plan is withdrawn. `more` tells that further batches of
    fits may come.
    """
    first = fits.configs[0]
    try:
        recorder = recorder_of(first)
        # Worked out while the store is being opened.
        row = parent_row(about, first, fits.accounts, folder.path)
        recorder.wait()
    except (LinfitError, OSError):
        folder.withdraw()
        raise
    environment.write(folder.path, first)
    contest = Contest.of_configs(fits.configs)
    sweep = SweepRun(recorder, folder, row, about, first, contest, more=more)
    sweep.start()
    return sweep


def parent_row(
    about: About, first: FitConfig, accounts: Iterable[Account], path: Path
) -> run_records.Row:
    """Return a sweep's parent as it starts.

    `first` is the config of the sweep's first fit.
    """
    tags = {
        **environment.tags(first),
        **nest(resolved_tracking(first), first.name),
        layout.ID: about.id,
        layout.OWNER: owner(),
        layout.FOLDER: str(path.absolute()),
        **notes.tag(about.question, about.typed),
    }
    return run_records.sweep_started(about.name, now(), accounts, about.varying, tags)
