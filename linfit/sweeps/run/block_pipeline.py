"""Fits on their way from the engine to the recorder, a block at a time.

    fits → a part of the tables → runs that the recorder inserts → recorded fits

The tables of a block are written before its runs are inserted. A run that is finished therefore
has its numbers in the tables, whenever the process dies.
"""

from __future__ import annotations

import json
import time
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import Future, wait
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import MappingProxyType
from typing import Any, NamedTuple

from linfit.engine.fit import Fit, Status
from linfit.engine.prediction.predict import largest_stable_lr_of_fit
from linfit.problem.datasets.arrays import write_arrays
from linfit.sweeps.folder.attachments import mark_attached
from linfit.system.atomic_files import name_file_in_errors
from linfit.system.scratch import temporary_folder
from linfit.tracking.model import write_weights
from linfit.tracking.schema import mlflow_names, run_records
from linfit.tracking.schema.config_record import ConfigRecord, dump_config
from linfit.tracking.schema.objective import score_result
from linfit.tracking.tables.parts import SweepParts
from linfit.tracking.write.recorder import Recorder

#: Fits in a block.
BLOCK = 500
#: Seconds after which a block is recorded although it is not full.
BLOCK_SECONDS = 2.0
#: Blocks that may be on their way while the next fits run: as many as the engine yields at once.
#: Ctrl-C waits for them for about a second.
MAX_PENDING_BLOCKS = 4
#: Points of all curves that may be on their way.
MAX_PENDING_POINTS = 400_000


@dataclass(frozen=True)
class CompletedFit:
    """A fit that has run, with its row of `results.parquet`."""

    name: str
    run_id: str
    """Empty if the fit has no run of its own."""
    result: dict[str, Any]

    @property
    def status(self) -> Status:
        return Status(self.result["status"])

    def loss_by(self, by: str | None) -> float:
        """Return the recorded loss by which fits compare.

        It is infinity unless the fit finished.
        """
        return score_result(self.result, by)


@dataclass(frozen=True)
class ResumeState:
    """State that an interrupted sweep has left behind."""

    run_id: str = ""
    """The parent's; empty if it has none."""
    metrics: dict[str, float] = field(default_factory=dict)
    """The parent's."""
    completed: dict[int, CompletedFit] = field(default_factory=dict)
    """Recorded fits by row."""
    recorded: dict[int, str] = field(default_factory=dict)
    """Ids of finished runs by row."""
    retries: dict[int, str] = field(default_factory=dict)
    """Ids of failed runs that run again, by row."""
    repeated: frozenset[int] = frozenset()
    """Rows that are done and run once more for what they leave."""


class FittedRow(NamedTuple):
    """A fit of a sweep, and the description of its run."""

    row: int
    """The fit's row in the manifest."""
    name: str
    fit: Fit
    record: ConfigRecord
    tags: Mapping[str, str] = MappingProxyType({})
    """Further tags of the run."""


@dataclass
class FitBlock:
    """Fits with written tables, whose runs are being recorded."""

    fits: dict[int, Fit]
    """Fits by row, as are the other dictionaries."""
    results: dict[int, dict[str, Any]]
    runs: dict[int, run_records.RunRecord]
    sent: Sequence[int] = ()
    """Rows whose runs the recorder was given."""
    added: Future[list[str]] | None = None
    """Ids of the runs sent; None before they are sent."""
    completed: dict[int, CompletedFit] = field(default_factory=dict)
    """The outcome, once the runs are inserted."""

    @property
    def is_answered(self) -> bool:
        """True once the recorder has answered.

        It answers with run ids or with an error.
        """
        return self.added is not None and self.added.done()

    @property
    def has_failed(self) -> bool:
        """True once the recorder has answered with an error."""
        if self.added is None or not self.added.done():
            return False
        return self.added.exception() is not None

    @property
    def num_points(self) -> int:
        """Number of metric values."""
        return sum(len(run.metrics) for run in self.runs.values())


class BlockPipeline:
    """Queue of blocks between the engine and the recorder."""

    def __init__(
        self,
        recorder: Recorder,
        folder: Path,
        parent_id: str,
        earlier: ResumeState,
        *,
        inserts_runs: bool = True,
        attaches_files: bool = False,
    ) -> None:
        """Open the parts of the tables in `folder`.

        `inserts_runs` makes a run of every fit. `attaches_files` attaches to each the files of a
        single run.
        """
        self.parts = SweepParts(folder)
        self.recorded = dict(earlier.recorded)
        self._recorder = recorder
        self._parent_id = parent_id
        self._retries = earlier.retries
        self._inserts_runs = inserts_runs
        self._attaches_files = attaches_files
        self._waiting: list[FittedRow] = []
        self._blocks: deque[FitBlock] = deque()
        self._expects_failures = False
        self._block_since = time.monotonic()
        self._block_start = milliseconds_now()

    def add(self, fitted: FittedRow) -> None:
        """Take in a fit."""
        self._waiting.append(fitted)

    def advance(self) -> Iterator[FitBlock]:
        """Send the fits if they make a block; yield recorded blocks.

        They make a block by their number, or by their age.
        """
        is_full = len(self._waiting) >= BLOCK
        if is_full or time.monotonic() - self._block_since > BLOCK_SECONDS:
            yield from self.flush(MAX_PENDING_BLOCKS)

    def flush(self, most: int = 0) -> Iterator[FitBlock]:
        """Send the fits at hand, and yield recorded blocks.

        At most `most` blocks stay on their way. The caller takes in each
        block before it leaves the queue, so that none is lost to an interrupt.
        """
        if self._waiting:
            block = self._write_block()
            # Not before: fits that cannot be written are tried again when the sweep ends.
            self._waiting.clear()
            self.parts.count += 1
            # Last: an interrupt before this line leaves a block to `linfit resume`, and never
            # sends one twice.
            self._blocks.append(block)

        failed = []
        if self._expects_failures:
            wait([block.added for block in self._blocks if block.added is not None])
            failed = [block for block in self._blocks if block.has_failed]
        # All of them first: the first that is sent settles what the store has.
        unsent = [block for block in self._blocks if block.added is None]
        for block in [*failed, *unsent]:
            self._send(block)

        while self._blocks and (self._is_over_limit(most) or self._blocks[0].is_answered):
            self._receive(self._blocks[0])
            yield self._blocks[0]
            self._blocks.popleft()

    def expect_failures(self) -> None:
        """Look at the store before sending more: blocks may have failed."""
        self._expects_failures = True

    def attach_files(self, run_ids: Sequence[str], fits: Sequence[Fit]) -> None:
        """Attach a single run's files to each run, if asked for.

        Each fit of the block has a run.
        """
        if not self._attaches_files:
            return
        for run_id, fit in zip(run_ids, fits, strict=True):
            if run_id:
                with temporary_folder() as folder:
                    self._recorder.log_artifacts(run_id, write_run_files(folder, fit))
        mark_attached(self.parts.folder, filter(None, run_ids))

    def _is_over_limit(self, most: int) -> bool:
        if len(self._blocks) > most:
            return True
        return sum(block.num_points for block in self._blocks) > MAX_PENDING_POINTS

    def _write_block(self) -> FitBlock:
        """Write the fits at hand into the next part of the tables."""
        names = [fitted.name for fitted in self._waiting]
        fits = {fitted.row: fitted.fit for fitted in self._waiting}
        results = self.parts.write_part(list(fits), names, list(fits.values()))

        end = milliseconds_now()
        runs = {fitted.row: self._run_of(fitted, end) for fitted in self._waiting}
        self._block_start = end
        self._block_since = time.monotonic()
        return FitBlock(fits, dict(zip(fits, results, strict=True)), runs)

    def _run_of(self, fitted: FittedRow, end: int) -> run_records.RunRecord:
        run = run_records.record_child(
            fitted.fit,
            fitted.record,
            fitted.name,
            self._parent_id,
            fitted.row,
            (self._block_start, end),
            self._retries.get(fitted.row),
            largest_stable_lr_of_fit(fitted.fit),
        )
        if not fitted.tags:
            return run
        return replace(run, tags={**run.tags, **fitted.tags})

    def _send(self, block: FitBlock) -> None:
        """Give the recorder those of a block's runs that are not in the store."""
        if self._expects_failures:
            # An interrupt or the store broke off an earlier attempt: only the store knows which
            # runs it has.
            self.recorded |= self._recorder.find_children(self._parent_id, self._retries)
        self._expects_failures = True
        block.sent = []
        if self._inserts_runs:
            block.sent = [row for row in block.runs if row not in self.recorded]
        block.added = self._recorder.log_runs_async([block.runs[row] for row in block.sent])
        self._expects_failures = False

    def _receive(self, block: FitBlock) -> None:
        """Wait until the runs of a block are inserted."""
        assert block.added is not None
        try:
            new = dict(zip(block.sent, block.added.result(), strict=True))
            run_ids = [new.get(row) or self.recorded.get(row, "") for row in block.runs]
            self.attach_files(run_ids, list(block.fits.values()))
        except Exception:
            self._expects_failures = True
            raise
        for run_id, (row, result) in zip(run_ids, block.results.items(), strict=True):
            block.completed[row] = CompletedFit(result["name"], run_id, result)


def write_run_files(folder: Path, fit: Fit) -> list[Path]:
    """Write the files of a single run: config, data, weights.

    The config has its hash. Data are written if they are in no file of the user's. A failed fit
    has no weights.
    """
    config = folder / mlflow_names.CONFIG_FILE
    with name_file_in_errors(config):
        config.write_text(json.dumps(dump_config(fit.config), indent=1) + "\n", encoding="utf-8")
    files = [config, *write_arrays(folder, [fit.config.dataset])]
    if fit.status is Status.FAILED:
        return files
    weights = folder / mlflow_names.WEIGHTS_FILE
    write_weights(fit, weights)
    return [*files, weights]


def milliseconds_now() -> int:
    """Return the milliseconds since the epoch, as MLflow counts."""
    return time.time_ns() // 1_000_000
