"""The recorder that speaks to any MLflow store through MlflowClient, in batches and never step by step."""

from __future__ import annotations

import getpass
import json
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from mlflow import MlflowClient
from mlflow.entities import Dataset, DatasetInput, InputTag, LoggedModelOutput, Metric, Param, RunTag
from mlflow.exceptions import MlflowException

from linfit.engine.fit import Fit
from linfit.errors import RecordingError
from linfit.tracking import layout
from linfit.tracking.layout import Row, mask
from linfit.tracking.store import Store, experiment_folder, locate, prepare

os.environ.setdefault("MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT", "true")  # stdout is for results
METRICS_A_BATCH, PARAMS_A_BATCH, TAGS_A_BATCH = 1000, 100, 100


class ClientRecorder:
    """Writes to `store`, into the MLflow experiment of the given name, which is made if absent."""

    def __init__(self, store: Store, experiment: str) -> None:
        prepare(store)
        self.store = store
        self.name = experiment
        with one_line(store):
            self.client = MlflowClient(tracking_uri=store.uri)
            self.experiment_id = self._experiment()

    def begin(self, row: Row) -> str:
        with one_line(self.store):
            run = self.client.create_run(self.experiment_id, row.start, {**row.tags, **_source()}, row.name)
            run_id: str = run.info.run_id
            for part in _parts(list(row.params.items()), PARAMS_A_BATCH):
                self.client.log_batch(run_id, params=[Param(key, value) for key, value in part])
            return run_id

    def end(self, run_id: str, row: Row, files: Sequence[Path] = (), model: Fit | None = None) -> None:
        with one_line(self.store):
            for part in _parts(row.metrics, METRICS_A_BATCH):
                self.client.log_batch(run_id, metrics=[Metric(key, value, row.end, step) for key, value, step in part])
            for few in _parts(list(row.tags.items()), TAGS_A_BATCH):
                self.client.log_batch(run_id, tags=[RunTag(key, value) for key, value in few])
            if row.dataset is not None:
                self.client.log_inputs(run_id, [_input(row.dataset)])
            self.attach(run_id, files)
            if model is not None:
                self._model(run_id, model)
            self.client.set_terminated(run_id, row.status, row.end)

    def add(self, rows: Sequence[Row]) -> list[str]:
        run_ids = []
        for row in rows:
            run_ids.append(self.begin(row))
            self.end(run_ids[-1], replace(row, tags={}))  # create_run has written them
        return run_ids

    def attach(self, run_id: str, files: Sequence[Path]) -> None:
        with one_line(self.store):
            for file in files:
                self.client.log_artifact(run_id, str(file))

    def where(self) -> str:
        if self.store.uri.startswith("http"):
            return f"{self.store}/#/experiments/{self.experiment_id}"
        return "linfit ui" if self.store == locate() else f"linfit ui --uri {self.store}"

    def _experiment(self) -> str:
        """Not mlflow.set_experiment: of several processes that race for a new name, it sends the losers' runs elsewhere."""
        found = self.client.get_experiment_by_name(self.name)
        if found is None:
            try:
                return str(self.client.create_experiment(self.name, experiment_folder(self.store, self.name)))
            except MlflowException:
                found = self.client.get_experiment_by_name(self.name)  # another process was quicker
                if found is None:
                    raise
        if found.lifecycle_stage != "active":
            raise RecordingError(
                f"the MLflow experiment {self.name!r} was deleted in {self.store}: restore it, or choose another with name=…"
            )
        return str(found.experiment_id)

    def _model(self, run_id: str, fit: Fit) -> None:
        from linfit.tracking.model import save

        logged = self.client.create_logged_model(self.experiment_id, layout.MODEL, run_id)
        with TemporaryDirectory() as folder:
            save(fit, Path(folder, layout.MODEL), run_id, logged.model_id, logged.artifact_location)
            self.client.log_model_artifacts(logged.model_id, str(Path(folder, layout.MODEL)))
        self.client.finalize_logged_model(logged.model_id, "READY")
        self.client.log_outputs(run_id, [LoggedModelOutput(logged.model_id, 0)])


@contextmanager
def one_line(store: Store) -> Iterator[None]:
    """MLflow's and SQLAlchemy's errors as a RecordingError of one line, the store named and its password masked."""
    from sqlalchemy.exc import SQLAlchemyError

    try:
        yield
    except (MlflowException, SQLAlchemyError, OSError) as error:
        first = mask(str(error)).strip().splitlines() or [type(error).__name__]
        raise RecordingError(f"the store {store} failed: {first[0]}") from error
    except ModuleNotFoundError as error:
        raise RecordingError(f"the store {store} needs the Python package {error.name}, which is not installed") from error


def _parts(items: Sequence[Any], size: int) -> Iterator[Sequence[Any]]:
    return (items[start : start + size] for start in range(0, len(items), size))


def _input(dataset: layout.Dataset) -> DatasetInput:
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


def _source() -> dict[str, str]:
    """What MLflow itself says of a run that is started in a script."""
    try:
        user = getpass.getuser()
    except (OSError, KeyError):  # a container without a user database
        user = "unknown"
    return {"mlflow.user": user, "mlflow.source.name": "linfit", "mlflow.source.type": "LOCAL"}
