"""The recorder that writes to any MLflow store through MlflowClient, many values with each request.

Every request may be sent again, if the store was locked or an answer was lost, without leaving a
second run or number: before a run is created again it is searched by its unique tag, and a number
keeps its time.
"""

from __future__ import annotations

import getpass
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import FIRST_EXCEPTION, Future, ThreadPoolExecutor, wait
from contextlib import contextmanager
from dataclasses import replace
from itertools import starmap
from pathlib import Path
from typing import Any, TypeVar

from mlflow import MlflowClient
from mlflow.entities import (
    Dataset,
    DatasetInput,
    InputTag,
    LoggedModelOutput,
    Metric,
    Param,
    RunTag,
)
from mlflow.exceptions import MlflowException

from linfit.errors import RecordingError
from linfit.system.atomic_files import find_existing_folder, flush_files, name_file_in_errors
from linfit.system.scratch import temporary_folder
from linfit.tracking.model import ModelFiles, is_own_model, save_model
from linfit.tracking.read.access import contained_file, is_below_cwd, require_named_place
from linfit.tracking.read.history import History
from linfit.tracking.schema import mlflow_names, run_records
from linfit.tracking.schema.limits import format_dataset_schema, require_room
from linfit.tracking.schema.run_records import Amendment, RunRecord
from linfit.tracking.store.addresses import find_folder
from linfit.tracking.store.migrations import require_current
from linfit.tracking.store.retry import as_recording_error, call_with_retry
from linfit.tracking.store.sqlite_files import harden_file
from linfit.tracking.store.store import (
    ARTIFACTS_ADVICE,
    Store,
    ensure_store,
    experiment_folder,
    format_store_command,
    require_artifacts,
)
from linfit.tracking.store.whereabouts import require_not_gone, require_settled
from linfit.tracking.write.caller_run import has_chosen_experiment
from linfit.tracking.write.recorder import call_now

_T = TypeVar("_T")
_Item = TypeVar("_Item")
#: Limits of MLflow's `log_batch`.
METRICS_PER_REQUEST = 1000
PARAMS_PER_REQUEST = 100
TAGS_PER_REQUEST = 100
#: Runs that are sent to a server at once; MLflow keeps ten connections open.
MAX_CONCURRENT_RUNS = 8


class ClientRecorder:
    """Write to `store`, into the MLflow experiment of this name.

    The experiment is created if absent.
    """

    def __init__(self, store: Store, experiment: str) -> None:
        ensure_store(store)
        require_current(store)
        require_settled(store)
        self.store = store
        self.name = experiment
        self._addresses: dict[str, str] = {}
        harden_file(store.file)
        with as_recording_error(store):
            self.client = MlflowClient(tracking_uri=store.uri)
            self.experiment_id = self._send(self._experiment)

    def wait_until_open(self) -> None:
        return None

    def start_run(self, row: RunRecord) -> str:
        run_id = self._create(row)
        self._params(run_id, row.params)
        return run_id

    def resume_run(self, run_id: str, tags: dict[str, str]) -> None:
        self.set_tags(run_id, tags)
        self._send(self.client.update_run, run_id, "RUNNING")

    def end_run(
        self,
        run_id: str,
        row: RunRecord,
        files: Sequence[Path] = (),
        model: ModelFiles | None = None,
    ) -> None:
        with as_recording_error(self.store):
            metrics = [Metric(key, value, row.end, step) for key, value, step in row.metrics]
            for few in split_sequence(metrics, METRICS_PER_REQUEST):
                self._send(self.client.log_batch, run_id, metrics=few)
            self.set_tags(run_id, row.tags)
            if row.dataset is not None:
                self._send(self.client.log_inputs, run_id, [build_dataset_input(row.dataset)])
            self.log_artifacts(run_id, files)
            if model is not None:
                self.log_model(run_id, model)
            self._send(self.client.set_terminated, run_id, row.status, row.end)

    def break_off_run(self, run_id: str, row: RunRecord) -> bool:
        with as_recording_error(self.store):
            if self._send(self.client.get_run, run_id).info.status != "RUNNING":
                return False
        self.end_run(run_id, row)
        return True

    def log_runs(self, rows: Sequence[RunRecord]) -> list[str]:
        return self._each(self._add, rows)

    def log_runs_async(self, rows: Sequence[RunRecord]) -> Future[list[str]]:
        return call_now(self.log_runs, rows)

    def _each(self, call: Callable[[_Item], _T], items: Sequence[_Item]) -> list[_T]:
        """Call for each item in turn, or for several at once if the store is a server.

        A database has only one writer at a time.
        """
        if not self.store.is_server:
            return list(map(call, items))
        with ThreadPoolExecutor(MAX_CONCURRENT_RUNS) as pool:
            futures = [pool.submit(call, item) for item in items]
            try:
                wait(futures, return_when=FIRST_EXCEPTION)
            finally:
                # After an error or Ctrl-C, running calls end and no other starts.
                pool.shutdown(cancel_futures=True)
        return [future.result() for future in futures]

    def _add(self, row: RunRecord) -> str:
        run_id = self.start_run(row)
        # create_run has written the tags.
        self.end_run(run_id, replace(row, tags={}))
        return run_id

    def log_artifacts(self, run_id: str, files: Sequence[Path], folder: str | None = None) -> None:
        if not files:
            return
        copies = [Path(folder or "", file.name) for file in files]
        with as_recording_error(self.store):
            self._require_place(run_id, copies)
            with self._flushed(self._address(run_id), copies):
                for file in files:
                    self._send(self.client.log_artifact, run_id, str(file), folder)

    def _address(self, run_id: str) -> str:
        """Return the address of a run's artifacts; empty if only a server knows it."""
        if self.store.is_server:
            return ""
        if run_id not in self._addresses:
            run = self._send(self.client.get_run, run_id)
            self._addresses[run_id] = str(run.info.artifact_uri or "")
        return self._addresses[run_id]

    def _require_place(self, run_id: str, copies: Sequence[Path]) -> None:
        """Raise RecordingError if files would be written to a place that the user has not named.

        A store holds a place for each run.
        """
        if self.store.names_places:
            return
        address = self._address(run_id)
        require_named_place(self.store, address, f"run {run_id}")
        place = find_folder(address)
        if place is not None:
            for copy in copies:
                contained_file(place, str(copy))

    @contextmanager
    def _flushed(self, address: str, copies: Sequence[Path]) -> Iterator[None]:
        """Flush files that MLflow copies meanwhile to a folder of this machine, if it is one."""
        folder = find_folder(address) if address else None
        if folder is None:
            yield
            return
        top = find_existing_folder(folder)
        yield
        flush_files([folder / copy for copy in copies], top)

    def find_children(self, parent: str, retries: Mapping[int, str] = {}) -> dict[int, str]:
        return self.open_history().find_complete(parent, retries)

    def open_history(self) -> History:
        return History(self.store, self.client, self.experiment_id)

    def set_tags(self, run_id: str, tags: Mapping[str, str]) -> None:
        for few in split_sequence(list(starmap(RunTag, tags.items())), TAGS_PER_REQUEST):
            self._send(self.client.log_batch, run_id, tags=few)

    def amend_runs(self, amendments: Mapping[str, Amendment]) -> None:
        """Amend the runs in order, the last alone after the others."""
        *others, last = amendments.items()
        self._each(self._amend, others)
        self._amend(last)

    def _amend(self, amended: tuple[str, Amendment]) -> None:
        run_id, lacking = amended
        run = self._send(self.client.get_run, run_id)
        metrics = []
        for key, value in lacking.metrics.items():
            if key not in run.data.metrics:
                metrics.append(Metric(key, value, run.info.end_time, 0))
        if metrics:
            self._send(self.client.log_batch, run_id, metrics=metrics)
        self._params(run_id, lacking.params)
        self.set_tags(run_id, lacking.tags)
        if lacking.name not in ("", run.info.run_name):
            self._send(self.client.update_run, run_id, name=lacking.name)

    def experiment_tags(self) -> dict[str, str]:
        return dict(self._send(self.client.get_experiment, self.experiment_id).tags)

    def set_experiment_tags(self, tags: Mapping[str, str]) -> None:
        for key, value in tags.items():
            self._send(self.client.set_experiment_tag, self.experiment_id, key, value)

    def how_to_view(self) -> str:
        if self.store.uri.startswith("http"):
            return f"{self.store}/#/experiments/{self.experiment_id}"
        return format_store_command(self.store)

    def _send(self, call: Callable[..., _T], *arguments: Any, **named: Any) -> _T:
        return call_with_retry(self.store, call, *arguments, **named)

    def _params(self, run_id: str, params: Mapping[str, str]) -> None:
        for few in split_sequence(list(starmap(Param, params.items())), PARAMS_PER_REQUEST):
            self._send(self.client.log_batch, run_id, params=few)

    def _create(self, row: RunRecord) -> str:
        """Return a new run, or the one of an earlier attempt whose answer was lost."""
        attempts = 0

        def create() -> str:
            nonlocal attempts
            attempts += 1
            if attempts > 1 and (found := self.open_history().find_written(row)):
                return found
            run = self.client.create_run(
                self.experiment_id, row.start, {**row.tags, **describe_source()}, row.name
            )
            return str(run.info.run_id)

        return call_with_retry(self.store, create)

    def _experiment(self) -> str:
        """Return the id of the experiment, which is created if absent.

        If several processes create it at once, mlflow.set_experiment would send the runs of all but
        one elsewhere.
        """
        found = self.client.get_experiment_by_name(self.name)
        if found is None:
            folder = experiment_folder(self.store, self.name)
            require_room(self.store, self.name, folder)
            if folder is not None:
                require_artifacts(folder, ARTIFACTS_ADVICE)
            try:
                return self._require_new(self.client.create_experiment(self.name, folder))
            except MlflowException:
                # Another process may have created it first.
                found = self.client.get_experiment_by_name(self.name)
                if found is None:
                    raise
        if found.lifecycle_stage != "active":
            raise RecordingError(
                f"the MLflow experiment {self.name!r} was deleted in {self.store}: "
                "restore it, or choose another with name=…"
            )

        location = str(found.artifact_location or "")
        require_not_gone(self.store, self.name, location)
        if has_chosen_experiment(str(found.experiment_id)) and is_below_cwd(find_folder(location)):
            # The calling program has named the place, by choosing the experiment.
            self.store = replace(self.store, artifacts=location)
        require_named_place(self.store, location, f"the MLflow experiment {self.name!r}")
        require_room(self.store, self.name, location)
        require_artifacts(
            location,
            f"the MLflow experiment {self.name!r} keeps them there: "
            "choose another with name=…, or another store with --uri",
        )
        return str(found.experiment_id)

    def _require_new(self, experiment_id: str) -> str:
        """Return the id of a new experiment; RecordingError if its artifacts are in another working
        directory.

        If no place is named, MLflow takes the working directory in which it first opened a
        database.
        """
        if not self.store.names_places and self.store.file is None:
            location = str(self.client.get_experiment(experiment_id).artifact_location or "")
            require_named_place(self.store, location, f"the MLflow experiment {self.name!r}")
        return experiment_id

    def log_model(self, run_id: str, model: ModelFiles) -> str:
        """Log a model as the run's own, and return its id."""
        logged = self._send(self._logged_model, run_id, model.name)
        require_named_place(self.store, str(logged.artifact_location), f"the model of run {run_id}")
        address = "" if self.store.is_server else logged.artifact_location
        with temporary_folder() as scratch:
            folder = scratch / mlflow_names.MODEL
            with name_file_in_errors(folder):
                save_model(model, folder, run_id, logged.model_id, logged.artifact_location)
            copies = [file.relative_to(folder) for file in folder.rglob("*") if file.is_file()]
            with self._flushed(address, copies):
                self._upload(logged.model_id, folder)
        self._send(self.client.finalize_logged_model, logged.model_id, "READY")
        self._send(self._link, run_id, logged.model_id)
        return str(logged.model_id)

    def _upload(self, model_id: str, folder: Path) -> None:
        """Upload a model; to a server without retries of the whole, which might never succeed.

        MLflow itself retries the request of each file, which does no harm here.
        """
        if not self.store.is_server:
            self._send(self.client.log_model_artifacts, model_id, str(folder))
            return
        with as_recording_error(self.store):
            self.client.log_model_artifacts(model_id, str(folder))

    def _link(self, run_id: str, model_id: str) -> None:
        """Link a model to its run, unless it is linked: MLflow refuses a second link."""
        outputs = self.client.get_run(run_id).outputs
        if outputs is None or model_id not in [model.model_id for model in outputs.model_outputs]:
            self.client.log_outputs(run_id, [LoggedModelOutput(model_id, 0)])

    def _logged_model(self, run_id: str, name: str) -> Any:
        """Return a new model of the run, or the one that it has."""
        condition = f"source_run_id = '{run_id}'"
        logged = self.client.search_logged_models([self.experiment_id], condition)
        found = next(filter(is_own_model, logged), None)
        if found is not None:
            return found
        tags = {mlflow_names.OWN_MODEL: "true"}
        return self.client.create_logged_model(self.experiment_id, name, run_id, tags=tags)


def split_sequence(items: Sequence[Any], size: int) -> Iterator[Sequence[Any]]:
    """Split a sequence into slices of at most `size` items."""
    return (items[start : start + size] for start in range(0, len(items), size))


def build_dataset_input(dataset: run_records.DatasetRecord) -> DatasetInput:
    """Return a dataset as MLflow's input of a run."""
    profile = {
        "num_rows": dataset.rows,
        "num_features": len(dataset.features),
        "num_targets": len(dataset.targets),
    }
    entity = Dataset(
        name=dataset.name,
        digest=dataset.digest,
        source_type="linfit",
        source=json.dumps({"uri": dataset.source}),
        schema=format_dataset_schema((*dataset.features, *dataset.targets)),
        profile=json.dumps(profile),
    )
    return DatasetInput(entity, [InputTag("mlflow.data.context", "training")])


def describe_source() -> dict[str, str]:
    """Return the source tags that MLflow sets itself.

    It sets them on a run that is started in a script.
    """
    try:
        user = getpass.getuser()
    except (OSError, KeyError, ImportError):
        # A container without a user database, or Windows without USERNAME.
        user = "unknown"
    return {"mlflow.user": user, "mlflow.source.name": "linfit", "mlflow.source.type": "LOCAL"}
