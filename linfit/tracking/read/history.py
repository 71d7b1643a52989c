"""Ask a store for earlier work: which fits are done, and which runs nobody works on any more."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

from mlflow.entities import Run, ViewType

from linfit.engine.fit import Status
from linfit.system.process_owner import is_process_gone
from linfit.tracking.schema import mlflow_names
from linfit.tracking.store.retry import call_with_retry

if TYPE_CHECKING:
    from mlflow import MlflowClient

    from linfit.tracking.schema.run_records import RunRecord
    from linfit.tracking.store.store import Store

HISTORY_PAGE_SIZE = 1000
#: Tags of single runs and parents whose fits do not count as fits of their config.
TAGS_OF_OTHER_FITS = frozenset({mlflow_names.CHANGES, mlflow_names.REPRODUCES})


@dataclass(frozen=True)
class ParentRun:
    """The parent run of a sweep, as the store has it."""

    run_id: str
    status: str
    start: int
    end: int | None
    tags: dict[str, str]
    metrics: dict[str, float]
    params: dict[str, str]


@dataclass(frozen=True)
class ChildRun:
    """A fit of a sweep, as the store has it."""

    run_id: str
    row: int
    status: str
    retries: str = ""
    """The id of the failed run that this run replaces; empty if none."""

    @property
    def complete(self) -> bool:
        """True once all of the run is written.

        Where runs are sent one by one, a killed process may leave a run that is not.
        """
        return self.status in ("FINISHED", "FAILED")


class FitQueries(Protocol):
    """Queries about every fit, of which a sweep may have thousands."""

    def find_children(self, parent: str) -> list[ChildRun]: ...

    def find_finished(self, code: str, keys: Sequence[str]) -> dict[str, dict[str, float]]: ...


class ClientQueries:
    """Reads runs through MLflow's client, whatever the store is."""

    def __init__(self, store: Store, client: MlflowClient, experiment_id: str) -> None:
        self.store = store
        self.client = client
        self.experiment_id = experiment_id

    def find_children(self, parent: str) -> list[ChildRun]:
        """Return the fits of a sweep, the oldest first."""
        found = []
        for run in self.search_runs(f"tags.`{mlflow_names.PARENT}` = '{parent}'"):
            tags = run.data.tags
            if mlflow_names.ROW in tags:
                row = mlflow_names.parse_row_number(tags[mlflow_names.ROW])
                retries = tags.get(mlflow_names.RETRIES, "")
                found.append(ChildRun(run.info.run_id, row, run.info.status, retries))
        return found

    def find_finished(self, code: str, keys: Sequence[str]) -> dict[str, dict[str, float]]:
        """Return the final metrics `keys` of finished fits, by fingerprint.

        Only fits that this code computed are searched.
        """
        on_top = self.search_runs(f"tags.`{mlflow_names.CODE}` = '{code}'")
        same = {run.info.run_id for run in on_top if not run.data.tags.keys() & TAGS_OF_OTHER_FITS}
        losses = {}
        for run in self.search_runs("attributes.status = 'FINISHED'"):
            tags = run.data.tags
            top = mlflow_names.read_sweep_id(tags) or run.info.run_id
            if mlflow_names.FINGERPRINT in tags and top in same:
                ended = select_final_numbers(
                    tags.get(mlflow_names.STATUS), {key: run.data.metrics.get(key) for key in keys}
                )
                losses[tags[mlflow_names.FINGERPRINT]] = ended
        return losses

    def search_runs(self, condition: str) -> Iterator[Run]:
        """Yield the experiment's runs that meet a condition, the oldest first."""
        token: str | None = None
        while True:
            page = call_with_retry(self.store, self._page, condition, token)
            yield from page
            token = page.token
            if not token:
                return

    def _page(self, condition: str, token: str | None) -> Any:
        return self.client.search_runs(
            [self.experiment_id],
            condition,
            ViewType.ACTIVE_ONLY,
            HISTORY_PAGE_SIZE,
            ["attributes.start_time ASC"],
            page_token=token,
        )


class History:
    """The earlier work in one MLflow experiment.

    Questions about every fit go to `fits`.
    """

    def __init__(
        self,
        store: Store,
        client: MlflowClient,
        experiment_id: str,
        fits: FitQueries | None = None,
    ) -> None:
        self.store = store
        self.client = client
        self.experiment_id = experiment_id
        self._runs = ClientQueries(store, client, experiment_id)
        self._fits = fits or self._runs

    def find_sweep(self, sweep: str) -> ParentRun | None:
        """Return the parent run of the sweep with this `linfit.id`."""
        for run in self._runs.search_runs(f"tags.`{mlflow_names.ID}` = '{sweep}'"):
            info = run.info
            data = run.data
            return ParentRun(
                info.run_id,
                info.status,
                info.start_time,
                info.end_time,
                data.tags,
                data.metrics,
                data.params,
            )
        return None

    def find_written(self, row: RunRecord) -> str | None:
        """Return the id of the run already written for `row`.

        None if there is none.
        """
        # tags that no two runs share: of single runs and parents, and of children
        for keys in ((mlflow_names.ID,), (mlflow_names.PARENT, mlflow_names.ROW)):
            if all(key in row.tags for key in keys):
                break
        else:
            return None
        condition = " AND ".join(f"tags.`{key}` = '{row.tags[key]}'" for key in keys)
        retries = row.tags.get(mlflow_names.RETRIES)
        for run in self._runs.search_runs(condition):
            if run.data.tags.get(mlflow_names.RETRIES) == retries:
                return str(run.info.run_id)
        return None

    def find_children(self, parent: str) -> list[ChildRun]:
        """Return the fits of a sweep, the oldest first."""
        return self._fits.find_children(parent)

    @staticmethod
    def select_current(children: Iterable[ChildRun]) -> dict[int, ChildRun]:
        """Return the run that counts of each row.

        That run is complete, and no other one replaces it.
        """
        complete = [child for child in children if child.complete]
        replaced = {child.retries for child in complete}
        return {child.row: child for child in complete if child.run_id not in replaced}

    def find_complete(self, parent: str, retries: Mapping[int, str]) -> dict[int, str]:
        """Return the ids of a sweep's complete runs by row.

        Those in `retries` are left out. Discards the runs that are not complete.
        """
        children = self.find_children(parent)
        self.discard_runs([child.run_id for child in children if not child.complete])
        found = {}
        for row, child in self.select_current(children).items():
            if child.run_id != retries.get(row):
                found[row] = child.run_id
        return found

    def find_finished(
        self, code: str, keys: Sequence[str] = mlflow_names.LOSSES
    ) -> dict[str, dict[str, float]]:
        """Return the final metrics `keys` of finished fits, by fingerprint.

        Only fits that this code computed are searched.
        """
        return self._fits.find_finished(code, keys)

    def end_dead_runs(self) -> list[str]:
        """End RUNNING runs whose process is gone; return their ids.

        Only runs of linfit are ended. Runs of living processes are not touched.
        """
        running = self._runs.search_runs("attributes.status = 'RUNNING'")
        dead = []
        for run in running:
            owner = run.data.tags.get(mlflow_names.OWNER, "")
            if is_process_gone(owner):
                dead.append(run.info.run_id)
        for run_id in dead:
            call_with_retry(self.store, self.client.set_tag, run_id, mlflow_names.STATUS, "killed")
            call_with_retry(self.store, self.client.set_terminated, run_id, "KILLED")
        return dead

    def discard_runs(self, run_ids: list[str]) -> None:
        """Move runs to MLflow's deleted ones."""
        for run_id in run_ids:
            call_with_retry(self.store, self.client.delete_run, run_id)


def select_final_numbers(
    status: str | None, metrics: Mapping[str, float | None]
) -> dict[str, float]:
    """Return those of a run's final metrics that it has; none if it diverged."""
    if status == Status.DIVERGED:
        return {}
    return {key: value for key, value in metrics.items() if value is not None}
