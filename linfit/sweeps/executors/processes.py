"""Fits in worker processes: configs are cut into chunks, and each worker runs one after another.

    configs → chunks of places → a worker runs its chunk as the engine does → (place, fit)

The parent process alone records. Every worker is in a pool of its own: when a worker dies, its
pool breaks, which fails the chunk that it ran and no other (`describe_worker_death`,
`WorkerPool.collect_fits`).
"""

from __future__ import annotations

import os
import re
import sys
import traceback
from collections import deque
from collections.abc import Generator, Hashable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, chdir, nullcontext
from dataclasses import dataclass, fields
from itertools import pairwise
from math import ceil
from pathlib import Path
from typing import Any

from linfit.config import FitConfig
from linfit.engine.fit import Fit, Status
from linfit.engine.listening import ProgressCallback, ignore_progress
from linfit.problem.datasets.arrays import collect_arrays, hold_arrays
from linfit.sweeps.config_files.messages import notify_user
from linfit.sweeps.executors.worker import initialize_worker
from linfit.system.host import (
    SAFE_PATH,
    hold_back_interrupts,
    isolate_children,
    start_trackers,
)
from linfit.system.scratch import ensure_scratch_folder

#: Fewest fits in a chunk: fewer are not worth a process.
MIN_CHUNK = 8
#: Most fits in a chunk: with more, results come later.
MAX_CHUNK = 2048
#: Most fits of the single engine in a chunk, since each takes longer.
MAX_SINGLE_CHUNK = 16
#: Worker processes that may die in a sweep before chunks are given up whole.
MAX_WORKER_DEATHS = 32

FitChunk = list[int]
"""The places of some fits among the configs."""


@dataclass(frozen=True)
class ExecutorSpec:
    """Where the fits of a sweep run."""

    count: int = 1
    """Processes of this machine, or the least number of chunks at a time on a cluster."""
    backend: str = "loky"
    """`loky` for processes of this machine, `dask` or `ray` for a cluster."""
    address: str | None = None
    """The cluster's."""


#: In this process, which needs no other.
IN_PROCESS = ExecutorSpec()


def run_in_workers(
    configs: Sequence[FitConfig], workers: int, report: ProgressCallback = ignore_progress
) -> Generator[tuple[int, Fit], None, None]:
    """Run configs in `workers` processes; yield (place, fit), chunk by chunk.

    The fits have the bits that they have in one process. If a worker dies, its chunk runs again in
    halves until the fit that kills it is alone: that fit is `failed`. Close the iterator to end
    the processes.
    """
    waiting = deque(split_into_chunks(configs, workers))
    pool = WorkerPool(min(workers, len(waiting)))
    try:
        pool.start_idle(waiting, configs)
        while pool.busy:
            for chunk, outcome in pool.wait_for_chunks():
                found = pool.collect_fits(chunk, outcome, configs, waiting)
                # Before the fits are yielded: recording them takes a while.
                pool.start_idle(waiting, configs)
                report(sum(configs[place].steps for place, _ in found), 0)
                yield from found
                del outcome, found
        pool.close_idle()
    finally:
        pool.kill_workers()


def split_into_chunks(configs: Sequence[FitConfig], workers: int) -> list[FitChunk]:
    """Cut the places of all configs into chunks, the largest first.

    There is a chunk for each worker, and no stack is scattered needlessly.
    """
    groups: dict[Hashable, FitChunk] = {}
    for place, config in enumerate(configs):
        groups.setdefault(stack_key(config), []).append(place)
    rounds = ceil(len(configs) / (workers * MAX_CHUNK))
    size = max(MIN_CHUNK, ceil(len(configs) / (workers * rounds or 1)))

    cut = []
    for group in groups.values():
        most = size
        if configs[group[0]].engine.name == "single":
            most = min(MAX_SINGLE_CHUNK, ceil(len(group) / (2 * workers)))
        count = ceil(len(group) / most)
        bounds = [len(group) * i // count for i in range(count + 1)]
        cut += [group[start:stop] for start, stop in pairwise(bounds)]
    return sorted(cut, key=len, reverse=True)


def stack_key(config: FitConfig) -> Hashable:
    """Return what the fits of one stack share.

    Only what is known without their data is compared.
    """
    from linfit.engine.stacked.blocks import identify_component

    parts = (config.engine, config.model, config.loss, config.gradient, config.device)
    return (
        *map(identify_component, parts),
        config.dtype,
        config.threads,
        config.deterministic,
        config.shape(),
    )


class WorkerPool:
    """Worker processes, each idle or busy with a chunk."""

    def __init__(self, count: int) -> None:
        self.idle = [create_worker() for _ in range(count)]
        self.busy: dict[Any, tuple[Any, FitChunk]] = {}
        self.deaths = 0

    def start_idle(self, waiting: deque[FitChunk], configs: Sequence[FitConfig]) -> None:
        """Give every idle worker a chunk, as long as any wait."""
        while self.idle and waiting:
            worker = self.idle.pop()
            chunk = waiting.popleft()
            packed = pack_fits([configs[place] for place in chunk])
            with hold_back_interrupts():  # the first chunk starts the process
                self.busy[worker.submit(run_packed_fits, *packed)] = (worker, chunk)

    def wait_for_chunks(self) -> Iterator[tuple[FitChunk, Any]]:
        """Wait for chunks, and yield those that have ended.

        Each comes with its results, or with the exception that ended it.
        """
        from joblib.externals.loky import wait

        done, _ = wait(list(self.busy), return_when="FIRST_COMPLETED")
        while done:
            future = done.pop()
            worker, chunk = self.busy.pop(future)
            outcome = future.exception()
            if outcome is None:
                outcome = future.result()
            else:  # the worker may be dead, or broken
                worker.shutdown(kill_workers=True)
                worker = create_worker()
            self.idle.append(worker)
            yield chunk, outcome

    def collect_fits(
        self, chunk: FitChunk, outcome: Any, configs: Sequence[FitConfig], waiting: deque[FitChunk]
    ) -> list[tuple[int, Fit]]:
        """Return the fits of a chunk that has ended.

        If its worker died, the halves of the chunk become the first of those that wait, and there
        are no fits yet.
        """
        if not isinstance(outcome, BaseException):
            return unpack(chunk, outcome, configs)
        death = describe_worker_death(outcome)
        if death is None:
            error = "".join(traceback.format_exception(outcome))
            return fail(chunk, error, configs)

        self.deaths += 1
        if len(chunk) > 1 and self.deaths < MAX_WORKER_DEATHS:
            notify_user(
                f"{death} while it ran {len(chunk)} fits, {describe_rows(chunk)}: "
                "they run again, in halves"
            )
            middle = len(chunk) // 2
            waiting.extendleft([chunk[middle:], chunk[:middle]])
            return []
        those = "this fit" if len(chunk) == 1 else f"these {len(chunk)} fits"
        return fail(chunk, f"{death} while it ran {those}", configs)

    def close_idle(self) -> None:
        """Let idle workers end by themselves."""
        while self.idle:
            self.idle.pop().shutdown()

    def kill_workers(self) -> None:
        """End all workers at once, whatever they do."""
        for worker in self.idle:
            worker.shutdown(kill_workers=True)
        for worker, _ in self.busy.values():
            worker.shutdown(kill_workers=True)


def unpack(
    chunk: FitChunk, results: Sequence[tuple[int, dict[str, Any]]], configs: Sequence[FitConfig]
) -> list[tuple[int, Fit]]:
    """Return the fits, with their places, of another process's `run_packed_fits`."""
    fits = []
    for number, result in results:
        place = chunk[number]
        fits.append((place, Fit(config=configs[place], **result)))
    return fits


def fail(chunk: FitChunk, error: str, configs: Sequence[FitConfig]) -> list[tuple[int, Fit]]:
    """Return failed fits, with their places, for a lost chunk."""
    return [(place, Fit(configs[place], Status.FAILED, error=error)) for place in chunk]


def describe_rows(chunk: FitChunk) -> str:
    """Return, in short, which rows of its batch a chunk holds."""
    if len(chunk) <= 8:
        return f"rows {', '.join(map(str, chunk))}"
    return f"rows {chunk[0]}, {chunk[1]} … {chunk[-1]}"


def describe_worker_death(error: BaseException) -> str | None:
    """Return what killed the worker process, None if nothing did."""
    from joblib.externals.loky.process_executor import TerminatedWorkerError

    if not isinstance(error, TerminatedWorkerError):
        return None
    # As in: the exit codes of the workers are {SIGKILL(-9)}
    code = re.search(r"\((-?\d+)\)", str(error))
    if code is None:
        return "the worker process died"
    number = int(code[1])
    cause = f"signal {-number}" if number < 0 else f"exit code {number}"
    return f"the worker process died ({cause})"


def create_worker() -> Any:
    """Return a pool of one process.

    The process starts with its first chunk.
    """
    from joblib.externals.loky import ProcessPoolExecutor

    given = (os.getpid(), str(ensure_scratch_folder()), list(sys.path))
    with isolate_children():
        start_trackers()
        return ProcessPoolExecutor(
            max_workers=1, initializer=initialize_worker, initargs=given, env=SAFE_PATH
        )


def pack_fits(configs: Sequence[FitConfig]) -> tuple[list[dict[str, Any]], dict[str, Any], str]:
    """Pack fits for another process, as plain data.

    The parts are the configs, the numbers of arrays, and the folder where relative paths begin.
    """
    tables = collect_arrays(config.dataset for config in configs)
    return [config.as_dict() for config in configs], tables, str(Path.cwd())


def use_start_folder(folder: str) -> AbstractContextManager[None]:
    """Work in the folder where linfit started, if it exists.

    A cluster's machine may lack it.
    """
    if not Path(folder).is_dir():
        return nullcontext()
    return chdir(folder)


# ---- in the worker process ----


def run_packed_fits(
    data: Sequence[dict[str, Any]], tables: Mapping[str, Any], origin: str = "."
) -> list[tuple[int, dict[str, Any]]]:
    """Run packed fits; return each number with its fit's fields.

    The config is left out: the parent process has it.
    """
    from linfit.engine.dispatch import fit_as_completed
    from linfit.sweeps.compose.compose import load_plugins

    names = [field.name for field in fields(Fit) if field.name != "config"]
    results = []
    try:
        with use_start_folder(origin), hold_arrays(tables):
            for plugins in dict.fromkeys(tuple(fit["plugins"]) for fit in data):
                load_plugins(plugins)
            configs = list(map(FitConfig.model_validate, data))
            for number, fit in fit_as_completed(configs):
                results.append((number, {name: getattr(fit, name) for name in names}))
    except (Exception, SystemExit):  # a plug-in that exits has not fitted anything
        failed = {"status": Status.FAILED, "error": traceback.format_exc()}
        return [(number, failed) for number in range(len(data))]
    return results
