"""Result of a command that runs fits, as its caller reports it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from linfit.config import FitConfig
from linfit.engine.fit import Fit
from linfit.sweeps.run.block_pipeline import CompletedFit
from linfit.sweeps.run.options import Job
from linfit.tracking.schema.run_records import RunRecord
from linfit.tracking.write.recorder import Recorder


@dataclass(frozen=True)
class RecordedRun:
    """A single run or a sweep whose last number is recorded.

    Whatever is attached to the run afterwards goes through `recorder`.
    """

    recorder: Recorder
    run_id: str
    row: RunRecord
    folder: Path
    config: FitConfig
    """The config of a single run, or of a sweep's first fit."""


@dataclass(frozen=True)
class RunResult:
    """The fits that a command ran, and the run holding them."""

    completed: tuple[CompletedFit, ...] = ()
    """All fits, in the order of the sweep's rows."""
    recorded: RecordedRun | None = None
    """The sweep, or the last single run; None if nothing ran."""
    sweep_id: str | None = None
    """The parent's run id; None unless the fits are children of one run."""
    fit: Fit | None = None
    """The fit of a single run that this process ran."""
    jobs: tuple[Job, ...] = ()
    """The fits of a sweep, as they were composed."""
    notes: tuple[str, ...] = ()
    """Remarks on the data."""
    where: str = ""
    """How to look at the store: a command or an address."""
    question: str = ""
    typed: str = ""
    """The question that the experiment's file asks, and the command."""
