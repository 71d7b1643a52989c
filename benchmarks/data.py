"""Measure what size costs, for data in memory and data larger than memory.

In memory: 1,000 full-batch steps of `gradient=gram`, and the closed form of the same sums, next to
a plain torch loop, numpy's lstsq, scikit-learn's LinearRegression, Ridge and SGDRegressor, and the
floor, one XᵀX and Xᵀy in float64. Streamed: a float32 .npy file next to the floor, the same bytes
read and multiplied in float64, each in a process whose peak memory (VmHWM) is read from outside.
Everything runs in one thread; ratios are medians of those in one round.

    python -m benchmarks.data [--n 1e3,1e5,1e7] [--p 2,10,64,512] [--gigabytes 2] [--stream 1e8]
                              [--repeats 3] [--clock wall|cpu] [--json]

A size that needs more than `--gigabytes` for X is left out, with a message. The streamed file lies
in a temporary folder (TMPDIR).
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
import time
from itertools import product
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory, gettempdir
from typing import Any

from benchmarks.peers.processes import ROOT, ProgramError, python, seconds_of

STEPS, LOOP_STEPS = 1000, 10
#: Features of the streamed file.
STREAMED = 10


def in_memory(n: int, p: int, repeats: int, clock: str) -> dict[str, list[float]]:
    """Return the seconds of every way, round by round.

    Those of the plain loop are scaled to as many steps as the others make.
    """
    measured: dict[str, list[float]] = json.loads(
        seconds_of(python("data", "memory", n, p, repeats, clock), ROOT)[1]
    )
    measured["plain loop"] = [seconds * STEPS / LOOP_STEPS for seconds in measured["plain loop"]]
    return measured


def streamed(n: int, repeats: int, clock: str) -> dict[str, Any]:
    """Seconds and peak megabytes of linfit and of the floor on one file, alternately."""
    found: dict[str, Any] = {"floor": [], "linfit": [], "megabytes": {}}
    with TemporaryDirectory() as folder:
        file = Path(folder) / "data.npy"
        seconds_of(python("data", "write", n, STREAMED, file), ROOT)
        for _ in range(repeats):
            for name, program in (("floor", "floor"), ("linfit", "stream")):
                printed, megabytes = watched(python("data", program, file, clock))
                found[name].append(float(printed))
                found["megabytes"][name] = max(megabytes, found["megabytes"].get(name, 0.0))
    return found


def watched(command: list[str]) -> tuple[str, float]:
    """Return what a process prints, and its peak memory in megabytes.

    The peak is read from the kernel, outside of the process.
    """
    running = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True)
    peak = 0.0
    while running.poll() is None:
        peak = max(peak, _peak(running.pid))
        time.sleep(0.05)
    printed = running.stdout.read() if running.stdout else ""
    if running.returncode:
        raise ProgramError(f"{' '.join(command[1:4])} failed")
    return printed, peak


def _peak(process: int) -> float:
    try:
        lines = Path(f"/proc/{process}/status").read_text().splitlines()
    except OSError:
        return 0.0
    return max(
        (int(line.split()[1]) / 1e3 for line in lines if line.startswith("VmHWM:")), default=0.0
    )


def ratio(ours: list[float], theirs: list[float]) -> float:
    return median(a / b for a, b in zip(ours, theirs, strict=True))


def show(n: int, p: int, measured: dict[str, list[float]]) -> None:
    print(f"\nn = {n:,}, p = {p}, in memory: {8 * n * p / 1e6:,.1f} MB of features")
    notes = {
        "plain loop": f"scaled from {LOOP_STEPS} steps",
        "SGDRegressor": "5 epochs, which end elsewhere",
    }
    for name, seconds in measured.items():
        beside = (
            f"{ratio(seconds, measured['floor']):>9.2f}× floor "
            f"{ratio(seconds, measured['linfit gram']):>9.2f}× linfit gram"
        )
        print(f"  {name:<26}{median(seconds):>12.5f} s {beside}   {notes.get(name, '')}".rstrip())


def show_streamed(n: int, measured: dict[str, Any]) -> None:
    size = 4 * n * (STREAMED + 1)
    print(f"\nn = {n:,}, p = {STREAMED}, streamed: a file of {size / 1e9:.2f} GB, float32")
    for name in ("floor", "linfit"):
        seconds = median(measured[name])
        print(
            f"  {name:<26}{seconds:>12.2f} s {size / 1e6 / seconds:>10.0f} MB/s   "
            f"peak memory {measured['megabytes'][name]:.0f} MB"
        )
    speed = 1 / ratio(measured["linfit"], measured["floor"])
    print(f"linfit runs at {speed:.0%} of the speed at which the file can be read and multiplied")


def numbers(text: str) -> list[int]:
    return [int(float(part)) for part in text.split(",") if part]


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--n", type=numbers, default=[10**3, 10**4, 10**5, 10**6, 10**7])
    parser.add_argument("--p", type=numbers, default=[2, 10, 64, 512])
    parser.add_argument(
        "--gigabytes",
        type=float,
        default=2.0,
        help="of X in float64, above which a size is left out",
    )
    parser.add_argument(
        "--stream",
        type=numbers,
        default=[10**8],
        help="samples of the streamed files; none: --stream ''",
    )
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument(
        "--clock",
        choices=("wall", "cpu"),
        default="wall",
        help="cpu: processor time, on a machine that others use too",
    )
    parser.add_argument("--json", action="store_true")
    arguments = parser.parse_args()
    os.environ |= {f"{library}_NUM_THREADS": "1" for library in ("OPENBLAS", "OMP", "MKL")}
    report: dict[str, Any] = {}
    for n, p in product(arguments.n, arguments.p):
        if 8 * n * p > arguments.gigabytes * 1e9:
            print(
                f"n = {n:,}, p = {p}: left out, X has {8 * n * p / 1e9:.1f} GB "
                f"(--gigabytes {arguments.gigabytes:g})",
                file=sys.stderr,
            )
            continue
        report[f"{n}x{p}"] = measured = in_memory(n, p, arguments.repeats, arguments.clock)
        if not arguments.json:
            show(n, p, measured)
    for n in arguments.stream:
        if shutil.disk_usage(gettempdir()).free < 8 * n * (STREAMED + 1):
            print(f"n = {n:,} streamed: left out, the disk has too little room", file=sys.stderr)
            continue
        report[f"{n}x{STREAMED} streamed"] = measured = streamed(
            n, arguments.repeats, arguments.clock
        )
        if not arguments.json:
            show_streamed(n, measured)
    if arguments.json:
        print(json.dumps(report, indent=1))


if __name__ == "__main__":
    main()
