"""Fits on a dask or ray cluster that is running already, as that library's own tasks.

    configs → chunks of places → a node runs its chunk as the engine does → (place, fit)

This process alone records; no node speaks to MLflow. Both libraries run the chunks of a lost node
again on others. joblib's backends for them are not used: ray's returns no result before the last
chunk is done, so that nothing would be recorded until then. A node needs linfit and the plug-ins
installed, and the data files under the same paths.
"""

from __future__ import annotations

import logging
import socket
import threading
from collections.abc import Callable, Generator, Iterable, Mapping, Sequence
from contextlib import closing, suppress
from importlib import import_module
from queue import Empty, SimpleQueue
from typing import Any
from urllib.parse import urlsplit

from linfit.config import FitConfig
from linfit.engine.fit import Fit
from linfit.engine.listening import ProgressCallback, ignore_progress
from linfit.errors import ConfigError, LinfitError
from linfit.sweeps.config_files.messages import notify_user
from linfit.sweeps.executors import processes
from linfit.sweeps.executors.processes import (
    ExecutorSpec,
    FitChunk,
    describe_rows,
    fail,
    split_into_chunks,
    unpack,
)
from linfit.system.host import quote_words
from linfit.system.log_limits import limit_logging

#: Chunks for each slot, so that nodes of different speeds end together.
CHUNKS_PER_SLOT = 4
#: Seconds in which a scheduler has to answer.
SCHEDULER_TIMEOUT = 10
#: Times that a chunk runs again whose node is lost.
CHUNK_RETRIES = 3
#: Seconds without a result after which dask's cluster is looked at.
SILENT_SECONDS = 5
DASK_LOGGERS = (
    "distributed.client",
    "distributed.core",
    "distributed.comm",
    "tornado.application",
    "asyncio",
)

#: Packed chunks (`processes.pack_fits`), by the chunk's number.
Tasks = dict[int, tuple[list[dict[str, Any]], dict[str, Any], str]]
#: A chunk's number with its results, or with the exception by which the cluster gave it up.
Outcomes = Generator[tuple[int, Any], None, None]

_ONE_AT_A_TIME = threading.Lock()


def run_on_cluster(
    configs: Sequence[FitConfig], where: ExecutorSpec, report: ProgressCallback = ignore_progress
) -> Generator[tuple[int, Fit], None, None]:
    """Run configs on a cluster; yield (place, fit), chunk by chunk.

    The cluster is at `where.address`. The fits have the bits that they have in one process of a
    machine with the same processor and torch. A fit whose chunk the cluster gives up is `failed`.
    Raise ConfigError if the cluster cannot be reached.
    """
    with closing(CLUSTERS[where.backend](where.address)) as cluster:
        slots = max(cluster.count_slots(), where.count)
        cut = split_into_chunks(configs, slots * CHUNKS_PER_SLOT)
        tasks = {}
        for number, chunk in enumerate(cut):
            tasks[number] = processes.pack_fits([configs[place] for place in chunk])
        for number, outcome in cluster.run_tasks(tasks):
            report(sum(configs[place].steps for place in cut[number]), 0)
            yield from unpack_outcome(cut[number], outcome, configs, where.backend)


def unpack_outcome(
    chunk: FitChunk, outcome: Any, configs: Sequence[FitConfig], backend: str
) -> Iterable[tuple[int, Fit]]:
    """Return the fits that a node has run, or failed fits."""
    if not isinstance(outcome, BaseException):
        return unpack(chunk, outcome, configs)
    error = (
        f"the {backend} cluster gave it up with {len(chunk)} fits, {describe_rows(chunk)}: "
        f"{type(outcome).__name__} {_first_line(outcome)}"
    )
    return fail(chunk, error, configs)


def run_on_node(
    data: Sequence[dict[str, Any]], tables: Mapping[str, Any], origin: str
) -> list[tuple[int, dict[str, Any]]]:
    """Run a chunk on a node.

    Chunks run one at a time in each process. A node may have several threads, and torch's settings
    are the process's.
    """
    with _ONE_AT_A_TIME:
        return processes.run_packed_fits(data, tables, origin)


def require_cluster(where: ExecutorSpec) -> None:
    """Raise ConfigError unless the cluster lets this process in.

    This is checked before anything is written.
    """
    _import({"dask": "distributed"}.get(where.backend, where.backend), where.backend)
    if where.address is None:
        if where.backend == "dask":
            raise ConfigError(
                "hydra.launcher.address: null, must be a dask scheduler's: tcp://HOST:8786, "
                "as `dask scheduler` prints it"
            )
        return
    parts = urlsplit(where.address if "://" in where.address else f"//{where.address}")
    try:
        socket.create_connection((parts.hostname or "", parts.port or 0), SCHEDULER_TIMEOUT).close()
    except (OSError, ValueError) as error:
        raise _unreachable(where.backend, where.address, error) from error
    if where.backend == "dask":  # which may want keys
        DaskCluster(where.address).close()


class DaskCluster:
    """The dask scheduler at `address`, such as tcp://10.0.0.1:8786."""

    def __init__(self, address: str | None) -> None:
        self.library = _import("distributed", "dask")
        self.address = address
        try:
            with limit_logging(*DASK_LOGGERS, least=logging.CRITICAL):
                self.client = self.library.Client(
                    address, timeout=SCHEDULER_TIMEOUT, set_as_default=False
                )
        # The last two are raised if only one side has keys.
        except (OSError, ValueError, TypeError, RuntimeError) as error:
            raise _unreachable("dask", str(address), error) from error

    def count_slots(self) -> int:
        """Return the number of threads of the workers."""
        threads = int(sum(self.client.nthreads().values()))
        if not threads:
            raise ConfigError(
                f"the dask scheduler at {self.address} has no workers: "
                f"start some with `dask worker {self.address}`"
            )
        return threads

    def run_tasks(self, tasks: Tasks) -> Outcomes:
        """Run tasks and yield each as soon as it is done."""
        ended: SimpleQueue[Any] = SimpleQueue()
        # A lost scheduler is reported in one line, not in its tracebacks.
        with limit_logging(*DASK_LOGGERS, least=logging.CRITICAL):
            futures = {}
            for number, data in tasks.items():
                futures[
                    self.client.submit(run_on_node, *data, pure=False, retries=CHUNK_RETRIES)
                ] = number
            for future in futures:
                future.add_done_callback(ended.put)
            while futures:
                future = self._take_next(ended)
                if future.status == "cancelled":
                    raise _gone("dask", self.address)
                # Lost with its worker, before it was fetched: the scheduler computes it again.
                if future.status == "lost":
                    future.add_done_callback(ended.put)
                    continue
                error = future.exception()
                yield futures.pop(future), future.result() if error is None else error

    def _take_next(self, ended: SimpleQueue[Any]) -> Any:
        """Wait for a task that has ended, and tell once if the cluster has no worker."""
        told = False
        while True:
            with suppress(Empty):
                return ended.get(timeout=SILENT_SECONDS)
            if self.client.status != "running":
                raise _gone("dask", self.address)
            if not told and not self.client.scheduler_info()["workers"]:
                notify_user(
                    f"the dask scheduler at {self.address} has no workers any more: waiting; "
                    f"start some with `dask worker {self.address}`"
                )
                told = True

    def close(self) -> None:
        """Leave the cluster; tasks that have not ended are cancelled."""
        with limit_logging(*DASK_LOGGERS, least=logging.CRITICAL):
            self.client.close()


class RayCluster:
    """The ray cluster at `address`, HOST:6379.

    None is the cluster that runs on this machine.
    """

    def __init__(self, address: str | None) -> None:
        self.library = _import("ray", "ray")
        self.address = address or "auto"
        try:
            self.library.init(address=self.address, log_to_driver=False, logging_level="ERROR")
        except (ConnectionError, ValueError, RuntimeError) as error:
            if "InvalidAuthToken" in f"{error} {error.__cause__}":
                raise ConfigError(
                    f"the ray cluster at {self.address} asks for a token: "
                    "set RAY_AUTH_MODE=token, and see ray's docs"
                ) from error
            raise _unreachable("ray", self.address, error) from error

    def count_slots(self) -> int:
        """Return the number of CPUs."""
        return max(1, int(self.library.cluster_resources().get("CPU", 1)))

    def run_tasks(self, tasks: Tasks) -> Outcomes:
        """Run tasks and yield each as soon as it is done."""
        remote = self.library.remote(num_cpus=1, max_retries=CHUNK_RETRIES)(run_on_node)
        waiting = {remote.remote(*data): number for number, data in tasks.items()}
        while waiting:
            try:
                [done], _ = self.library.wait(list(waiting), num_returns=1)
            except (self.library.exceptions.RaySystemError, ConnectionError) as error:
                raise _gone("ray", self.address) from error
            yield waiting.pop(done), self._fetch(done)

    def _fetch(self, done: Any) -> Any:
        errors = self.library.exceptions
        try:
            return self.library.get(done)
        # This process's own connection failed, not the task.
        except (errors.RaySystemError, ConnectionError) as error:
            raise _gone("ray", self.address) from error
        except errors.RayError as error:
            return error

    def close(self) -> None:
        """Leave the cluster; tasks that have not ended are ended."""
        self.library.shutdown()


CLUSTERS: dict[str, Callable[[str | None], DaskCluster | RayCluster]] = {
    "dask": DaskCluster,
    "ray": RayCluster,
}


def _import(package: str, extra: str) -> Any:
    try:
        return import_module(package)
    except ModuleNotFoundError as error:
        typed = quote_words(["pip", "install", f"linfit-lab[{extra}]"])
        raise ConfigError(
            f"hydra.launcher.backend={extra} needs a package that is not installed: {typed}"
        ) from error


def _unreachable(backend: str, address: str, error: Exception) -> ConfigError:
    return ConfigError(
        f"hydra.launcher.address: no {backend} cluster answers at {address} "
        f"({_first_line(error)}): start one, or give another address"
    )


def _gone(backend: str, address: str | None) -> LinfitError:
    return LinfitError(
        f"the {backend} cluster at {address} is gone: start it again, or go on elsewhere with "
        "--backend, --address or --workers"
    )


def _first_line(error: BaseException) -> str:
    lines = str(error).strip().splitlines() or [type(error).__name__]
    return lines[0][:200]
