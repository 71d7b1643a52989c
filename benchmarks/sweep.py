"""Measure what a sweep costs, from the shell to readable in MLflow, next to its peers and floors.

The fits are those of five torch optimizers at two learning rates, as many seeds as the size asks
for, 1,000 steps each on the parabola, losses recorded at about 40 steps. Every time is that of a
whole process which finds no store; afterwards the finished runs whose loss at the last step is
recorded are counted in the store.

    python -m benchmarks.sweep [--sizes 100,1000,10000,100000]
                               [--peers all|none|hydra,joblib,optuna,modelbatch,expert] [--json]
    python -m benchmarks.sweep --before FOLDER [--sizes 100,1000] [--repeats 5]

linfit and the floors run at full size. The peers run `--peer-runs` fits, and a tenth of them,
before and after all else, and the mean of their cost per run is scaled; the expert's script fits
all and logs some. `peers/` holds each program; `peers/linfit_watched.py` says how linfit's time is
split. With `--before` only linfit and another checkout of it are measured, in turn.
"""

from __future__ import annotations

import argparse
import json
import shutil
import sys
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory
from typing import Any

from benchmarks.peers.checkouts import find_checkout, measure_both, show_both
from benchmarks.peers.processes import (
    PEERS,
    ProgramError,
    finished_runs,
    folder_size,
    python,
    require,
    seconds_of,
)
from benchmarks.peers.tables import show, show_startup

LEAST_FITS = 4
EXPERT_LOGS = 200


def sweep_arguments(size: int) -> list[str]:
    assert size % 10 == 0, "sizes are multiples of ten: five optimizers at two learning rates"
    optimizers, lrs = "optimizer=sgd,adam,adamw,rmsprop,adagrad", "optimizer.lr=0.001,0.005"
    return ["run", "-m", optimizers, lrs, f"seed=range(0,{size // 10})", "name=sweep", "steps=1000"]


def linfit(size: int, folder: Path, empty: int, *settings: str) -> dict[str, Any]:
    """The sweep through linfit: seconds, split, with disk per run and peak memory."""
    shutil.rmtree(folder / "outputs", ignore_errors=True)
    seconds, _ = seconds_of(
        python("linfit_watched", "times.json", *sweep_arguments(size), *settings), folder
    )
    if (count := finished_runs(folder)) != size:
        raise ProgramError(f"{count} of {size} runs can be read")
    split = json.loads((folder / "times.json").read_text())
    megabytes = split.pop("megabytes")
    split = {"start-up": seconds - sum(split.values()), **split}
    return {
        "seconds": seconds,
        "split": split,
        "megabytes": megabytes,
        "disk": (folder_size(folder) - empty) / size,
    }


def floors(size: int, folder: Path, empty: Path) -> dict[str, float]:
    """Return the seconds of each floor.

    The floors are the same rows in bare sqlite3, the same arithmetic in bare torch, and the imports
    with a new store.
    """
    copy = folder / "copy.db"
    shutil.copyfile(empty, copy)
    rows = float(
        seconds_of(python("floors", "rows", folder / "outputs" / "mlflow.db", copy), folder)[1]
    )
    copy.unlink()
    arithmetic = float(seconds_of(python("floors", "arithmetic", size), folder)[1])
    with TemporaryDirectory() as fresh:
        store = seconds_of(python("floors", "store"), Path(fresh))[0]
    return {"imports and store": store, "rows": rows, "arithmetic": arithmetic}


def peer(name: str, runs: int) -> dict[str, float]:
    """Measure a peer at `runs` fits and at a tenth of them.

    Return the seconds of the larger, and those of each added run.
    """
    seconds, disk = [], 0.0
    few = max(LEAST_FITS, runs // 10)
    for count in (few, runs):
        with TemporaryDirectory() as name_of_folder:
            folder = Path(name_of_folder)
            seconds.append(seconds_of(PEERS[name](count), folder)[0])
            if (found := finished_runs(folder)) != count:
                raise ProgramError(f"{found} of {count} runs can be read")
            disk = folder_size(folder)
    return {
        "seconds": seconds[1],
        "runs": runs,
        "per run": (seconds[1] - seconds[0]) / (runs - few),
        "disk": disk,
    }


def expert(size: int, empty: int) -> dict[str, float]:
    """The expert's script: all fits, the first of them logged, the others' logging scaled."""
    logged = min(size, EXPERT_LOGS)
    with TemporaryDirectory() as folder:
        whole, printed = seconds_of(python("expert", size, logged), Path(folder))
        if (found := finished_runs(Path(folder))) != logged:
            raise ProgramError(f"{found} of {logged} runs can be read")
        disk = (folder_size(Path(folder)) - empty) / logged
    return {
        "seconds": whole + (size - logged) * float(printed) / logged,
        "logged": logged,
        "disk": disk,
    }


def startup(repeats: int) -> dict[str, float]:
    """Medians of whole processes, run alternately, on a store that is there."""
    programs = {
        "linfit run steps=1 tracking=none": python(
            None, "run", "steps=1", "tracking=none", "pictures=false"
        ),
        "import torch": [sys.executable, "-c", "import torch"],
        "the same, and a step of torch.optim": python("floors", "step"),
        "linfit run steps=1, with its pictures": python(None, "run", "steps=1"),
        "linfit run steps=1 pictures=false": python(None, "run", "steps=1", "pictures=false"),
        "import torch, mlflow": python("floors", "imports"),
        "the same, and a step of torch.optim ": python("floors", "imports", "step"),
    }
    with TemporaryDirectory() as folder:
        # The first run makes the store.
        seconds_of(programs["linfit run steps=1, with its pictures"], Path(folder))
        rounds = [
            [seconds_of(program, Path(folder))[0] for program in programs.values()]
            for _ in range(repeats)
        ]
    return {
        name: median(times) for name, times in zip(programs, zip(*rounds, strict=True), strict=True)
    }


def measure_peers(names: list[str], runs: int, empty: int) -> dict[str, dict[str, float]]:
    measured: dict[str, dict[str, float]] = {}
    for name in names:
        try:
            require(name)
            measured[name] = peer(name, runs)
            measured[name]["disk"] = (measured[name]["disk"] - empty) / runs
        except ProgramError as error:
            print(f"{name}: left out, {error}", file=sys.stderr)
    return measured


def measure(sizes: list[int], peers: list[str], peer_runs: int, repeats: int) -> dict[str, Any]:
    with TemporaryDirectory() as temporary:
        fresh = Path(temporary)
        seconds_of(python("floors", "store"), fresh)
        empty, empty_size = fresh / "outputs" / "mlflow.db", folder_size(fresh)
        report: dict[str, Any] = {"startup": startup(repeats), "peers": {}, "sizes": {}}
        chosen = [name for name in peers if name in PEERS]
        before = measure_peers(chosen, peer_runs, empty_size)
        for size in sizes:
            with TemporaryDirectory() as folder:
                bare = linfit(size, Path(folder), empty_size, "pictures=false")["seconds"]
                one: dict[str, Any] = {
                    "linfit": {**linfit(size, Path(folder), empty_size), "without pictures": bare}
                }
                one["floors"] = floors(size, Path(folder), empty)
            if "expert" in peers:
                one["expert"] = expert(size, empty_size)
            report["sizes"][size] = one
            print(f"{size} runs: {one['linfit']['seconds']:.1f} s", file=sys.stderr)
        # The machine may have become faster or slower meanwhile.
        after = measure_peers(chosen, peer_runs, empty_size)
        report["peers"] = {
            name: {key: (one[key] + after[name][key]) / 2 for key in one}
            for name, one in before.items()
            if name in after
        }
    return report


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument(
        "--sizes",
        type=lambda text: [int(size) for size in text.split(",")],
        default=[100, 1000, 10_000, 100_000],
    )
    parser.add_argument(
        "--peer-runs", type=int, default=40, help="fits that the peers run, beside a tenth of them"
    )
    parser.add_argument(
        "--peers", default="all", help=f"all, none, or some of {','.join(PEERS)},expert"
    )
    parser.add_argument(
        "--repeats",
        type=int,
        default=5,
        help="of the start-up times, whose median is taken, or of the sweeps of --before",
    )
    parser.add_argument(
        "--before",
        type=find_checkout,
        help="a folder with another checkout, to measure instead of all else",
    )
    parser.add_argument("--json", action="store_true")
    arguments = parser.parse_args()
    if arguments.peer_runs < 2 * LEAST_FITS:
        parser.error(
            f"--peer-runs {arguments.peer_runs}: the cost per run is the difference to "
            f"{LEAST_FITS} runs; give {2 * LEAST_FITS} or more"
        )
    if any(size < 10 or size % 10 for size in arguments.sizes):
        parser.error("--sizes: multiples of ten, for five optimizers at two learning rates")
    peers = {"all": [*PEERS, "expert"], "none": []}.get(arguments.peers, arguments.peers.split(","))
    if unknown := [name for name in peers if name not in (*PEERS, "expert")]:
        parser.error(f"--peers {','.join(unknown)}: there are {', '.join(PEERS)}, expert")
    if arguments.before is not None:
        compare_checkouts(arguments.sizes, arguments.before, arguments.repeats)
        return
    report = measure(arguments.sizes, peers, arguments.peer_runs, arguments.repeats)
    if arguments.json:
        print(json.dumps(report, indent=1))
        return
    show_startup(report["startup"])
    for size, one in report["sizes"].items():
        show(size, one, report["peers"])
    marginal(report["sizes"])


def compare_checkouts(sizes: list[int], before: Path, repeats: int) -> None:
    """Print what a sweep of each size takes with this checkout and with another one."""
    for size in sizes:
        show_both(size, measure_both(sweep_arguments(size), size, before, repeats))


def marginal(sizes: dict[int, Any]) -> None:
    """What an added run costs between two sizes, beside the floor of its own rows."""
    for (less, small), (more, large) in zip(
        list(sizes.items())[:-1], list(sizes.items())[1:], strict=True
    ):
        ours = (large["linfit"]["seconds"] - small["linfit"]["seconds"]) / (more - less)
        rows = (large["floors"]["rows"] - small["floors"]["rows"]) / (more - less)
        print(
            f"An added run between {less} and {more}: {ours * 1e3:.2f} ms, "
            f"its rows in bare sqlite3 {rows * 1e3:.2f} ms: {ours / rows:.2f}×"
        )


if __name__ == "__main__":
    main()
