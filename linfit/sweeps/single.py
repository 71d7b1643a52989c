"""A single run: begun in the store before anything else is written anywhere, fitted, and ended with its files."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from uuid import uuid4

from linfit.config import FitConfig
from linfit.engine.dispatch import fits_as_done
from linfit.engine.fit import Fit
from linfit.engine.listening import Report
from linfit.engine.prediction import theory_of
from linfit.errors import LinfitError
from linfit.owner import owner
from linfit.sweeps.nesting import nest
from linfit.sweeps.readiness import recorder_of, resolved_tracking
from linfit.sweeps.recording import now, write_files
from linfit.tracking import environment, layout, run_records
from linfit.tracking.accounts import account
from linfit.tracking.model import Predictor
from linfit.tracking.recorder import Recorder
from linfit.writing import flush_files, flush_names_above


@dataclass
class Single:
    """A single run that has begun and not ended."""

    recorder: Recorder
    run_id: str
    row: run_records.Row
    broken: str = ""
    """Why its numbers could not be recorded."""

    @staticmethod
    def begin(config: FitConfig, name: str, tags: dict[str, str]) -> Single:
        """Opens the config's store and begins a run in it."""
        recorder = recorder_of(config)
        above = nest(resolved_tracking(config), config.name)
        own = {layout.ID: uuid4().hex, layout.OWNER: owner(), **above, **tags}
        row = run_records.started(account(config), name, now(), {**environment.tags(config), **own})
        return Single(recorder, recorder.begin(row), row)

    def run(self, config: FitConfig, folder: Path, report: Report) -> Fit:
        """Fits, writes the run's files into `folder`, and ends the run with them."""
        [(_, done)] = fits_as_done([config], report)
        theory = theory_of(done)
        row = run_records.finished(
            self.row, done, now(), theory={} if theory is None else theory.numbers()
        )
        files = [*write_files(folder, done), *environment.write(folder, config)]
        flush_files(files, folder)
        flush_names_above(folder)
        try:
            self.recorder.end(self.run_id, row, files, _model(done, folder))
        except (LinfitError, OSError) as error:
            self.broken = str(error)
            raise
        self.row = row
        return done

    def kill(self) -> None:
        """Ends it as KILLED, or FAILED where it could not be recorded, as far as the store still allows."""
        ended = (
            run_records.unrecorded(self.row, now(), self.broken)
            if self.broken
            else run_records.killed(self.row, now())
        )
        with suppress(LinfitError, OSError):
            self.recorder.end(self.run_id, ended)


def _model(fit: Fit, folder: Path) -> Predictor | None:
    """None of a fit that predicts nothing: it failed, or its loss is not finite."""
    return Predictor.of(fit, folder / layout.WEIGHTS_FILE) if fit.loss != float("inf") else None
