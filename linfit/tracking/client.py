"""The recorder that speaks to any MLflow store through MlflowClient, in batches and never step by step.

Everything it sends may be sent again, where the store was locked or an answer was lost, and leaves one run and one number:
a run is looked for by what only it has before it is created again, and a number keeps its time.
"""

from __future__ import annotations

import getpass
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import FIRST_EXCEPTION, Future, ThreadPoolExecutor, wait
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from mlflow import MlflowClient
from mlflow.entities import Dataset, DatasetInput, InputTag, LoggedModelOutput, Metric, Param, RunTag
from mlflow.exceptions import MlflowException

from linfit.errors import RecordingError
from linfit.tracking import layout
from linfit.tracking.history import History
from linfit.tracking.layout import Row
from linfit.tracking.model import Predictor, save
from linfit.tracking.patience import T, one_line, persist
from linfit.tracking.recorder import at_once
from linfit.tracking.store import OTHER_ARTIFACTS, Store, command, experiment_folder, prepare, require_artifacts

METRICS_A_BATCH, PARAMS_A_BATCH, TAGS_A_BATCH = 1000, 100, 100
#: Runs sent at once to a server; MLflow keeps ten connections open.
AT_ONCE = 8


class ClientRecorder:
    """Writes to `store`, into the MLflow experiment of the given name, which is made if absent."""

    def __init__(self, store: Store, experiment: str) -> None:
        prepare(store)
        self.store = store
        self.name = experiment
        with one_line(store):
            self.client = MlflowClient(tracking_uri=store.uri)
            self.experiment_id = self._send(self._experiment)

    def wait(self) -> None:
        return None

    def begin(self, row: Row) -> str:
        with one_line(self.store):
            run_id = self._create(row)
            for part in parts([Param(key, value) for key, value in row.params.items()], PARAMS_A_BATCH):
                self._send(self.client.log_batch, run_id, params=part)
            return run_id

    def resume(self, run_id: str, tags: dict[str, str]) -> None:
        with one_line(self.store):
            self._send(self.client.log_batch, run_id, tags=[RunTag(key, value) for key, value in tags.items()])
            self._send(self.client.update_run, run_id, "RUNNING")

    def end(self, run_id: str, row: Row, files: Sequence[Path] = (), model: Predictor | None = None) -> None:
        with one_line(self.store):
            for part in parts([Metric(key, value, row.end, step) for key, value, step in row.metrics], METRICS_A_BATCH):
                self._send(self.client.log_batch, run_id, metrics=part)
            self.tag(run_id, row.tags)
            if row.dataset is not None:
                self._send(self.client.log_inputs, run_id, [dataset_input(row.dataset)])
            self.attach(run_id, files)
            if model is not None:
                self._model(run_id, model)
            self._send(self.client.set_terminated, run_id, row.status, row.end)

    def add(self, rows: Sequence[Row]) -> list[str]:
        """One after the other, or several at once where a server answers: a database has one writer anyhow."""
        if not self.store.is_server:
            return [self._add(row) for row in rows]
        with ThreadPoolExecutor(AT_ONCE) as pool:
            added = [pool.submit(self._add, row) for row in rows]
            try:
                wait(added, return_when=FIRST_EXCEPTION)
            finally:  # after an error or Ctrl-C those that are under way end, and no other begins
                pool.shutdown(cancel_futures=True)
        return [run.result() for run in added]

    def submit(self, rows: Sequence[Row]) -> Future[list[str]]:
        return at_once(self.add, rows)

    def _add(self, row: Row) -> str:
        run_id = self.begin(row)
        self.end(run_id, replace(row, tags={}))  # create_run has written them
        return run_id

    def attach(self, run_id: str, files: Sequence[Path], folder: str | None = None) -> None:
        with one_line(self.store):
            for file in files:
                self._send(self.client.log_artifact, run_id, str(file), folder)

    def children(self, parent: str, retries: Mapping[int, str] = {}) -> dict[int, str]:
        return self.history().whole(parent, retries)

    def history(self) -> History:
        return History(self.store, self.client, self.experiment_id)

    def tag(self, run_id: str, tags: Mapping[str, str]) -> None:
        with one_line(self.store):
            for few in parts([RunTag(key, value) for key, value in tags.items()], TAGS_A_BATCH):
                self._send(self.client.log_batch, run_id, tags=few)

    def presentation(self) -> dict[str, str]:
        with one_line(self.store):
            return dict(self._send(self.client.get_experiment, self.experiment_id).tags)

    def present(self, tags: Mapping[str, str]) -> None:
        with one_line(self.store):
            for key, value in tags.items():
                self._send(self.client.set_experiment_tag, self.experiment_id, key, value)

    def where(self) -> str:
        if self.store.uri.startswith("http"):
            return f"{self.store}/#/experiments/{self.experiment_id}"
        return command(self.store)

    def _send(self, call: Callable[..., T], *arguments: Any, **named: Any) -> T:
        return persist(self.store, call, *arguments, **named)

    def _create(self, row: Row) -> str:
        """A new run, or the one that an earlier attempt made whose answer was lost."""
        attempts = 0

        def create() -> str:
            nonlocal attempts
            attempts += 1
            if attempts > 1 and (found := self.history().same(row)):
                return found
            run = self.client.create_run(self.experiment_id, row.start, {**row.tags, **source()}, row.name)
            return str(run.info.run_id)

        return persist(self.store, create)

    def _experiment(self) -> str:
        """Not mlflow.set_experiment: of several processes that race for a new name, it sends the losers' runs elsewhere."""
        found = self.client.get_experiment_by_name(self.name)
        if found is None:
            folder = experiment_folder(self.store, self.name)
            if folder is not None:
                require_artifacts(folder, OTHER_ARTIFACTS)
            try:
                return str(self.client.create_experiment(self.name, folder))
            except MlflowException:
                found = self.client.get_experiment_by_name(self.name)  # another process was quicker
                if found is None:
                    raise
        if found.lifecycle_stage != "active":
            raise RecordingError(
                f"the MLflow experiment {self.name!r} was deleted in {self.store}: restore it, or choose another with name=…"
            )
        require_artifacts(found.artifact_location, f"the MLflow experiment {self.name!r} keeps them there: choose another with name=…")
        return str(found.experiment_id)

    def _model(self, run_id: str, model: Predictor) -> None:
        logged = self._send(self._logged_model, run_id)
        with TemporaryDirectory() as folder:
            save(model, Path(folder, layout.MODEL), run_id, logged.model_id, logged.artifact_location)
            self._upload(logged.model_id, Path(folder, layout.MODEL))
        self._send(self.client.finalize_logged_model, logged.model_id, "READY")
        self._send(self._link, run_id, logged.model_id)

    def _upload(self, model_id: str, folder: Path) -> None:
        """To a server file by file: MLflow repeats each request by itself, which does no harm here, where the whole might never succeed."""
        if not self.store.is_server:
            self._send(self.client.log_model_artifacts, model_id, str(folder))
            return
        with one_line(self.store):
            self.client.log_model_artifacts(model_id, str(folder))

    def _link(self, run_id: str, model_id: str) -> None:
        """MLflow refuses to do it twice."""
        outputs = self.client.get_run(run_id).outputs
        if outputs is None or model_id not in [model.model_id for model in outputs.model_outputs]:
            self.client.log_outputs(run_id, [LoggedModelOutput(model_id, 0)])

    def _logged_model(self, run_id: str) -> Any:
        """A new model of the run, or the one that it has already."""
        found = self.client.search_logged_models([self.experiment_id], f"source_run_id = '{run_id}'", max_results=1)
        return found[0] if found else self.client.create_logged_model(self.experiment_id, layout.MODEL, run_id)


def parts(items: Sequence[Any], size: int) -> Iterator[Sequence[Any]]:
    return (items[start : start + size] for start in range(0, len(items), size))


def dataset_input(dataset: layout.Dataset) -> DatasetInput:
    columns = [{"type": "double", "name": name, "required": True} for name in (*dataset.features, *dataset.targets)]
    entity = Dataset(
        name=dataset.name,
        digest=dataset.digest,
        source_type="linfit",
        source=json.dumps({"uri": dataset.source}),
        schema=json.dumps({"mlflow_colspec": columns}),
        profile=json.dumps({"num_rows": dataset.rows, "num_features": len(dataset.features), "num_targets": len(dataset.targets)}),
    )
    return DatasetInput(entity, [InputTag("mlflow.data.context", "training")])


def source() -> dict[str, str]:
    """What MLflow itself says of a run that is started in a script."""
    try:
        user = getpass.getuser()
    except (OSError, KeyError):  # a container without a user database
        user = "unknown"
    return {"mlflow.user": user, "mlflow.source.name": "linfit", "mlflow.source.type": "LOCAL"}
