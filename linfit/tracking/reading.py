"""Reading back what was written: runs by id, by the beginning of one, or the last."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mlflow import MlflowClient
from mlflow.entities import Run, ViewType

from linfit.errors import LinfitError, brief
from linfit.tracking import layout
from linfit.tracking.copies import Readable
from linfit.tracking.patience import one_line
from linfit.tracking.places import own_file, require_known_place, require_own_folder, require_size
from linfit.tracking.store import Store, command, require
from linfit.tracking.whereabouts import local_folder

PAGE = 1000
LAST = "last"
#: Single runs and parents of sweeps have this tag, children do not.
_ON_TOP = f"tags.`{layout.CODE}` LIKE '%'"


@dataclass(frozen=True)
class Record:
    """A run as it was kept."""

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

    @property
    def kind(self) -> str:
        return layout.kind_of(self.tags)

    @property
    def weights(self) -> list[float]:
        """The final weights that stand as metrics, in order."""
        return self._numbered(layout.WEIGHT)

    @property
    def own_weights(self) -> list[float]:
        """The same in the user's own terms, empty where the features are the data's columns."""
        return self._numbered(layout.OWN_WEIGHT)

    def _numbered(self, prefix: str) -> list[float]:
        keys = (f"{prefix}{place}" for place in range(layout.MAX_WEIGHTS))
        return [self.metrics[key] for key in keys if key in self.metrics]


class Reader:
    """Reads the runs of linfit in a store; LinfitError where there is no store or no such run."""

    def __init__(self, store: Store) -> None:
        require(store)
        self.store = store
        self._readable = Readable(store)
        with one_line(store):
            self.client = MlflowClient(tracking_uri=self._readable.uri)
            found = list(self._pages(self.client.search_experiments))
        self.experiments = {experiment.experiment_id: experiment.name for experiment in found}
        self._locations = [str(experiment.artifact_location) for experiment in found]

    def find(self, reference: str, kind: str | None = None) -> Record:
        """The run that `reference` names: an id, the beginning of exactly one, or `last`, the newest of its `kind` if one is given."""
        if reference == LAST:
            condition = (
                _ON_TOP if kind is None else f"{_ON_TOP} AND tags.`{layout.KIND}` = '{kind}'"
            )
            found = self._first(condition)
            if found is None:
                raise LinfitError(
                    f"there is no {kind or 'run'} of linfit in {self.store}: run something first"
                )
            return found
        if not reference.isalnum():
            raise LinfitError(
                f"{reference!r} is no run id: give one, the beginning of one, or {LAST}"
            )
        matches = list(self._search(f"attributes.run_id LIKE '{reference}%'", 3))
        if len(matches) != 1:
            if matches:
                raise LinfitError(
                    f"several runs in {self.store} have ids that begin with {reference!r}: give more of the id"
                )
            raise LinfitError(
                f"no run in {self.store} whose id begins with {reference!r}: `{command(self.store, f'show {LAST}')}` shows the newest"
            )
        return self.record(matches[0])

    def top(self, record: Record) -> Record:
        """The sweep that a run is a fit of; a single run, or a sweep, is its own."""
        sweep = layout.sweep_of(record.tags)
        return record if sweep is None else self.find(sweep)

    def newest(self, fingerprint: str) -> Record | None:
        """The newest run with that fingerprint that is no reproduction."""
        return (
            self._first(f"tags.`{layout.FINGERPRINT}` = '{fingerprint}'")
            if fingerprint.isalnum()
            else None
        )

    def sweep(self, own_id: str) -> Record | None:
        """Return the run of the sweep with this id of its own, which its manifest has."""
        found = self._first(f"tags.`{layout.ID}` = '{own_id}'") if own_id.isalnum() else None
        return found if found is not None and found.kind == layout.SWEEP else None

    def _first(self, condition: str) -> Record | None:
        """The newest that is no reproduction, however many reproductions are newer."""
        found = (
            run
            for run in self._search(condition, page=10)
            if layout.REPRODUCES not in run.data.tags
        )
        return next((self.record(run) for run in found), None)

    def record(self, run: Run) -> Record:
        info, data = run.info, run.data
        if not (
            info.run_id.isascii() and info.run_id.isalnum()
        ):  # it is printed in commands, and names a folder
            raise LinfitError(
                f"{self.store} has a run whose id is none of MLflow's: {brief(repr(info.run_id), 80)}"
            )
        name = self.experiments.get(info.experiment_id, info.experiment_id)
        return Record(
            info.run_id,
            info.run_name or "",
            name,
            info.status,
            info.artifact_uri,
            info.start_time,
            info.end_time,
            data.tags,
            data.params,
            data.metrics,
        )

    def curves(
        self, record: Record, keys: Sequence[str] = (layout.LOSS, layout.EXCESS, layout.VALIDATION)
    ) -> dict[str, list[tuple[int, float]]]:
        """(step, value) of each curve of a run, in order of steps."""
        with one_line(self.store):
            histories = {
                key: self.client.get_metric_history(record.run_id, key)
                for key in keys
                if key in record.metrics
            }
        return {
            key: sorted((point.step, point.value) for point in points)
            for key, points in histories.items()
        }

    def children(self, record: Record) -> list[Record]:
        """The fits of a sweep, without failed ones that were run again."""
        found = [
            self.record(run)
            for run in self._search(f"tags.`{layout.PARENT}` = '{record.run_id}'")
            if layout.ROW in run.data.tags
        ]
        again = {child.tags.get(layout.RETRIES) for child in found}
        return [child for child in found if child.run_id not in again]

    def artifacts(self, record: Record) -> list[str]:
        """The names of a run's files and of its folders of files; none where they are gone."""
        folder = self._folder(record)
        if folder is not None:
            return sorted(file.name for file in folder.iterdir()) if folder.is_dir() else []
        require_known_place(self.store, record.artifact_uri)
        with one_line(self.store, record.artifact_uri):
            return [file.path for file in self.client.list_artifacts(record.run_id)]

    def file(self, record: Record, name: str, most: int | None = None) -> Path:
        """An artifact as a file on this machine, downloaded if a server keeps it; LinfitError if it is not there, or has over `most` bytes."""
        folder = self._folder(record)
        if folder is None:
            return self._download(record, name, most)
        if not (folder / name).is_file():
            raise LinfitError(
                f"run {record.run_id} has no file {name} in {folder}: {_why_absent(self.store, record)}"
            )
        return own_file(folder, name, most)

    def _folder(self, record: Record) -> Path | None:
        """Where a run's files are on this machine, None where a server keeps them."""
        folder = local_folder(self.store, record.artifact_uri)
        if folder is not None:
            places = (local_folder(self.store, location) for location in self._locations)
            beside = [self.store.file.parent] if self.store.file is not None else []
            require_own_folder(folder, [*beside, *(place for place in places if place is not None)])
        return folder

    def _download(self, record: Record, name: str, most: int | None) -> Path:
        require_known_place(self.store, record.artifact_uri)
        with one_line(self.store, record.artifact_uri):
            sizes = {
                file.path: file.file_size or 0 for file in self.client.list_artifacts(record.run_id)
            }
            if name not in sizes:
                raise LinfitError(
                    f"run {record.run_id} has no file {name}: {_why_absent(self.store, record)}"
                )
            require_size(f"{name} of run {record.run_id}", sizes[name], most)
            return Path(self.client.download_artifacts(record.run_id, name))

    def _search(self, condition: str, most: int | None = None, page: int = PAGE) -> Iterator[Run]:
        """Newest first."""
        with one_line(self.store):
            pages = self._pages(
                self.client.search_runs,
                experiment_ids=list(self.experiments),
                filter_string=condition,
                run_view_type=ViewType.ACTIVE_ONLY,
                order_by=["attributes.start_time DESC"],
                max_results=most or page,
            )
            for number, run in enumerate(pages):
                if number == most:
                    return
                yield run

    @staticmethod
    def _pages(search: Any, **arguments: Any) -> Iterator[Any]:
        token = None
        while True:
            page = search(page_token=token, **arguments)
            yield from page
            token = page.token
            if not token:
                return


def _why_absent(store: Store, record: Record) -> str:
    if record.status not in ("KILLED", "RUNNING"):
        return "were its artifacts moved or deleted?"
    further = (
        f"; `{command(store, f'resume {record.run_id}')}` goes on with it"
        if record.kind == layout.SWEEP
        else ""
    )
    return f"it did not come to its end, it is {record.status}{further}"
