"""The run that a command has under way, for whoever has to end it."""

from __future__ import annotations

from pathlib import Path

from linfit.config import FitConfig
from linfit.sweeps.folder.sweep_folder import quote_resume_command
from linfit.sweeps.preflight.data_notes import DataNotes
from linfit.sweeps.run.options import Observer, RunOptions, SilentObserver
from linfit.sweeps.run.result import RunResult
from linfit.sweeps.run.single_run import SingleRun
from linfit.sweeps.run.sweep_run import SweepRun
from linfit.tracking.read.access import list_store_options
from linfit.tracking.schema.mlflow_names import MANIFEST


class RunSession:
    """The single run or sweep under way in this process.

    A command has one session. Its caller asks it, after an interrupt, what is kept and how to
    resume.
    """

    def __init__(self, observer: Observer | None = None) -> None:
        self.observer = observer or SilentObserver()
        self.remarks = DataNotes()
        self.active: SingleRun | SweepRun | None = None
        self._killed = ""
        self._num_kept = 0
        self._all_kept = False
        self._folder: Path | None = None
        self._resume_command = ""

    def start_single(self, config: FitConfig, name: str, options: RunOptions) -> None:
        """Start a single run; nothing else has been written anywhere."""
        self.active = SingleRun.start(config, name, options)

    def run_single(self, folder: Path, job: int = 0) -> RunResult:
        """Run the started single run; kill it if broken off."""
        assert isinstance(self.active, SingleRun)
        try:
            result = self.active.run(folder, self.observer, self.remarks, job)
        except BaseException:
            self.kill()
            raise
        self.active = None
        return result

    def note_folder(self, folder: Path, first: FitConfig, needs_trust: bool) -> None:
        """Note the folder from which `linfit resume` can resume a sweep."""
        self._folder = folder
        self._resume_command = quote_resume_command(
            folder, needs_trust, list_store_options(first.tracking)
        )

    def finish_sweep(self) -> RunResult:
        """End the sweep whose last fit has run."""
        assert isinstance(self.active, SweepRun)
        result = self.active.finish()
        self.active = None
        self._folder = None
        return result

    def kill(self) -> None:
        """End the run under way as KILLED.

        Finished children of a sweep stay as they are.
        """
        self.observer.end()
        if self.active is None:
            return
        self.active.kill()
        if not self.active.has_ended:
            self._killed = self.active.run_id
        if isinstance(self.active, SweepRun):
            self._num_kept = len(self.active.completed)
            self._all_kept = self.active.is_complete
        self.active = None

    def describe_end(self) -> str:
        """Return what is kept after an interrupt, and how to resume."""
        parts = []
        if self._folder is not None and (self._killed or self._all_kept):
            which = f"all {self._num_kept}" if self._all_kept else f"{self._num_kept} finished"
            parts.append(f"{which} fits are kept")
        if self._killed:
            parts.append(f"run {self._killed} is KILLED in MLflow")
        kept = f"; {', '.join(parts)}" if parts else ""
        return kept + self.describe_resumption()

    def describe_resumption(self) -> str:
        """Return how to resume the sweep, empty if none runs."""
        if self._folder is None or not (self._folder / MANIFEST).exists():
            return ""
        if self._all_kept:
            return f"; to have tables, pictures and report of them: {self._resume_command}"
        return f"; go on with: {self._resume_command}"
