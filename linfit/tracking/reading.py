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
from linfit.errors import ConfigError, LinfitError, brief
from linfit.problem.types import Array
from linfit.tracking import environment, layout, stored
from linfit.tracking.access import own_file, require_known_place, require_own_folder, require_size
from linfit.tracking.copies import Readable
from linfit.tracking.environment import Document
from linfit.tracking.outcomes import Outcome, of_file, of_rows
from linfit.tracking.patience import one_line
from linfit.tracking.store import Store, command, require
from linfit.tracking.sweep_tables import (
    MANIFEST_COLUMNS,
    RESULTS_COLUMNS,
    Entry,
    Tables,
    read_hashes,
    read_rows,
    require_hash,
)
from linfit.tracking.whereabouts import local_folder

PAGE = 1000
LAST = "last"
#: True for single runs and the parents of sweeps, whose children lack this tag.
_ON_TOP = f"tags.`{layout.CODE}` LIKE '%'"


class Reader:
    """Finds the runs of linfit in a store; LinfitError where there is no store or no such run."""

    def __init__(self, store: Store) -> None:
        require(store)
        self.store = store
        self._readable = Readable(store)
        with one_line(store):
            self.client = MlflowClient(tracking_uri=self._readable.uri)
            found = list(_read_pages(self.client.search_experiments))
        self.experiments = {experiment.experiment_id: experiment.name for experiment in found}
        self.locations = [str(experiment.artifact_location) for experiment in found]

    def find(self, reference: str, kind: str | None = None) -> Record:
        """Return the run that `reference` names.

        That is an id, the beginning of exactly one, or `last`, the newest run (of that `kind`).
        """
        if reference == LAST:
            return self._find_last(kind)
        if not reference.isalnum():
            raise LinfitError(
                f"{reference!r} is no run id: give one, the beginning of one, or {LAST}"
            )
        matches = list(self._search(f"attributes.run_id LIKE '{reference}%'", 3))
        if not matches:
            raise LinfitError(
                f"no run in {self.store} whose id begins with {reference!r}: "
                f"`{command(self.store, f'show {LAST}')}` shows the newest"
            )
        if len(matches) > 1:
            raise LinfitError(
                f"several runs in {self.store} have ids that begin with {reference!r}: "
                "give more of the id"
            )
        return self.record(matches[0])

    def _find_last(self, kind: str | None) -> Record:
        condition = _ON_TOP
        if kind is not None:
            condition += f" AND tags.`{layout.KIND}` = '{kind}'"
        found = self._first(condition)
        if found is None:
            raise LinfitError(
                f"there is no {kind or 'run'} of linfit in {self.store}: run something first"
            )
        return found

    def newest(self, fingerprint: str) -> Record | None:
        """Return the newest run with this fingerprint that is no reproduction."""
        if not fingerprint.isalnum():
            return None
        return self._first(f"tags.`{layout.FINGERPRINT}` = '{fingerprint}'")

    def sweep(self, own_id: str) -> Record | None:
        """Return the run of the sweep whose manifest has this id."""
        found = self._first(f"tags.`{layout.ID}` = '{own_id}'") if own_id.isalnum() else None
        return found if found is not None and found.kind == layout.SWEEP else None

    def _first(self, condition: str) -> Record | None:
        """Return the newest run that is no reproduction."""
        for run in self._search(condition, page=10):
            if layout.REPRODUCES not in run.data.tags:
                return self.record(run)
        return None

    def record(self, run: Run) -> Record:
        """Return a run of MLflow's as linfit reads it."""
        info = run.info
        # the id is printed in commands, and names a folder
        if not (info.run_id.isascii() and info.run_id.isalnum()):
            raise LinfitError(
                f"{self.store} has a run whose id is none of MLflow's: "
                f"{brief(repr(info.run_id), 80)}"
            )
        return Record(
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

    def _search(self, condition: str, most: int | None = None, page: int = PAGE) -> Iterator[Run]:
        """Yield at `most` so many runs, the newest first."""
        with one_line(self.store):
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
class Record:
    """A run as the store has it, with what belongs to it: its sweep, config, outcome and files."""

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
    reader: Reader = field(repr=False, compare=False)

    def as_dict(self) -> dict[str, Any]:
        """Return the run as plain data."""
        return {name: value for name, value in vars(self).items() if name in _PLAIN_FIELDS}

    @property
    def kind(self) -> str:
        """`fit` or `sweep`, also of a reproduction."""
        return layout.kind_of(self.tags)

    @property
    def weights(self) -> list[float]:
        """The final weights that MLflow has as metrics, in order."""
        return self._numbered(layout.WEIGHT)

    @property
    def own_weights(self) -> list[float]:
        """The weights in the user's own terms, empty where the features are the data's columns."""
        return self._numbered(layout.OWN_WEIGHT)

    def _numbered(self, prefix: str) -> list[float]:
        keys = [f"{prefix}{index}" for index in range(layout.MAX_WEIGHTS)]
        return [self.metrics[key] for key in keys if key in self.metrics]

    # ---- the sweep ----

    @cached_property
    def parent(self) -> Record | None:
        """The sweep that this run is a fit of; None of a single run and of a sweep."""
        sweep = layout.sweep_of(self.tags)
        return None if sweep is None else self.reader.find(sweep)

    @property
    def top(self) -> Record:
        """The sweep that this run is a fit of, otherwise the run itself."""
        return self.parent or self

    def find_children(self) -> list[Record]:
        """Return the fits of a sweep, without failed ones that were run again."""
        found = [
            self.reader.record(run)
            for run in self.reader._search(f"tags.`{layout.PARENT}` = '{self.run_id}'")
            if layout.ROW in run.data.tags
        ]
        replaced = {child.tags.get(layout.RETRIES) for child in found}
        return [child for child in found if child.run_id not in replaced]

    # ---- where its numbers come from ----

    def config(self, load: stored.Load | None = None) -> FitConfig:
        """Return the fit config that was run: from a file, a tag, or the manifest of the sweep.

        ConfigError, which names the place of the config, as for `read_config`; LinfitError where a
        file of the run is gone.
        """
        if self.kind == layout.SWEEP:
            raise ConfigError(
                f"run {self.run_id} is a sweep, which has no config of its own: "
                "name one of its fits, as `linfit show` lists them"
            )
        text, place = self._config_text()
        return stored.read_config_at(text, place, load, lambda: self.top.tags.get(layout.VERSION))

    def read_schema(self) -> object:
        """Return the schema in which the config was stored; None where it cannot be read."""
        try:
            return stored.read_schema(self._config_text()[0])
        except LinfitError:
            return None

    def _config_text(self) -> tuple[str, str]:
        """Return the stored text of the config, and a name of its place."""
        if layout.CONFIG in self.tags:
            return self.tags[layout.CONFIG], f"tag {layout.CONFIG} of run {self.run_id}"
        sweep = self.parent
        if sweep is None:
            file = self.file(layout.CONFIG_FILE, stored.MAX_CONFIG)
            return stored.read_text(file), str(file)
        file = sweep.table(layout.MANIFEST)
        row = self.tags.get(layout.ROW, "")
        number = int(row) if row.isdecimal() and len(row) < 10 else None
        planned = None if number is None else sweep._row_of(file, MANIFEST_COLUMNS, number)
        if planned is None:
            raise ConfigError(
                f"{file} has no row {row!r}, where the config of run {self.run_id} should stand"
            )
        if planned["fingerprint"] != self.tags.get(layout.FINGERPRINT):
            raise ConfigError(
                f"{file}, row {row}, is another fit than run {self.run_id}: "
                f"its tag {layout.ROW} or {layout.PARENT} was changed"
            )
        return str(planned["config"]), f"{file}, row {row}"

    def provenance(self) -> Document:
        """Return where the numbers come from: of `environment.json`, else of the tags.

        A fit of a sweep has them from the sweep's run. LinfitError where the file was changed.
        """
        top = self.top
        if layout.ENVIRONMENT_FILE in top.artifacts():
            file = top.file(layout.ENVIRONMENT_FILE, environment.MAX_BYTES)
            return environment.read(file)
        found = environment.read_tags(top.tags)
        if found is None:
            raise LinfitError(
                f"tag {layout.ENVIRONMENT} of run {top.run_id} cannot be read: "
                "it was changed after it was written"
            )
        return found

    # ---- what came out ----

    def outcome(self, config: FitConfig) -> Outcome:
        """Return the outcome of the run.

        Its losses are those of MLflow; its weights come, with all bits, from a file or a table.
        ConfigError where there is no result: the run has not ended, or was interrupted.
        """
        status = self.tags.get(layout.STATUS, "")
        if status not in list(Status):
            raise ConfigError(
                f"run {self.run_id} has no result to compare with: "
                f"it is {self.status} {status}".rstrip()
            )
        points = self.curves([layout.LOSS]).get(layout.LOSS, [])
        if not points and status in (Status.COMPLETED, Status.CONVERGED):
            raise ConfigError(
                f"run {self.run_id} has no losses to compare with: "
                f"they were deleted from {self.reader.store}"
            )
        steps = np.array([step for step, _ in points], int)
        losses = np.array([loss for _, loss in points], float)
        weights = None if status == Status.FAILED else self._exact_weights(config)
        return Outcome(status, config.dtype, steps, losses, weights, whole=False)

    def curves(self, keys: Sequence[str] = layout.LOSSES) -> dict[str, list[tuple[int, float]]]:
        """Return (step, value) of each curve, in order of steps."""
        found = {}
        with one_line(self.reader.store):
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
            outcome, fingerprint = of_file(self.file(layout.WEIGHTS_FILE))
            if fingerprint != self.tags.get(layout.FINGERPRINT):
                raise ConfigError(
                    f"{layout.WEIGHTS_FILE} of run {self.run_id} belongs to another run: "
                    "its fingerprint is another"
                )
            return outcome.weights
        result = self._result_in(sweep) if layout.FILES in sweep.tags else None
        if result is not None:
            return of_rows(result, None).weights
        p, q = config.shape()
        return np.array(self.weights) if len(self.weights) == p * q else None

    def _result_in(self, sweep: Record) -> Entry | None:
        """Return the fit's row of the sweep's results; None if it was run again later.

        ConfigError where the row is another fit's.
        """
        row = layout.row_number(self.tags.get(layout.ROW, ""))
        planned = sweep._row_of(sweep.table(layout.MANIFEST), MANIFEST_COLUMNS, row)
        result = sweep._row_of(sweep.table(layout.RESULTS), RESULTS_COLUMNS, row)
        retried = self.tags.get(layout.RETRIES)
        is_own = (
            planned is not None
            and planned["fingerprint"] == self.tags.get(layout.FINGERPRINT)
            and result is not None
            and result["run_id"] in (None, "", self.run_id, retried)
        )
        if not is_own:
            raise ConfigError(
                f"row {row} of sweep {sweep.run_id} is another fit than run {self.run_id}: "
                f"its tag {layout.ROW} or {layout.PARENT} was changed"
            )
        assert result is not None
        return None if result["run_id"] == (retried or "") else result

    # ---- the tables of a sweep ----

    def tables(self) -> Tables:
        """Return the tables of a sweep.

        LinfitError where one is gone, or was changed after it was written.
        """
        return Tables(
            self.table(layout.MANIFEST),
            self.table(layout.RESULTS),
            self.table(layout.CURVES),
            self._hashes,
        )

    def table(self, name: str) -> Path:
        """Return a table of a sweep; LinfitError where its hash is not the one that the run has."""
        file = self.file(name)
        self.require_unchanged(file)
        return file

    def require_unchanged(self, file: Path) -> None:
        """Raise LinfitError where a table of a sweep has another hash than the run."""
        require_hash(file, self._hashes, self.run_id)

    def _row_of(self, table: Path, columns: Sequence[str], row: int) -> Entry | None:
        return read_rows(table, columns, [row], self._hashes.get(table.name)).get(row)

    @cached_property
    def _hashes(self) -> Mapping[str, str]:
        return read_hashes(self.tags, self.run_id)

    # ---- files ----

    def artifacts(self) -> list[str]:
        """Return the names of the run's files and folders of files; empty where they are gone."""
        folder = self._folder()
        if folder is not None:
            return sorted(file.name for file in folder.iterdir()) if folder.is_dir() else []
        return list(self._served_files())

    def file(self, name: str, most: int | None = None) -> Path:
        """Return an artifact as a file on this machine, downloaded if a server keeps it.

        LinfitError if it is absent, or has over `most` bytes.
        """
        folder = self._folder()
        if folder is None:
            return self._download(name, most)
        if not (folder / name).is_file():
            raise LinfitError(
                f"run {self.run_id} has no file {name} in {folder}: {self._explain_absence()}"
            )
        return own_file(folder, name, most)

    def _folder(self) -> Path | None:
        """Return the folder of the run's files on this machine; None where a server keeps them."""
        store = self.reader.store
        folder = local_folder(store, self.artifact_uri)
        if folder is not None:
            places = [local_folder(store, location) for location in self.reader.locations]
            if store.file is not None:
                places.append(store.file.parent)
            require_own_folder(folder, [place for place in places if place is not None])
        return folder

    def _download(self, name: str, most: int | None) -> Path:
        sizes = self._served_files()
        if name not in sizes:
            raise LinfitError(f"run {self.run_id} has no file {name}: {self._explain_absence()}")
        require_size(f"{name} of run {self.run_id}", sizes[name], most)
        with one_line(self.reader.store, self.artifact_uri):
            return Path(self.reader.client.download_artifacts(self.run_id, name))

    def _served_files(self) -> dict[str, int]:
        """Return the size of each file that a server keeps, by path."""
        store = self.reader.store
        require_known_place(store, self.artifact_uri)
        with one_line(store, self.artifact_uri):
            files = self.reader.client.list_artifacts(self.run_id)
            return {file.path: file.file_size or 0 for file in files}

    def _explain_absence(self) -> str:
        if self.status not in ("KILLED", "RUNNING"):
            return "were its artifacts moved or deleted?"
        text = f"it did not come to its end, it is {self.status}"
        if self.kind == layout.SWEEP:
            resume = command(self.reader.store, f"resume {self.run_id}")
            text += f"; `{resume}` goes on with it"
        return text


_PLAIN_FIELDS = [name for name in Record.__dataclass_fields__ if name != "reader"]
