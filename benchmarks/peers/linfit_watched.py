"""Run linfit's own command line with a few stopwatches.

python -m benchmarks.peers.linfit_watched TIMES.json run -m …

The command runs as ever; some of its functions are wrapped, which costs microseconds. TIMES.json
gets the seconds in each part:

- composition: every job enumerated, composed, validated and resolved
- fitting: the engine, without those who take the fits from it
- tracking: manifest, Parquet tables, MLflow's rows, the parent run, without opening the store
- output: the table at the end
- pictures and report: twins, leaderboard, all that is attached to the parent

The rest of the whole process is start-up: the interpreter, imports, Hydra, and creating the store.
"""

from __future__ import annotations

import functools
import gc
import json
import re
import resource
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import linfit.__main__
from linfit.tracking.write.background import prestart

gc.set_threshold(linfit.__main__.GC_THRESHOLD)
prestart.prestart_process(sys.argv[2:])  # before anything else is imported, as the command does

from linfit import publication
from linfit.sweeps.executors import executor
from linfit.sweeps.run import (
    launcher,
    sweep_batches,
    sweep_run,
)
from linfit.sweeps.search_space import sweeper
from linfit.tracking.write.background import (
    processes,
    remote,
)
from linfit.views.terminal import outcome

spent: Counter[str] = Counter()
phases: list[str] = []


def within(phase: str, work: Callable[[], Any]) -> Any:
    """The time of `work` counts for `phase`, and not for the phase that it is part of."""
    start = time.perf_counter()
    phases.append(phase)
    try:
        return work()
    finally:
        phases.pop()
        seconds = time.perf_counter() - start
        spent[phase] += seconds  # type: ignore[assignment]
        if phases:
            spent[phases[-1]] -= seconds  # type: ignore[assignment]


def watch(owner: Any, name: str, phase: str) -> None:
    function = getattr(owner, name)

    @functools.wraps(function)
    def watched(*arguments: Any, **options: Any) -> Any:
        result = within(phase, lambda: function(*arguments, **options))
        return iterate(result, phase) if isinstance(result, Iterator) else result

    setattr(owner, name, watched)


def iterate(results: Iterator[Any], phase: str) -> Iterator[Any]:
    end = object()
    while (result := within(phase, lambda: next(results, end))) is not end:
        yield result


def main(times: str, *arguments: str) -> None:
    children = [*prestart._waiting]
    for owner, name, phase in (
        (sweeper, "generate_jobs", "composition"),
        (launcher, "compose_jobs", "composition"),
        (sweep_batches, "resolve_configs", "composition"),
        (executor, "fit_as_completed", "fitting"),
        (sweep_batches, "record_config", "tracking"),
        (sweep_batches, "start_sweep", "tracking"),
        (remote.RemoteRecorder, "wait_until_open", "start-up"),
        (sweep_run.SweepRun, "add", "tracking"),
        (sweep_run.SweepRun, "flush", "tracking"),
        (sweep_run.SweepRun, "finish", "tracking"),
        (outcome, "show_outcome", "output"),
        (publication, "publish_artifacts", "pictures and report"),
        (publication, "publish_description", "pictures and report"),
    ):
        watch(owner, name, phase)
    sys.argv = ["linfit", *arguments]
    try:
        linfit.__main__.main()
    finally:
        spent.pop("start-up", None)
        megabytes = (
            resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
            / (1 if sys.platform != "darwin" else 1024)
            / 1024
        )
        Path(times).write_text(
            json.dumps({**spent, "megabytes": megabytes + sum(map(peak, children))})
        )


def peak(child: processes.ChildProcess) -> float:
    """The megabytes that a process has held at most; 0 where the system does not say so."""
    status = Path(f"/proc/{child.process.pid}/status")
    found = re.search(r"VmHWM:\s*(\d+)", status.read_text()) if status.exists() else None
    return int(found[1]) / 1024 if found else 0.0


if __name__ == "__main__":
    main(*sys.argv[1:])
