"""How a sweep begins: its folder and manifest before its store is opened, then its parent run."""

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
from linfit.sweeps.recording import Sweep, now
from linfit.tracking import environment, layout, notes, run_records
from linfit.tracking.accounts import Account
from linfit.tracking.manifest import PlannedFits
from linfit.tracking.objective import Contest


def plan_sweep(fits: PlannedFits, about: About, path: Path, settings: DictConfig) -> Folder:
    """A sweep's folder with its manifest, which is written before its store is opened."""
    check_tracking(fits.configs[0])
    folder = Folder(path)
    folder.plan(fits, about, settings)
    return folder


def begin_sweep(fits: PlannedFits, about: About, folder: Folder, more: bool) -> Sweep:
    """The parent run of a sweep that is planned; where its store cannot be opened, the plan is withdrawn.

    `more` batches of fits may come.
    """
    first = fits.configs[0]
    try:
        recorder = recorder_of(first)
        row = parent_row(about, first, fits.accounts, folder.path)  # meanwhile
        recorder.wait()
    except (LinfitError, OSError):
        folder.withdraw()
        raise
    environment.write(folder.path, first)
    contest = Contest.of_configs(fits.configs)
    return Sweep(recorder, row, folder, about.varying, first.tracking, more=more, contest=contest)


def parent_row(
    about: About, first: FitConfig, accounts: Iterable[Account], path: Path
) -> run_records.Row:
    """The parent of a sweep when it begins; `first` is the config of its first fit."""
    own = {
        layout.ID: about.id,
        layout.OWNER: owner(),
        layout.FOLDER: str(path.absolute()),
        **notes.tag(about.question, about.typed),
    }
    above = nest(resolved_tracking(first), first.name)
    return run_records.sweep_started(
        about.name, now(), accounts, about.varying, {**environment.tags(first), **above, **own}
    )
