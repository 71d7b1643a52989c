"""Whole processes, timed from outside, and what they leave behind."""

from __future__ import annotations

import ctypes
import itertools
import os
import resource
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import closing, suppress
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
Command = list[str]
#: The number of this option of Linux's prctl.
PR_SET_CHILD_SUBREAPER = 36


class ProgramError(RuntimeError):
    """A program that is not installed, or did not do what it should; the message says which."""


def python(program: str | None, *arguments: object) -> Command:
    """A program of `peers/`, or linfit's command line, in this interpreter."""
    start = ["-m", "linfit"] if program is None else ["-m", f"benchmarks.peers.{program}"]
    return [sys.executable, *start, *map(str, arguments)]


@dataclass(frozen=True)
class Spent:
    """Seconds that a whole process took, on the clock and of processor time.

    Processor time includes that of all processes that it started.
    """

    wall: float
    cpu: float


def seconds_of(command: Command, folder: Path) -> tuple[float, str]:
    """Return the wall time of the whole process in `folder`, and its output.

    Raise ProgramError with the last line that the process wrote, if it fails.
    """
    start = time.perf_counter()
    printed = run(command, folder, ROOT)
    return time.perf_counter() - start, printed


def spent_by(command: Command, folder: Path, source: Path | None = None) -> Spent:
    """Return what a process in `folder` takes, with the packages of the checkout `source`.

    Raise ProgramError if the process fails.
    """
    adopt_orphans()
    start, before = time.perf_counter(), resource.getrusage(resource.RUSAGE_CHILDREN)
    run(command, folder, source or ROOT)
    wall = time.perf_counter() - start
    with suppress(ChildProcessError):  # raised when there are no more
        while True:
            os.wait()
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return Spent(wall, after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime)


def adopt_orphans() -> None:
    """Become the parent of processes whose own parent has ended, so that their time counts.

    Only Linux can.
    """
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(PR_SET_CHILD_SUBREAPER, 1)


def run(command: Command, folder: Path, source: Path) -> str:
    """Run a process to its end and return its output.

    Raise ProgramError with the last line that the process wrote, if it fails.
    """
    path = os.pathsep.join(filter(None, [str(source), os.environ.get("PYTHONPATH")]))
    environment = {
        key: value for key, value in os.environ.items() if not key.startswith("MLFLOW_")
    } | {"PYTHONPATH": path}
    done = subprocess.run(
        command, cwd=folder, env=environment, capture_output=True, text=True, check=False
    )
    if done.returncode:
        raise ProgramError(reason(done.stderr))
    return done.stdout


def reason(stderr: str) -> str:
    """Return the line in which a program says why it failed.

    It is the last line that is not Hydra's advice to ask for more.
    """
    lines = [
        line
        for line in stderr.strip().splitlines()
        if line.strip() and "HYDRA_FULL_ERROR" not in line
    ]
    return lines[-1].strip() if lines else "no message"


def require(peer: str) -> None:
    """ProgramError unless the package that a peer needs is installed."""
    module, package = PACKAGES.get(peer, ("hydra", "hydra-core"))
    if find_spec(module) is None:
        raise ProgramError(f"the package {package} is not installed: pip install {package}")


def finished_runs(folder: Path) -> int:
    """How many runs of the store are FINISHED and have a loss at the last step."""
    with closing(sqlite3.connect(folder / "outputs" / "mlflow.db")) as store:
        query = (
            "SELECT count(*) FROM runs JOIN latest_metrics USING (run_uuid) "
            "WHERE status = 'FINISHED' AND key = 'loss' AND step = 1000"
        )
        return int(store.execute(query).fetchone()[0])


def folder_size(folder: Path) -> int:
    """Bytes of what a program has left in `outputs/` and `multirun/`."""
    return sum(file.stat().st_size for file in folder.rglob("*") if file.is_file())


def hydra(count: int, *more: str) -> Command:
    """Return the command of the Hydra application for `count` fits of the same sweep.

    Hydra takes values crossed, so seeds and optimizers make up the number.
    """
    optimizers = list(
        itertools.islice(("sgd", "adam", "adamw", "rmsprop", "adagrad"), 2 if count < 10 else 5)
    )
    crossed = [
        f"optimizer={','.join(optimizers)}",
        "optimizer.lr=0.001,0.005",
        f"seed=range(0,{count // (2 * len(optimizers))})",
    ]
    return python("hydra_app", "-m", f"hydra.searchpath=[file://{ROOT / 'conf'}]", *crossed, *more)


#: The module that a peer needs beside what linfit needs, and the package that it is in.
PACKAGES = {
    "joblib": ("hydra_plugins.hydra_joblib_launcher", "hydra-joblib-launcher"),
    "optuna": ("optuna", "optuna"),
    "modelbatch": ("modelbatch", "modelbatch"),
}

PEERS: dict[str, Callable[[int], Command]] = {
    "hydra": lambda count: hydra(count),
    "joblib": lambda count: hydra(count, "hydra/launcher=joblib", "hydra.launcher.n_jobs=2"),
    "optuna": lambda count: python("optuna_loop", count),
    "modelbatch": lambda count: python("modelbatch_loop", count),
}
