"""Watch a long sweep from outside: do memory, open files and the cost of a run grow?

    python -m benchmarks.endurance [--runs 100000] [--steps 10] [--json]

`linfit run -m` runs in a folder of its own. After every tenth of the runs, its resident memory,
open files and processor time are read from /proc (Linux). Processor time per run, unlike seconds,
does not depend on who else uses the machine. Afterwards the store is asked the question of
`--skip-done`, which of all fingerprints are finished, and the same sweep again has to find nothing
to do. Both are timed.
"""

from __future__ import annotations

import argparse
import itertools
import json
import os
import sqlite3
import subprocess
import sys
import time
from contextlib import closing
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory
from typing import Any

from benchmarks.peers.processes import ROOT, ProgramError, folder_size, python, reason, seconds_of

PARTS = 10
PAUSE = 0.2
ENVIRONMENT = {**os.environ, "PYTHONPATH": str(ROOT)}
TICKS = os.sysconf("SC_CLK_TCK")
QUESTION = """
import time
from linfit.sweeps.compose.request import compose
from linfit.sweeps.preflight.checks import find_finished_losses, open_config_recorder
from linfit.sweeps.preflight.checks import resolve_configs
[config] = resolve_configs([compose(["name=endurance"])])
open_config_recorder(config)  # imports, and the store is open
times = []
for _ in range(5):
    start = time.perf_counter()
    found = find_finished_losses(config)
    times.append(time.perf_counter() - start)
print(len(found), sorted(times)[2])
"""


def sweep(runs: int, steps: int) -> list[str]:
    return [
        "run",
        "-m",
        f"seed=range(0,{runs})",
        f"steps={steps}",
        "name=endurance",
        "pictures=false",
        "--json",
    ]


def state(process: int) -> dict[str, float]:
    """Return resident megabytes, open files and processor seconds of a process.

    The processes that it has started count as well.
    """
    children = [
        int(child)
        for file in Path(f"/proc/{process}/task").glob("*/children")
        for child in file.read_text().split()
    ]
    states = [own_state(one) for one in (process, *children)]
    return {key: sum(state[key] for state in states) for key in states[0]}


def own_state(process: int) -> dict[str, float]:
    proc = Path(f"/proc/{process}")
    resident = next(
        line for line in (proc / "status").read_text().splitlines() if line.startswith("VmRSS")
    )
    fields = (proc / "stat").read_text().rpartition(")")[2].split()
    files = len(list((proc / "fd").iterdir()))
    return {
        "megabytes": int(resident.split()[1]) / 1024,
        "files": files,
        "cpu": (int(fields[11]) + int(fields[12])) / TICKS,
    }


def recorded(folder: Path) -> int:
    """How many runs the store has now."""
    try:
        with closing(
            sqlite3.connect(f"file:{folder}/outputs/mlflow.db?mode=ro", uri=True, timeout=60)
        ) as store:
            return int(store.execute("SELECT count(*) FROM runs").fetchone()[0])
    except sqlite3.OperationalError:  # it has not been made yet
        return 0


def watch(folder: Path, runs: int, steps: int) -> list[dict[str, float]]:
    """The state of the sweep's process at every tenth of its runs."""
    seen: list[dict[str, float]] = []
    start = time.perf_counter()
    with (folder / "printed").open("w") as printed, (folder / "said").open("w+") as said:
        process = subprocess.Popen(
            python(None, *sweep(runs, steps)),
            cwd=folder,
            env=ENVIRONMENT,
            stdout=printed,
            stderr=said,
        )
        while process.poll() is None:
            time.sleep(PAUSE)
            count, last = recorded(folder), seen[-1]["runs"] if seen else 1 - runs // PARTS
            if count > 1 and count - last >= runs // PARTS and process.poll() is None:
                seen.append(
                    {"runs": count, "seconds": time.perf_counter() - start, **state(process.pid)}
                )
        if process.returncode:
            said.seek(0)
            raise ProgramError(reason(said.read()))
    return seen


def measure(runs: int, steps: int) -> dict[str, Any]:
    with TemporaryDirectory() as name:
        folder = Path(name)
        seen = watch(folder, runs, steps)
        _, answer = seconds_of([sys.executable, "-c", QUESTION], folder)
        found, seconds = answer.split()
        again, said = seconds_of(python(None, *sweep(runs, steps), "--skip-done"), folder)
        assert json.loads(said) == []
        kilobytes = folder_size(folder) / runs / 1024
    costs = [
        (after["cpu"] - before["cpu"]) / (after["runs"] - before["runs"])
        for before, after in itertools.pairwise(seen)
    ]
    return {
        "seen": seen,
        "costs": costs,
        "found": int(found),
        "question": float(seconds),
        "again": again,
        "kilobytes": kilobytes,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--runs", type=int, default=100_000)
    parser.add_argument("--steps", type=int, default=10)
    parser.add_argument("--json", action="store_true")
    arguments = parser.parse_args()
    report = measure(arguments.runs, arguments.steps)
    print(json.dumps(report, indent=1)) if arguments.json else show(report)


def show(report: dict[str, Any]) -> None:
    print("   runs  seconds  resident MB  open files  processor ms per run since the line above")
    for one, cost in zip(report["seen"], [None, *report["costs"]], strict=True):
        print(
            f"{one['runs']:7.0f}  {one['seconds']:7.0f}  {one['megabytes']:11.0f}  "
            f"{one['files']:10.0f}  {'' if cost is None else f'{cost * 1e3:.2f}'}"
        )
    half = len(report["costs"]) // 2
    print(
        "Cost of a run, median of the second half beside the first: "
        f"{median(report['costs'][half:]) / median(report['costs'][:half]):.2f}×"
    )
    print(
        f"{report['found']} finished fingerprints are looked up in {report['question']:.2f} s; "
        f"--skip-done of the whole sweep: {report['again']:.0f} s"
    )
    print(f"Disk: {report['kilobytes']:.1f} kB a run")


if __name__ == "__main__":
    main()
