"""Measure what a block of fits costs more on a dask or ray cluster than in this process.

    python -m benchmarks.clusters [--blocks 32] [--fits 8,64] [--steps 100] [--repeats 5] [--json]

The difference is the way to the cluster and back, and the scheduler's work. Each cluster is
started here, two workers of one thread on loopback, and warmed up; as root in a network namespace
that has nothing else, because ray listens on the machine's own address otherwise. The same blocks
run in this process and on the cluster, in turn. The overhead is
(workers × seconds on the cluster − seconds in this process) / blocks, the median over the turns.
Losses and weights are compared bit by bit. A network adds its own time for the bytes that travel,
which are shown.
"""

from __future__ import annotations

import argparse
import json
import os
import pickle
import secrets
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from importlib.util import find_spec
from statistics import median
from tempfile import NamedTemporaryFile
from typing import Any

from benchmarks.peers.local_cluster import WORKERS
from benchmarks.peers.processes import ROOT, python
from linfit.config import FitConfig
from linfit.sweeps.executors import processes
from linfit.sweeps.executors.clusters import CLUSTERS, Tasks

#: The package that each needs.
NEEDS = {"dask": "distributed", "ray": "ray"}
PATIENCE = 10


@contextmanager
def own_token() -> Iterator[None]:
    """Set a token for the ray clusters that are started here, so that only this program uses them.

    It replaces the user's own token as long as the block runs.
    """
    with NamedTemporaryFile("w") as file:
        file.write(secrets.token_hex(32))
        file.flush()
        before = dict(os.environ)
        os.environ.update(RAY_AUTH_MODE="token", RAY_AUTH_TOKEN_PATH=file.name)
        try:
            yield
        finally:
            os.environ.clear()
            os.environ.update(before)


@contextmanager
def cluster(backend: str) -> Iterator[str]:
    """The address of a cluster on loopback; its processes have ended afterwards."""
    command = python("local_cluster", backend)
    with subprocess.Popen(
        command,
        cwd=ROOT,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    ) as process:
        assert process.stdin is not None and process.stdout is not None
        address = process.stdout.readline().strip()
        if not address:
            raise SystemExit(f"no {backend} cluster came up: {' '.join(command)} says why")
        try:
            yield address
        finally:
            process.stdin.close()


def isolate(arguments: list[str]) -> None:
    """Restart the command in namespaces of its own, which end with all their processes.

    Return if the namespaces may not be made.
    """
    if os.getuid() != 0 or not shutil.which("unshare") or not shutil.which("ip"):
        return
    again = [sys.executable, "-m", "benchmarks.clusters", "--inside", *arguments]
    os.chdir(ROOT)
    inside = [
        "--net",
        "--pid",
        "--fork",
        "--kill-child",
        "--mount-proc",
        "sh",
        "-c",
        'ip link set lo up && exec "$@"',
        "sh",
    ]
    os.execvp("unshare", ["unshare", *inside, *again])


def blocks_of(count: int, fits: int, steps: int) -> Tasks:
    """`count` blocks of as many fits each, as they travel."""
    configs = [
        FitConfig(seed=seed, steps=steps).resolved(several=True) for seed in range(count * fits)
    ]
    return {
        number: processes.pack_fits(configs[number * fits : (number + 1) * fits])
        for number in range(count)
    }


def here(tasks: Tasks) -> tuple[float, dict[int, Any]]:
    start = time.perf_counter()
    results: dict[int, Any] = {
        number: processes.run_packed_fits(*data) for number, data in tasks.items()
    }
    return time.perf_counter() - start, results


def there(running: Any, tasks: Tasks) -> tuple[float, dict[int, Any]]:
    start = time.perf_counter()
    results = dict(running.run(tasks))
    seconds = time.perf_counter() - start
    assert not [error for error in results.values() if isinstance(error, BaseException)]
    return seconds, results


def bits(results: dict[int, Any]) -> dict[int, Any]:
    return {
        number: [
            (place, fit["path"].losses.tobytes(), fit["path"].weights.tobytes())
            for place, fit in sorted(block, key=lambda pair: pair[0])
        ]
        for number, block in results.items()
    }


def measure(running: Any, tasks: Tasks, repeats: int) -> dict[str, Any]:
    there(running, tasks)  # imports, connections
    here(tasks)
    turns = [(here(tasks), there(running, tasks)) for _ in range(repeats)]
    local, remote = turns[0][0][1], turns[0][1][1]
    return {
        "here": median(mine for (mine, _), _ in turns) / len(tasks),
        "there": median(theirs for _, (theirs, _) in turns) / len(tasks),
        "overhead": median(WORKERS * theirs - mine for (mine, _), (theirs, _) in turns)
        / len(tasks),
        "sent": len(pickle.dumps(tasks[0])),
        "returned": len(pickle.dumps(remote[0])),
        "same bits": bits(local) == bits(remote),
    }


def wait_for_workers(running: Any) -> None:
    deadline = time.monotonic() + PATIENCE
    while running.slots() < WORKERS and time.monotonic() < deadline:
        time.sleep(0.1)


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--blocks", type=int, default=32)
    parser.add_argument(
        "--fits",
        type=lambda text: [int(size) for size in text.split(",")],
        default=[8, 64],
        help="fits in a block",
    )
    parser.add_argument("--steps", type=int, default=100)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--inside", action="store_true", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if not arguments.inside:
        isolate(sys.argv[1:])
    report: dict[str, dict[int, Any]] = {}
    for backend, package in NEEDS.items():
        if find_spec(package) is None:
            print(
                f"{backend}: left out, not installed: pip install 'linfit-lab[{backend}]'",
                file=sys.stderr,
            )
            continue
        with (
            own_token(),
            cluster(backend) as address,
            closing(CLUSTERS[backend](address)) as running,
        ):
            wait_for_workers(running)
            report[backend] = {
                fits: measure(
                    running, blocks_of(arguments.blocks, fits, arguments.steps), arguments.repeats
                )
                for fits in arguments.fits
            }
    print(json.dumps(report, indent=1)) if arguments.json else show(report, arguments)


def show(report: dict[str, dict[int, Any]], arguments: argparse.Namespace) -> None:
    print(
        f"ms per block of so many fits of {arguments.steps} steps; "
        f"{arguments.blocks} blocks, {WORKERS} workers, {arguments.repeats} turns"
    )
    print(
        "backend  fits  this process  cluster, wall  overhead per block  "
        "kB sent  kB back  same bits"
    )
    for backend, sizes in report.items():
        for fits, one in sizes.items():
            times = (
                f"{one['here'] * 1e3:12.1f}  {one['there'] * 1e3:13.1f}  "
                f"{one['overhead'] * 1e3:18.1f}"
            )
            print(
                f"{backend:<7}  {fits:4}  {times}  {one['sent'] / 1e3:7.0f}  "
                f"{one['returned'] / 1e3:7.0f}  {'yes' if one['same bits'] else 'NO'}"
            )


if __name__ == "__main__":
    main()
