"""Reading back what was written: runs by id, by the beginning of one, or the last."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

from mlflow import MlflowClient
from mlflow.entities import Run, ViewType

from linfit.errors import LinfitError
from linfit.tracking import layout
from linfit.tracking.client import one_line
from linfit.tracking.store import Store, require

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
        return self.tags.get(layout.KIND, "")

    @property
    def weights(self) -> list[float]:
        """The final weights that stand as metrics, in order."""
        keys = [key for key in self.metrics if key.startswith(layout.WEIGHT)]
        return [self.metrics[key] for key in sorted(keys, key=lambda key: int(key.removeprefix(layout.WEIGHT)))]


class Reader:
    """Reads the runs of linfit in a store; LinfitError where there is no store or no such run."""

    def __init__(self, store: Store) -> None:
        require(store)
        self.store = store
        with one_line(store):
            self.client = MlflowClient(tracking_uri=store.uri)
            self.experiments = {found.experiment_id: found.name for found in self._pages(self.client.search_experiments)}

    def find(self, reference: str, kind: str | None = None) -> Record:
        """The run that `reference` names: an id, the beginning of exactly one, or `last`, the newest of its `kind` if one is given."""
        if reference == LAST:
            condition = _ON_TOP if kind is None else f"{_ON_TOP} AND tags.`{layout.KIND}` = '{kind}'"
            found = [run for run in self._search(condition, 10) if layout.REPRODUCES not in run.data.tags]
            if not found:
                raise LinfitError(f"there is no {kind or 'run'} of linfit in {self.store}: run something first")
            return self.record(found[0])
        if not reference.isalnum():
            raise LinfitError(f"{reference!r} is no run id: give one, the beginning of one, or {LAST}")
        matches = list(self._search(f"attributes.run_id LIKE '{reference}%'", 3))
        if len(matches) != 1:
            number = "no run" if not matches else "several runs"
            raise LinfitError(f"{number} in {self.store} whose id begins with {reference!r}: `linfit show {LAST}` shows the newest")
        return self.record(matches[0])

    def record(self, run: Run) -> Record:
        info, data = run.info, run.data
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

    def curves(self, record: Record, keys: Sequence[str] = (layout.LOSS, layout.EXCESS)) -> dict[str, list[tuple[int, float]]]:
        """(step, value) of each curve of a run, in order of steps."""
        with one_line(self.store):
            histories = {key: self.client.get_metric_history(record.run_id, key) for key in keys if key in record.metrics}
        return {key: sorted((point.step, point.value) for point in points) for key, points in histories.items()}

    def children(self, record: Record) -> list[Record]:
        """The fits of a sweep."""
        return [self.record(run) for run in self._search(f"tags.`{layout.PARENT}` = '{record.run_id}'")]

    def artifacts(self, record: Record) -> list[str]:
        with one_line(self.store):
            return [file.path for file in self.client.list_artifacts(record.run_id)]

    def file(self, record: Record, name: str) -> Path:
        """An artifact as a file on this machine, downloaded if a server keeps it; LinfitError if it is not there."""
        folder = local_folder(self.store, record.artifact_uri)
        if folder is None:
            with one_line(self.store):
                return Path(self.client.download_artifacts(record.run_id, name))
        if not (folder / name).is_file():
            raise LinfitError(f"run {record.run_id} has no file {name} in {folder}: were its artifacts moved or deleted?")
        return folder / name

    def _search(self, condition: str, most: int | None = None) -> Iterator[Run]:
        """Newest first."""
        with one_line(self.store):
            pages = self._pages(
                self.client.search_runs,
                experiment_ids=list(self.experiments),
                filter_string=condition,
                run_view_type=ViewType.ACTIVE_ONLY,
                order_by=["attributes.start_time DESC"],
                max_results=most or PAGE,
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


def local_folder(store: Store, artifact_uri: str) -> Path | None:
    """The folder of a run's artifacts on this machine, None where a server keeps them.

    MLflow stores it absolute: where `outputs/` has been moved, it is looked for in `artifacts/` beside the database file.
    """
    address = urlsplit(artifact_uri)
    if address.scheme not in ("", "file"):
        return None
    folder = Path(unquote(address.path) if address.scheme else artifact_uri)
    if folder.exists() or store.file is None:
        return folder
    ends = [folder.parts[place:] for place, part in enumerate(folder.parts) if part == "artifacts"]
    moved = [store.file.parent.joinpath(*end) for end in ends]
    return next((candidate for candidate in moved if candidate.exists()), folder)
