"""What a store knows of earlier work, for those who go on with it: which fits are done, which runs nobody works on any more."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from mlflow.entities import Run, ViewType

from linfit.engine.fit import Status
from linfit.owner import is_dead
from linfit.tracking import layout
from linfit.tracking.patience import persist

if TYPE_CHECKING:
    from mlflow import MlflowClient

    from linfit.tracking.layout import Row
    from linfit.tracking.store import Store

PAGE = 1000
#: The tags of single runs and parents whose fits are not taken for those of another config.
NOT_THE_SAME = frozenset({layout.CHANGES, layout.REPRODUCES})
#: The tags that no two runs share: of single runs and parents, and of children.
_UNIQUE = ((layout.ID,), (layout.PARENT, layout.ROW))


@dataclass(frozen=True)
class Kept:
    """A run as it stands in the store."""

    run_id: str
    status: str
    start: int
    end: int | None
    tags: dict[str, str]
    metrics: dict[str, float]
    params: dict[str, str]


@dataclass(frozen=True)
class Child:
    """A fit of a sweep as it stands in the store; `retries` is the failed run that it stands in for, empty if none."""

    run_id: str
    row: int
    status: str
    retries: str = ""

    @property
    def whole(self) -> bool:
        """Whether it is all there: a killed process may leave one that is not, where runs are sent one by one."""
        return self.status in ("FINISHED", "FAILED")


class History:
    """Reads through MLflow's client, whatever the store is."""

    def __init__(self, store: Store, client: MlflowClient, experiment_id: str) -> None:
        self.store, self.client, self.experiment_id = store, client, experiment_id

    def sweep(self, sweep: str) -> Kept | None:
        """The parent run of the sweep with this `linfit.id`."""
        return next(
            (self._kept(run) for run in self._search(f"tags.`{layout.ID}` = '{sweep}'")), None
        )

    def same(self, row: Row) -> str | None:
        """The run that `row` was written as already, if it was."""
        keys = next((keys for keys in _UNIQUE if all(key in row.tags for key in keys)), ())
        if not keys:
            return None
        wanted = row.tags.get(layout.RETRIES)
        found = self._search(" AND ".join(f"tags.`{key}` = '{row.tags[key]}'" for key in keys))
        return next(
            (run.info.run_id for run in found if run.data.tags.get(layout.RETRIES) == wanted), None
        )

    def children(self, parent: str) -> list[Child]:
        """The fits of a sweep, the oldest first."""
        found = self._search(f"tags.`{layout.PARENT}` = '{parent}'")
        return [
            Child(
                run.info.run_id,
                layout.row_number(run.data.tags[layout.ROW]),
                run.info.status,
                run.data.tags.get(layout.RETRIES, ""),
            )
            for run in found
            if layout.ROW in run.data.tags
        ]

    @staticmethod
    def current(children: Iterable[Child]) -> dict[int, Child]:
        """By row, the run that counts: it is all there, and no other one stands in for it."""
        there = [child for child in children if child.whole]
        replaced = {child.retries for child in there}
        return {child.row: child for child in there if child.run_id not in replaced}

    def whole(self, parent: str, retries: Mapping[int, str]) -> dict[int, str]:
        """The ids of a sweep's runs that are all there, by row, without the `retries`; what is there in part is discarded."""
        children = self.children(parent)
        self.discard([child.run_id for child in children if not child.whole])
        return {
            row: child.run_id
            for row, child in self.current(children).items()
            if child.run_id != retries.get(row)
        }

    def finished(self, code: str) -> dict[str, dict[str, float]]:
        """The fingerprints of all fits that are finished in the MLflow experiment, computed by this code, with their final losses by name."""
        own = list(self._search(f"tags.`{layout.CODE}` = '{code}'"))
        same = {run.info.run_id for run in own if not run.data.tags.keys() & NOT_THE_SAME}
        losses: dict[str, dict[str, float]] = {}
        for run in self._search("attributes.status = 'FINISHED'"):
            tags = run.data.tags
            if layout.FINGERPRINT in tags and (layout.sweep_of(tags) or run.info.run_id) in same:
                losses[tags[layout.FINGERPRINT]] = final_losses(
                    tags.get(layout.STATUS), run.data.metrics
                )
        return losses

    def end_dead(self) -> list[str]:
        """Ends runs of linfit that are RUNNING and whose process is gone; returns their ids. Those of living ones are not touched."""
        running = list(self._search("attributes.status = 'RUNNING'"))
        dead = [run.info.run_id for run in running if is_dead(run.data.tags.get(layout.OWNER, ""))]
        for run_id in dead:
            persist(self.store, self.client.set_tag, run_id, layout.STATUS, "killed")
            persist(self.store, self.client.set_terminated, run_id, "KILLED")
        return dead

    def discard(self, run_ids: list[str]) -> None:
        """Moves runs to MLflow's deleted ones."""
        for run_id in run_ids:
            persist(self.store, self.client.delete_run, run_id)

    def _kept(self, run: Run) -> Kept:
        return Kept(
            run.info.run_id,
            run.info.status,
            run.info.start_time,
            run.info.end_time,
            run.data.tags,
            run.data.metrics,
            run.data.params,
        )

    def _search(self, condition: str) -> Iterator[Run]:
        """The oldest first."""
        token: str | None = None
        while True:
            page = persist(self.store, self._page, condition, token)
            yield from page
            token = page.token
            if not token:
                return

    def _page(self, condition: str, token: str | None) -> Any:
        return self.client.search_runs(
            [self.experiment_id],
            condition,
            ViewType.ACTIVE_ONLY,
            PAGE,
            ["attributes.start_time ASC"],
            page_token=token,
        )


def final_losses(status: str | None, metrics: Mapping[str, float | None]) -> dict[str, float]:
    """Return the final losses of a run by name; none of one that diverged."""
    found = ((key, metrics.get(key)) for key in layout.LOSSES)
    return (
        {}
        if status == Status.DIVERGED
        else {key: value for key, value in found if value is not None}
    )
