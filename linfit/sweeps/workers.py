"""Fits in several processes: the configs of a sweep are cut into chunks, and each worker process runs one chunk after another.

    configs → chunks of places → a worker runs its chunk as the engine does → (place, fit), in this process, which alone records

Every worker stands in a pool of its own, so that the death of one is known to be the death of its chunk and leaves the others alone.
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
from math import ceil
from pathlib import Path
from typing import Any

from linfit.config import FitConfig
from linfit.engine.fit import Fit, Status
from linfit.engine.listening import Report, unheard
from linfit.problem.arrays import holding, tables_of
from linfit.scratch import scratch_folder
from linfit.sweeps.explanation import notice
from linfit.sweeps.worker import begin
from linfit.system import (
    ISOLATED,
    holding_interrupts_back,
    isolated_children,
    start_trackers,
)

SMALLEST, LARGEST, LARGEST_SINGLE = 8, 2048, 16
"""Fits in a chunk: fewer are not worth a process; with more, results come later. Fits of the single engine take longer."""
MOST_DEATHS = 32
"""Worker processes that may die in a sweep before chunks are given up whole."""

Chunk = list[int]
"""The places of some fits among the configs."""


@dataclass(frozen=True)
class Workers:
    """Where the fits of a sweep run: in `count` processes of this machine (`loky`), or on the dask or ray cluster at `address`."""

    count: int = 1
    backend: str = "loky"
    address: str | None = None


#: In this process, which needs no other.
HERE = Workers()


def fits_in_workers(
    configs: Sequence[FitConfig], workers: int, report: Report = unheard
) -> Generator[tuple[int, Fit], None, None]:
    """Runs fit configs in `workers` processes: each fit with its place among the configs, a chunk as soon as it is done.

    The fits have the bits that they have in one process. Where a worker dies, its chunk runs again in halves until the fit
    that kills it is alone: that fit is `failed`. Close the iterator to end the processes.
    """
    waiting = deque(chunks(configs, workers))
    pool = Pool(min(workers, len(waiting)))
    try:
        pool.start(waiting, configs)
        while pool.busy:
            for chunk, outcome in pool.ended():
                found = pool.settle(chunk, outcome, configs, waiting)
                pool.start(
                    waiting, configs
                )  # before the fits are handed on: recording them takes a while
                report(sum(configs[place].steps for place, _ in found), 0)
                yield from found
                del outcome, found
        pool.close()
    finally:
        pool.kill()


def chunks(configs: Sequence[FitConfig], workers: int) -> list[Chunk]:
    """The places of all configs, cut so that there is a chunk for each worker and no stack is scattered needlessly; the largest first."""
    groups: dict[Hashable, Chunk] = {}
    for place, config in enumerate(configs):
        groups.setdefault(stack_of(config), []).append(place)
    rounds = ceil(len(configs) / (workers * LARGEST))
    size = max(SMALLEST, ceil(len(configs) / (workers * rounds or 1)))
    cut = []
    for group in groups.values():
        alone = configs[group[0]].engine.name == "single"
        most = min(LARGEST_SINGLE, ceil(len(group) / (2 * workers))) if alone else size
        count = ceil(len(group) / most)
        cut += [
            group[len(group) * i // count : len(group) * (i + 1) // count] for i in range(count)
        ]
    return sorted(cut, key=len, reverse=True)


def stack_of(config: FitConfig) -> Hashable:
    """What fits of one stack have in common, as far as it is known before their data are loaded."""
    from linfit.engine.blocks import identity

    shared = (config.engine, config.model, config.loss, config.gradient, config.device)
    return (
        *map(identity, shared),
        config.dtype,
        config.threads,
        config.deterministic,
        config.shape(),
    )


class Pool:
    """Worker processes, each idle or busy with a chunk."""

    def __init__(self, count: int) -> None:
        self.idle = [new_worker() for _ in range(count)]
        self.busy: dict[Any, tuple[Any, Chunk]] = {}
        self.deaths = 0

    def start(self, waiting: deque[Chunk], configs: Sequence[FitConfig]) -> None:
        """Gives every idle worker a chunk, while there are any."""
        while self.idle and waiting:
            worker, chunk = self.idle.pop(), waiting.popleft()
            given = parcel([configs[place] for place in chunk])
            with holding_interrupts_back():  # the first chunk starts the process
                self.busy[worker.submit(run, *given)] = worker, chunk

    def ended(self) -> Iterator[tuple[Chunk, Any]]:
        """Waits, and takes back what has ended: chunks with their results, or with the exception that ended them."""
        from joblib.externals.loky import wait

        done, _ = wait(list(self.busy), return_when="FIRST_COMPLETED")
        while done:
            future = done.pop()
            worker, chunk = self.busy.pop(future)
            error = future.exception()
            if error is not None:  # perhaps it has broken the worker
                worker.shutdown(kill_workers=True)
                worker = new_worker()
            self.idle.append(worker)
            yield chunk, future.result() if error is None else error

    def settle(
        self, chunk: Chunk, outcome: Any, configs: Sequence[FitConfig], waiting: deque[Chunk]
    ) -> list[tuple[int, Fit]]:
        """The fits of a chunk; none yet where its worker died and its halves are put first among those that wait."""
        if not isinstance(outcome, BaseException):
            return [
                (chunk[number], Fit(config=configs[chunk[number]], **result))
                for number, result in outcome
            ]
        died = cause_of_death(outcome)
        if died is None:
            error = "".join(traceback.format_exception(outcome))
        else:
            self.deaths += 1
            if len(chunk) > 1 and self.deaths < MOST_DEATHS:
                notice(
                    f"{died} while it ran {len(chunk)} fits, {rows(chunk)}: they run again, in halves"
                )
                middle = len(chunk) // 2
                waiting.extendleft([chunk[middle:], chunk[:middle]])
                return []
            error = f"{died} while it ran {'this fit' if len(chunk) == 1 else f'these {len(chunk)} fits'}"
        return [(place, Fit(configs[place], Status.FAILED, error=error)) for place in chunk]

    def close(self) -> None:
        """Lets idle workers end by themselves."""
        while self.idle:
            self.idle.pop().shutdown()

    def kill(self) -> None:
        """Ends all workers at once, whatever they do."""
        for worker in [*self.idle, *(worker for worker, _ in self.busy.values())]:
            worker.shutdown(kill_workers=True)


def rows(chunk: Chunk) -> str:
    """Which rows of its batch a chunk holds, in short."""
    return (
        f"rows {', '.join(map(str, chunk))}"
        if len(chunk) <= 8
        else f"rows {chunk[0]}, {chunk[1]} … {chunk[-1]}"
    )


def cause_of_death(error: BaseException) -> str | None:
    """That the worker process died, and of what; None if it did not die."""
    from joblib.externals.loky.process_executor import TerminatedWorkerError

    if not isinstance(error, TerminatedWorkerError):
        return None
    code = re.search(
        r"\((-?\d+)\)", str(error)
    )  # as in: the exit codes of the workers are {SIGKILL(-9)}
    if code is None:
        return "the worker process died"
    number = int(code[1])
    return (
        f"the worker process died ({f'signal {-number}' if number < 0 else f'exit code {number}'})"
    )


def new_worker() -> Any:
    """A pool of one process, which starts with its first chunk."""
    from joblib.externals.loky import ProcessPoolExecutor

    given = os.getpid(), str(scratch_folder()), list(sys.path)
    with isolated_children():
        start_trackers()
        return ProcessPoolExecutor(max_workers=1, initializer=begin, initargs=given, env=ISOLATED)


def parcel(configs: Sequence[FitConfig]) -> tuple[list[dict[str, Any]], dict[str, Any], str]:
    """What another process needs to run the fits, as plain data: their configs, the numbers of arrays, and the folder where paths begin."""
    tables = tables_of(config.dataset for config in configs)
    return [config.as_dict() for config in configs], tables, str(Path.cwd())


def started_in(folder: str) -> AbstractContextManager[None]:
    """Make the folder where linfit was started the working one for a while, where this machine has it."""
    return chdir(folder) if Path(folder).is_dir() else nullcontext()


# ---- in the worker process ----


def run(
    data: Sequence[dict[str, Any]], tables: Mapping[str, Any], origin: str = "."
) -> list[tuple[int, dict[str, Any]]]:
    """Runs the fits that a `parcel` describes: each one's number with the fields of its fit but the config, which the parent has."""
    from linfit.engine.dispatch import fits_as_done
    from linfit.sweeps.composition import load_plugins

    try:
        with started_in(origin), holding(tables):
            for plugins in dict.fromkeys(tuple(fit["plugins"]) for fit in data):
                load_plugins(plugins)
            configs = [FitConfig.model_validate(fit) for fit in data]
            names = [field.name for field in fields(Fit) if field.name != "config"]
            return [
                (number, {name: getattr(fit, name) for name in names})
                for number, fit in fits_as_done(configs)
            ]
    except (Exception, SystemExit):  # a plug-in that exits has not fitted anything
        failed = {"status": Status.FAILED, "error": traceback.format_exc()}
        return [(number, failed) for number in range(len(data))]
