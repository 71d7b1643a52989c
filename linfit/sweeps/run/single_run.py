"""A single run: started in the store before anything else is written, fitted, and ended."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from uuid import uuid4

from linfit.config import FitConfig
from linfit.engine.dispatch import fit_as_completed
from linfit.engine.fit import Fit
from linfit.engine.prediction.predict import predict_from_fit
from linfit.errors import LinfitError
from linfit.sweeps.compose.nesting import tag_parent
from linfit.sweeps.preflight.checks import (
    open_config_recorder,
    refuse_unstable,
    resolve_configs,
    resolve_tracking,
    warn_of_unstable,
)
from linfit.sweeps.preflight.data_notes import DataNotes
from linfit.sweeps.run.block_pipeline import CompletedFit, milliseconds_now, write_run_files
from linfit.sweeps.run.options import Observer, RunOptions
from linfit.sweeps.run.result import RecordedRun, RunResult
from linfit.system.atomic_files import flush_files, flush_parent_names
from linfit.system.process_owner import process_identity
from linfit.tracking.model import ModelFiles
from linfit.tracking.provenance import environment
from linfit.tracking.schema import descriptions, mlflow_names, run_records
from linfit.tracking.schema.config_record import record_config
from linfit.tracking.tables.parts import build_result
from linfit.tracking.write.recorder import Recorder


@dataclass
class SingleRun:
    """A single run that has started and not ended."""

    config: FitConfig
    options: RunOptions
    recorder: Recorder
    run_id: str
    row: run_records.RunRecord
    recording_error: str = ""
    """Why its numbers could not be recorded."""
    has_ended: bool = False
    """True once the store has its end: nothing makes it KILLED any more."""

    @staticmethod
    def start(config: FitConfig, name: str, options: RunOptions) -> SingleRun:
        """Check the config, open its store and start a run.

        Raise ConfigError for a config that cannot run, RecordingError for a store that fails.
        """
        [config] = resolve_configs([config])
        if options.skip_unstable:
            refuse_unstable(config)
        else:
            warn_of_unstable([config])

        recorder = open_config_recorder(config)
        tags = {
            **environment.collect_environment_tags(config),
            mlflow_names.ID: uuid4().hex,
            mlflow_names.OWNER: process_identity(),
            **tag_parent(resolve_tracking(config), config.name),
            **descriptions.tag_question(options.question, options.typed),
        }
        row = run_records.record_start(record_config(config), name, milliseconds_now(), tags)
        return SingleRun(config, options, recorder, recorder.start_run(row), row)

    def run(self, folder: Path, observer: Observer, remarks: DataNotes, job: int = 0) -> RunResult:
        """Fit, write files into `folder`, end the run with them."""
        observer.begin(1, self.config.steps)
        [(_, fit)] = fit_as_completed([self.config], observer.on_steps)
        self._record(fit, folder)

        remarks.add_notes(fit)
        name = self.row.name
        done = CompletedFit(name, self.run_id, {"row": job, "name": name, **build_result(fit)})
        observer.advance([done])
        observer.end()
        return RunResult(
            completed=(done,),
            recorded=RecordedRun(self.recorder, self.run_id, self.row, folder, self.config),
            fit=fit,
            notes=tuple(remarks.notes),
            where=self.recorder.how_to_view(),
            question=self.options.question,
            typed=self.options.typed,
        )

    def kill(self) -> None:
        """End the run as KILLED, or as FAILED if recording failed, unless it has ended.

        A store that fails now is ignored.
        """
        if self.has_ended:
            return
        if self.recording_error:
            ended = run_records.record_unrecorded(
                self.row, milliseconds_now(), self.recording_error
            )
        else:
            ended = run_records.record_kill(self.row, milliseconds_now())
        with suppress(LinfitError, OSError):
            self.has_ended = not self.recorder.break_off_run(self.run_id, ended)

    def _record(self, fit: Fit, folder: Path) -> None:
        theory = predict_from_fit(fit)
        numbers = {} if theory is None else theory.to_numbers()
        row = run_records.record_result(self.row, fit, milliseconds_now(), theory=numbers)
        files = [*write_run_files(folder, fit), *environment.write_environment(folder, self.config)]
        flush_files(files, folder)
        flush_parent_names(folder)

        model = None
        if fit.loss != float("inf"):  # a failed or diverged fit predicts nothing
            weights = folder / mlflow_names.WEIGHTS_FILE
            model = ModelFiles.from_fit(fit, weights, row.name)
        try:
            self.recorder.end_run(self.run_id, row, files, model)
        except (LinfitError, OSError) as error:
            self.recording_error = str(error)
            raise
        self.has_ended = True
        self.row = row
