"""The start of a sweep: its folder and manifest before its store is opened, then its parent run."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from omegaconf import DictConfig

from linfit.config import FitConfig
from linfit.errors import LinfitError
from linfit.sweeps.compose.nesting import tag_parent
from linfit.sweeps.folder.sweep_folder import SweepFolder, SweepInfo
from linfit.sweeps.preflight.checks import check_tracking, open_config_recorder, resolve_tracking
from linfit.sweeps.run.block_pipeline import milliseconds_now
from linfit.sweeps.run.sweep_run import SweepRun
from linfit.system.process_owner import process_identity
from linfit.tracking.provenance import environment
from linfit.tracking.schema import descriptions, mlflow_names, run_records
from linfit.tracking.schema.config_record import ConfigRecord
from linfit.tracking.schema.objective import SweepObjective
from linfit.tracking.schema.run_colors import color_methods
from linfit.tracking.tables.manifest import PlannedFits


def plan_sweep(fits: PlannedFits, info: SweepInfo, path: Path, settings: DictConfig) -> SweepFolder:
    """Claim a sweep's folder and write its manifest.

    Its store is opened afterwards.
    """
    check_tracking(fits.configs[0])
    folder = SweepFolder(path)
    folder.write_plan(fits, info, settings)
    return folder


def start_sweep(fits: PlannedFits, info: SweepInfo, folder: SweepFolder, more: bool) -> SweepRun:
    """Start the parent run of a planned sweep.

    If the store cannot be opened, the plan is withdrawn. `more` tells that further batches of
    fits may come.
    """
    first = fits.configs[0]
    try:
        recorder = open_config_recorder(first)
        # Worked out while the store is being opened.
        row = create_parent_record(info, first, fits.records, folder.path)
        recorder.wait_until_open()
    except (LinfitError, OSError):
        folder.withdraw_plan()
        raise
    environment.write_environment(folder.path, first)
    contest = SweepObjective.from_configs(fits.configs)
    # Of a search the methods of later batches are not known.
    colors = [] if more else color_methods(fits.overrides, info.varying)
    sweep = SweepRun(recorder, folder, row, info, first, contest, more=more, colors=colors)
    sweep.start()
    return sweep


def create_parent_record(
    info: SweepInfo, first: FitConfig, records: Iterable[ConfigRecord], path: Path
) -> run_records.RunRecord:
    """Return a sweep's parent as it starts.

    `first` is the config of the sweep's first fit.
    """
    tags = {
        **environment.collect_environment_tags(first),
        **tag_parent(resolve_tracking(first), first.name),
        mlflow_names.ID: info.id,
        mlflow_names.OWNER: process_identity(),
        mlflow_names.FOLDER: str(path.absolute()),
        **descriptions.tag_question(info.question, info.typed),
    }
    return run_records.record_sweep_start(
        info.name, milliseconds_now(), records, info.varying, tags
    )
