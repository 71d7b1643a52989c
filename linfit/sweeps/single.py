"""A single run: started in the store before anything else is written, fitted, and ended."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from uuid import uuid4

from linfit.config import FitConfig
from linfit.engine.dispatch import fits_as_done
from linfit.engine.fit import Fit
from linfit.engine.prediction import theory_of
from linfit.errors import LinfitError
from linfit.owner import owner
from linfit.sweeps.nesting import nest
from linfit.sweeps.readiness import (
    announce_unstable,
    ready,
    recorder_of,
    refuse_unstable,
    resolved_tracking,
)
from linfit.sweeps.recording import Done, now, write_files
from linfit.sweeps.remarks import Remarks
from linfit.sweeps.run_options import Observer, RunOptions
from linfit.sweeps.run_result import Recorded, RunResult
from linfit.tracking import environment, layout, notes, run_records
from linfit.tracking.accounts import account
from linfit.tracking.model import Predictor
from linfit.tracking.recorder import Recorder
from linfit.tracking.tables import result
from linfit.writing import flush_files, flush_names_above


@dataclass
class Single:
    """A single run that has started and not ended."""

    config: FitConfig
    options: RunOptions
    recorder: Recorder
    run_id: str
    row: run_records.Row
    broken: str = ""
    """Why its numbers could not be recorded."""

    @staticmethod
    def begin(config: FitConfig, name: str, options: RunOptions) -> Single:
        """Check the config, open its store and start a run in it.

        Raise ConfigError for a config that cannot run, RecordingError for a store that fails.
        """
        [config] = ready([config])
        if options.skip_unstable:
            refuse_unstable(config)
        else:
            announce_unstable([config])

        recorder = recorder_of(config)
        tags = {
            **environment.tags(config),
            layout.ID: uuid4().hex,
            layout.OWNER: owner(),
            **nest(resolved_tracking(config), config.name),
            **notes.tag(options.question, options.typed),
        }
        row = run_records.started(account(config), name, now(), tags)
        return Single(config, options, recorder, recorder.begin(row), row)

    def run(self, folder: Path, observer: Observer, remarks: Remarks, job: int = 0) -> RunResult:
        """Fit, write the files into `folder`, and end the run with them."""
        observer.begin(1, self.config.steps)
        [(_, fit)] = fits_as_done([self.config], observer.passed)
        self._record(fit, folder)

        remarks.take(fit)
        name = self.row.name
        done = Done(name, self.run_id, {"row": job, "name": name, **result(fit)})
        observer.advance([done])
        observer.end()
        return RunResult(
            done=(done,),
            recorded=Recorded(self.recorder, self.run_id, self.row, folder, self.config),
            fit=fit,
            notes=tuple(remarks.kept),
            where=self.recorder.where(),
            question=self.options.question,
            typed=self.options.typed,
        )

    def kill(self) -> None:
        """End the run as KILLED, or as FAILED if recording failed.

        A store that fails now is ignored.
        """
        if self.broken:
            ended = run_records.unrecorded(self.row, now(), self.broken)
        else:
            ended = run_records.killed(self.row, now())
        with suppress(LinfitError, OSError):
            self.recorder.end(self.run_id, ended)

    def _record(self, fit: Fit, folder: Path) -> None:
        theory = theory_of(fit)
        numbers = {} if theory is None else theory.numbers()
        row = run_records.finished(self.row, fit, now(), theory=numbers)
        files = [*write_files(folder, fit), *environment.write(folder, self.config)]
        flush_files(files, folder)
        flush_names_above(folder)

        model = None
        if fit.loss != float("inf"):  # a failed or diverged fit predicts nothing
            model = Predictor.of(fit, folder / layout.WEIGHTS_FILE)
        try:
            self.recorder.end(self.run_id, row, files, model)
        except (LinfitError, OSError) as error:
            self.broken = str(error)
            raise
        self.row = row
