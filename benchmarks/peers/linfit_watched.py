"""linfit's own command line with a few stopwatches: python -m benchmarks.peers.linfit_watched TIMES.json run -m …

The command runs as ever; some of its functions are wrapped, which costs microseconds. Written are the seconds in each:
composition (every job enumerated, composed, validated and resolved), fitting (the engine, without those who take the fits from
it), tracking (manifest, Parquet tables, MLflow's rows, the parent run, without opening the store), output (the table at the
end), pictures and report (twins, leaderboard, all that is attached to the parent). What is left of the whole process is start-up: the interpreter, imports, Hydra, and creating the store.
"""

from __future__ import annotations

import functools
import gc
import json
import resource
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import linfit.__main__
from linfit.sweeps import beginning, launching, recording, runner, running, ways
from linfit.views import description, illustration, outcome

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
    gc.set_threshold(linfit.__main__.NEW_OBJECTS)
    import mlflow  # noqa: F401  imported later otherwise, within what is timed here
    import torch  # noqa: F401

    for owner, name, phase in (
        (ways, "job_overrides", "composition"),
        (launching, "expand", "composition"),
        (runner, "ready", "composition"),
        (running, "fits_as_done", "fitting"),
        (runner, "account", "tracking"),
        (runner, "begin_sweep", "tracking"),
        (beginning, "recorder_of", "start-up"),
        (recording.Sweep, "add", "tracking"),
        (recording.Sweep, "flush", "tracking"),
        (recording.Sweep, "finish", "tracking"),
        (outcome, "show_outcome", "output"),
        (illustration, "illustrate", "pictures and report"),
        (description, "describe", "pictures and report"),
    ):
        watch(owner, name, phase)
    sys.argv = ["linfit", *arguments]
    try:
        linfit.__main__.main()
    finally:
        spent.pop("start-up", None)
        memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        Path(times).write_text(json.dumps({**spent, "megabytes": memory / (1 if sys.platform != "darwin" else 1024) / 1024}))


if __name__ == "__main__":
    main(*sys.argv[1:])
