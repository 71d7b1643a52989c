"""Read runs back: by id, by the beginning of one, or the last; and what belongs to a run."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from mlflow import MlflowClient
from mlflow.entities import Run, ViewType

from linfit.config import FitConfig
from linfit.engine.fit import Status
from linfit.errors import ConfigError, LinfitError, RecordingError, shorten
from linfit.problem.types import Array
from linfit.tracking.provenance import environment
from linfit.tracking.provenance.environment import Provenance
from linfit.tracking.read import config as stored
from linfit.tracking.read.access import (
    contained_file,
    require_known_place,
    require_own_folder,
    require_size,
)
from linfit.tracking.read.outcome import Outcome, read_file_outcome, read_row_outcome
from linfit.tracking.read.sweep_tables import (
    MANIFEST_COLUMNS,
    RESULTS_COLUMNS,
    SweepTables,
    TableEntry,
    read_table_hashes,
    read_table_rows,
    require_table_hash,
)
from linfit.tracking.schema import mlflow_names
from linfit.tracking.store.copies import ReadableDatabase
from linfit.tracking.store.retry import as_recording_error
from linfit.tracking.store.store import Store, format_store_command, require_store
from linfit.tracking.store.whereabouts import find_local_folder

SEARCH_PAGE_SIZE = 1000
LAST_REFERENCE = "last"
#: True for single runs and the parents of sweeps, whose children lack this tag.
_ON_TOP = f"tags.`{mlflow_names.CODE}` LIKE '%'"


class RunReader:
    """Finds the runs of linfit in a store.

    LinfitError where there is no store or no such run.
    """

    def __init__(self, store: Store) -> None:
        require_store(store)
        self.store = store
        self._readable = ReadableDatabase(store)
        with as_recording_error(store):
            self.client = MlflowClient(tracking_uri=self._readable.uri)
            found = list(_read_pages(self.client.search_experiments))
        self.experiments = {experiment.experiment_id: experiment.name for experiment in found}
        self.locations = [str(experiment.artifact_location) for experiment in found]

    def find_run(self, reference: str, kind: str | None = None) -> StoredRun:
        """Return the run that `reference` names.

        That is an id, the beginning of exactly one, or `last`, the newest run (of that `kind`).
        """
        if reference == LAST_REFERENCE:
            return self._find_last(kind)
        if not reference.isalnum():
            raise LinfitError(
                f"{reference!r} is no run id: give one, the beginning of one, or {LAST_REFERENCE}"
            )
        matches = list(self._search(f"attributes.run_id LIKE '{reference}%'", 3))
        if not matches:
            raise LinfitError(
                f"no run in {self.store} whose id begins with {reference!r}: "
                f"`{format_store_command(self.store, f'show {LAST_REFERENCE}')}` shows the newest"
            )
        if len(matches) > 1:
            raise LinfitError(
                f"several runs in {self.store} have ids that begin with {reference!r}: "
                "give more of the id"
            )
        return self.read_run(matches[0])

    def _find_last(self, kind: str | None) -> StoredRun:
        condition = _ON_TOP
        if kind is not None:
            condition += f" AND tags.`{mlflow_names.KIND}` = '{kind}'"
        found = self._first(condition)
        if found is None:
            raise LinfitError(
                f"there is no {kind or 'run'} of linfit in {self.store}: run something first"
            )
        return found

    def find_newest(self, fingerprint: str) -> StoredRun | None:
        """Return the newest run with this fingerprint that is no reproduction."""
        if not fingerprint.isalnum():
            return None
        return self._first(f"tags.`{mlflow_names.FINGERPRINT}` = '{fingerprint}'")

    def find_sweep(self, own_id: str) -> StoredRun | None:
        """Return the run of the sweep whose manifest has this id."""
        if not own_id.isalnum():
            return None
        found = self._first(f"tags.`{mlflow_names.ID}` = '{own_id}'")
        if found is None or found.kind != mlflow_names.SWEEP:
            return None
        return found

    def _first(self, condition: str) -> StoredRun | None:
        """Return the newest run that is no reproduction."""
        for run in self._search(condition, page=10):
            if mlflow_names.REPRODUCES not in run.data.tags:
                return self.read_run(run)
        return None

    def read_run(self, run: Run) -> StoredRun:
        """Return a run of MLflow's as linfit reads it."""
        info = run.info
        # the id is printed in commands, and names a folder
        if not (info.run_id.isascii() and info.run_id.isalnum()):
            raise LinfitError(
                f"{self.store} has a run whose id is none of MLflow's: "
                f"{shorten(repr(info.run_id), 80)}"
            )
        return StoredRun(
            info.run_id,
            info.run_name or "",
            self.experiments.get(info.experiment_id, info.experiment_id),
            info.status,
            info.artifact_uri,
            info.start_time,
            info.end_time,
            run.data.tags,
            run.data.params,
            run.data.metrics,
            self,
        )

    def _search(
        self, condition: str, most: int | None = None, page: int = SEARCH_PAGE_SIZE
    ) -> Iterator[Run]:
        """Yield at `most` so many runs, the newest first."""
        with as_recording_error(self.store):
            runs = _read_pages(
                self.client.search_runs,
                experiment_ids=list(self.experiments),
                filter_string=condition,
                run_view_type=ViewType.ACTIVE_ONLY,
                order_by=["attributes.start_time DESC"],
                max_results=most or page,
            )
            for number, run in enumerate(runs):
                if number == most:
                    return
                yield run


def _read_pages(search: Any, **arguments: Any) -> Iterator[Any]:
    token = None
    while True:
        page = search(page_token=token, **arguments)
        yield from page
        token = page.token
        if not token:
            return


@dataclass(frozen=True)
class StoredRun:
    """A run as the store has it.

    With it comes what belongs to it: its sweep, config, outcome and files.
    """

    run_id: str
    name: str
    experiment: str
    status: str
    artifact_uri: str
    start: int
    end: int | None
    tags: dict[str, str]
    params: dict[str, str]
    metrics: dict[str, float]
    reader: RunReader = field(repr=False, compare=False)

    def as_dict(self) -> dict[str, Any]:
        """Return the run as plain data."""
        return {name: value for name, value in vars(self).items() if name in _PLAIN_FIELDS}

    @property
    def kind(self) -> str:
        """`fit` or `sweep`, also of a reproduction."""
        return mlflow_names.read_kind(self.tags)

    @property
    def weights(self) -> list[float]:
        """The final weights that MLflow has as metrics, in order."""
        return self._numbered(mlflow_names.WEIGHT)

    @property
    def own_weights(self) -> list[float]:
        """The weights in the user's own terms.

        Empty where the features are the data's columns.
        """
        return self._numbered(mlflow_names.OWN_WEIGHT)

    def _numbered(self, prefix: str) -> list[float]:
        keys = [f"{prefix}{index}" for index in range(mlflow_names.MAX_WEIGHTS)]
        return [self.metrics[key] for key in keys if key in self.metrics]

    # ---- the sweep ----

    @cached_property
    def parent(self) -> StoredRun | None:
        """The sweep that this run is a fit of.

        None of a single run and of a sweep.
        """
        sweep = mlflow_names.read_sweep_id(self.tags)
        if sweep is None:
            return None
        return self.reader.find_run(sweep)

    @property
    def root(self) -> StoredRun:
        """The sweep of this fit, otherwise the run itself."""
        return self.parent or self

    def find_children(self) -> list[StoredRun]:
        """Return a sweep's fits, without failed ones that were run again."""
        found = [
            self.reader.read_run(run)
            for run in self.reader._search(f"tags.`{mlflow_names.PARENT}` = '{self.run_id}'")
            if mlflow_names.ROW in run.data.tags
        ]
        replaced = {child.tags.get(mlflow_names.RETRIES) for child in found}
        return [child for child in found if child.run_id not in replaced]

    # ---- where its numbers come from ----

    def config(self, load: stored.LoadPlugins | None = None) -> FitConfig:
        """Return the fit config that was run.

        It is read from a file, a tag, or the manifest of the sweep. ConfigError, which names the
        place of the config, as for `read_config`; LinfitError where a file of the run is gone.
        """
        if self.kind == mlflow_names.SWEEP:
            raise ConfigError(
                f"run {self.run_id} is a sweep, which has no config of its own: "
                "name one of its fits, as `linfit show` lists them"
            )
        text, place = self._config_text()
        return stored.read_config_at(
            text, place, load, lambda: self.root.tags.get(mlflow_names.VERSION)
        )

    def read_schema(self) -> object:
        """Return the schema of the stored config, None if unreadable."""
        try:
            return stored.read_config_schema(self._config_text()[0])
        except LinfitError:
            return None

    def _config_text(self) -> tuple[str, str]:
        """Return the stored text of the config, and a name of its place."""
        if mlflow_names.CONFIG in self.tags:
            return self.tags[mlflow_names.CONFIG], f"tag {mlflow_names.CONFIG} of run {self.run_id}"
        sweep = self.parent
        if sweep is None:
            file = self.fetch_file(mlflow_names.CONFIG_FILE, stored.MAX_CONFIG)
            return stored.read_config_text(file), str(file)
        file = sweep.find_table(mlflow_names.MANIFEST)
        row = self.tags.get(mlflow_names.ROW, "")
        planned = None
        if row.isdecimal() and len(row) < 10:
            planned = sweep._row_of(file, MANIFEST_COLUMNS, int(row))
        if planned is None:
            raise ConfigError(
                f"{file} has no row {row!r}, where the config of run {self.run_id} should stand"
            )
        if planned["fingerprint"] != self.tags.get(mlflow_names.FINGERPRINT):
            raise ConfigError(
                f"{file}, row {row}, is another fit than run {self.run_id}: "
                f"its tag {mlflow_names.ROW} or {mlflow_names.PARENT} was changed"
            )
        return str(planned["config"]), f"{file}, row {row}"

    def provenance(self) -> Provenance:
        """Return where the numbers come from.

        It is read from `environment.json`, else from the tags. A fit of a sweep has them from the
        sweep's run. LinfitError where the file was changed.
        """
        top = self.root
        if mlflow_names.ENVIRONMENT_FILE in top.list_artifacts():
            file = top.fetch_file(mlflow_names.ENVIRONMENT_FILE, environment.MAX_ENVIRONMENT_BYTES)
            return environment.read_environment(file)
        found = environment.read_provenance_tags(top.tags)
        if found is None:
            raise LinfitError(
                f"tag {mlflow_names.ENVIRONMENT} of run {top.run_id} cannot be read: "
                "it was changed after it was written"
            )
        return found

    # ---- what came out ----

    def outcome(self, config: FitConfig) -> Outcome:
        """Return the outcome of the run.

        Its losses are those of MLflow; its weights come, with all bits, from a file or a table.
        ConfigError where there is no result: the run has not ended, or was interrupted.
        """
        status = self.tags.get(mlflow_names.STATUS, "")
        if status not in list(Status):
            raise ConfigError(
                f"run {self.run_id} has no result to compare with: "
                f"it is {self.status} {status}".rstrip()
            )
        points = self.read_curves([mlflow_names.LOSS]).get(mlflow_names.LOSS, [])
        if not points and status in (Status.COMPLETED, Status.CONVERGED):
            raise ConfigError(
                f"run {self.run_id} has no losses to compare with: "
                f"they were deleted from {self.reader.store}"
            )
        steps = np.array([step for step, _ in points], int)
        losses = np.array([loss for _, loss in points], float)
        weights = None
        if status != Status.FAILED:
            weights = self._exact_weights(config)
        return Outcome(status, config.dtype, steps, losses, weights, complete=False)

    def read_curves(
        self, keys: Sequence[str] = mlflow_names.LOSSES
    ) -> dict[str, list[tuple[int, float]]]:
        """Return (step, value) of each curve, in order of steps."""
        found = {}
        with as_recording_error(self.reader.store):
            for key in keys:
                if key in self.metrics:
                    history = self.reader.client.get_metric_history(self.run_id, key)
                    found[key] = sorted((point.step, point.value) for point in history)
        return found

    def _exact_weights(self, config: FitConfig) -> Array | None:
        """Return the weights `[p·q]` with all their bits.

        None for a fit of an interrupted sweep with more weights than MLflow keeps as metrics.
        """
        sweep = self.parent
        if sweep is None:
            outcome, fingerprint = read_file_outcome(self.fetch_file(mlflow_names.WEIGHTS_FILE))
            if fingerprint != self.tags.get(mlflow_names.FINGERPRINT):
                raise ConfigError(
                    f"{mlflow_names.WEIGHTS_FILE} of run {self.run_id} belongs to another run: "
                    "its fingerprint is another"
                )
            return outcome.weights
        if mlflow_names.FILES in sweep.tags and (result := self._result_in(sweep)) is not None:
            return read_row_outcome(result, None).weights
        p, q = config.shape()
        # Columns of text and classes have more weights than the config can say.
        is_known = not (config.dataset.has_text() or config.loss.target_kind == "classes")
        if len(self.weights) == p * q:
            return np.array(self.weights)
        if is_known or not 0 < len(self.weights) < mlflow_names.MAX_WEIGHTS:
            return None
        return np.array(self.weights)

    def _result_in(self, sweep: StoredRun) -> TableEntry | None:
        """Return the fit's row of the sweep's results; None if it was run again later.

        ConfigError where the row is another fit's.
        """
        row = mlflow_names.parse_row_number(self.tags.get(mlflow_names.ROW, ""))
        planned = sweep._row_of(sweep.find_table(mlflow_names.MANIFEST), MANIFEST_COLUMNS, row)
        result = sweep._row_of(sweep.find_table(mlflow_names.RESULTS), RESULTS_COLUMNS, row)
        retried = self.tags.get(mlflow_names.RETRIES)
        is_own = (
            planned is not None
            and planned["fingerprint"] == self.tags.get(mlflow_names.FINGERPRINT)
            and result is not None
            and result["run_id"] in (None, "", self.run_id, retried)
        )
        if not is_own:
            raise ConfigError(
                f"row {row} of sweep {sweep.run_id} is another fit than run {self.run_id}: "
                f"its tag {mlflow_names.ROW} or {mlflow_names.PARENT} was changed"
            )
        assert result is not None
        if result["run_id"] == (retried or ""):
            return None
        return result

    # ---- the tables of a sweep ----

    def find_tables(self) -> SweepTables:
        """Return the tables of a sweep.

        LinfitError where one is gone, or was changed after it was written.
        """
        return SweepTables(
            self.find_table(mlflow_names.MANIFEST),
            self.find_table(mlflow_names.RESULTS),
            self.find_table(mlflow_names.CURVES),
            self._hashes,
        )

    def find_table(self, name: str) -> Path:
        """Return a table of a sweep.

        LinfitError where its hash is not the one that the run has.
        """
        file = self.fetch_file(name)
        self.require_unchanged(file)
        return file

    def require_unchanged(self, file: Path) -> None:
        """Raise LinfitError if a sweep's table has another hash than recorded."""
        require_table_hash(file, self._hashes, self.run_id)

    def _row_of(self, table: Path, columns: Sequence[str], row: int) -> TableEntry | None:
        return read_table_rows(table, columns, [row], self._hashes.get(table.name)).get(row)

    @cached_property
    def _hashes(self) -> Mapping[str, str]:
        return read_table_hashes(self.tags, self.run_id)

    # ---- files ----

    def list_artifacts(self) -> list[str]:
        """Return the names of the run's files and folders of files.

        Empty where they are gone.
        """
        folder = self._folder()
        if folder is None:
            return list(self._served_files())
        if not folder.is_dir():
            return []
        return sorted(file.name for file in folder.iterdir())

    def find_model_address(self) -> str | None:
        """Return the address of the run's MLflow model; None where there is none."""
        condition = f"source_run_id = '{self.run_id}'"
        try:
            with as_recording_error(self.reader.store):
                found = self.reader.client.search_logged_models(
                    list(self.reader.experiments), condition, max_results=1
                )
        except RecordingError:  # servers of MLflow 2 know no such models
            return None
        return f"models:/{found[0].model_id}" if found else None

    def fetch_file(self, name: str, most: int | None = None) -> Path:
        """Return an artifact as a local file.

        It is downloaded if a server keeps it. LinfitError if it is absent, or has over `most`
        bytes.
        """
        folder = self._folder()
        if folder is None:
            return self._download(name, most)
        if not (folder / name).is_file():
            raise LinfitError(
                f"run {self.run_id} has no file {name} in {folder}: {self._explain_absence()}"
            )
        return contained_file(folder, name, most)

    def _folder(self) -> Path | None:
        """Return the folder of the run's files on this machine; None where a server keeps them."""
        store = self.reader.store
        folder = find_local_folder(store, self.artifact_uri)
        if folder is not None:
            places = [find_local_folder(store, location) for location in self.reader.locations]
            if store.file is not None:
                places.append(store.file.parent)
            require_own_folder(folder, filter(None, places))
        return folder

    def _download(self, name: str, most: int | None) -> Path:
        sizes = self._served_files()
        if name not in sizes:
            raise LinfitError(f"run {self.run_id} has no file {name}: {self._explain_absence()}")
        require_size(f"{name} of run {self.run_id}", sizes[name], most)
        with as_recording_error(self.reader.store, self.artifact_uri):
            return Path(self.reader.client.download_artifacts(self.run_id, name))

    def _served_files(self) -> dict[str, int]:
        """Return the size of each file that a server keeps, by path."""
        store = self.reader.store
        require_known_place(store, self.artifact_uri)
        with as_recording_error(store, self.artifact_uri):
            files = self.reader.client.list_artifacts(self.run_id)
            return {file.path: file.file_size or 0 for file in files}

    def _explain_absence(self) -> str:
        if self.status not in ("KILLED", "RUNNING"):
            return "were its artifacts moved or deleted?"
        text = f"it did not come to its end, it is {self.status}"
        if self.kind == mlflow_names.SWEEP:
            resume = format_store_command(self.reader.store, f"resume {self.run_id}")
            text += f"; `{resume}` goes on with it"
        return text


_PLAIN_FIELDS = [name for name in StoredRun.__dataclass_fields__ if name != "reader"]
