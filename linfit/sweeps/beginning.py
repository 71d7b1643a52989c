"""How a sweep begins: its folder and manifest before its store is opened, then its parent run."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path

from omegaconf import DictConfig

from linfit.config import FitConfig
from linfit.errors import LinfitError
from linfit.sweeps.folder import About, Folder
from linfit.sweeps.naming import label_of
from linfit.sweeps.readiness import check_tracking, recorder_of
from linfit.sweeps.recording import Sweep, now
from linfit.tracking import environment, layout, notes
from linfit.tracking.owner import owner


def plan_sweep(
    configs: Sequence[FitConfig], overrides: Sequence[tuple[str, ...]], about: About, path: Path, settings: DictConfig
) -> Folder:
    """A sweep's folder with its manifest, which is written before its store is opened."""
    check_tracking(configs[0])
    folder = Folder(path)
    labels = (label_of(config, about.varying, place) for place, config in enumerate(configs))
    folder.plan(configs, labels, overrides, about, settings)
    return folder


def begin_sweep(configs: Sequence[FitConfig], about: About, folder: Folder) -> Sweep:
    """The parent run of a sweep that is planned; where its store cannot be opened, the plan is withdrawn."""
    try:
        recorder = recorder_of(configs[0])
    except (LinfitError, OSError):
        folder.withdraw()
        raise
    environment.write(folder.path, configs[0])
    return Sweep(recorder, parent_row(about, configs, folder.path), folder, about.varying, configs[0].tracking)


def parent_row(about: About, configs: Iterable[FitConfig], path: Path) -> layout.Row:
    """The parent of a sweep when it begins."""
    several = list(configs)
    own = {layout.ID: about.id, layout.OWNER: owner(), layout.FOLDER: str(path.absolute()), **notes.tag(about.question, about.typed)}
    return layout.sweep_started(about.name, now(), several, about.varying, {**environment.tags(several[0]), **own})
