"""Fit n samples of p features in several ways, in one thread; the output is JSON.

python -m benchmarks.peers.data memory N P REPEATS CLOCK
    Arrays in memory: seconds of every way, one list each, run alternately.
python -m benchmarks.peers.data write N P FILE
    Write a float32 .npy file of X and y, some rows at a time.
python -m benchmarks.peers.data floor FILE CLOCK
    Read the file and multiply it, AᵀA in float64.
python -m benchmarks.peers.data stream FILE CLOCK
    Fit the same file with linfit: gram, 1,000 steps.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch

import linfit
from linfit.config import FitConfig

STEPS = 1000
#: Steps of the plain loop, whose time is scaled to STEPS, and epochs of SGDRegressor, not scaled.
LOOP_STEPS, EPOCHS = 10, 5
ROWS = 2**14
CLOCKS = {"wall": time.perf_counter, "cpu": time.process_time}
Work = Callable[[], object]


def fit_config(dataset: Any, steps: int = STEPS) -> FitConfig:
    optimizer = {"name": "manual_sgd", "lr": 1e-3}
    return FitConfig.model_validate(
        {
            "dataset": dataset,
            "gradient": "gram",
            "loss": "mse",
            "optimizer": optimizer,
            "steps": steps,
            "dtype": "float64",
        }
    )


def samples(n: int, p: int) -> tuple[Any, Any]:
    stream = np.random.default_rng(0)
    X = stream.standard_normal((n, p))
    return X, X @ np.ones(p) + 0.1 * stream.standard_normal(n)


def plain_loop(X: Any, y: Any) -> Work:
    """Full-batch gradient descent as anyone writes it, in float32."""
    features, targets = torch.from_numpy(X).float(), torch.from_numpy(y).float()[:, None]

    def loop() -> None:
        w = torch.zeros(X.shape[1], 1)
        for _ in range(LOOP_STEPS):
            error = features @ w - targets
            (error**2).mean().item()
            w -= 1e-3 * (2 / len(error)) * (features.T @ error)

    return loop


def ways(n: int, p: int) -> dict[str, Work]:
    """Each way to a fit of the same arrays, which are there already in the form that it takes."""
    from sklearn.linear_model import LinearRegression, Ridge, SGDRegressor

    X, y = samples(n, p)
    Y = y[:, None]
    dataset = linfit.arrays(X, y)
    descent = fit_config(dataset)
    exact = FitConfig.model_validate(
        {**descent.as_dict(), "dataset": dataset, "optimizer": "closed_form", "steps": 1}
    )
    return {
        "floor": lambda: (X.T @ X, X.T @ Y),
        "linfit gram": lambda: checked(descent),
        "linfit gram, closed form": lambda: checked(exact),
        "plain loop": plain_loop(X, y),
        "numpy lstsq": lambda: np.linalg.lstsq(X, y, rcond=None),
        "LinearRegression": lambda: LinearRegression(fit_intercept=False).fit(X, y),
        "Ridge": lambda: Ridge(alpha=1.0, fit_intercept=False).fit(X, y),
        "SGDRegressor": lambda: SGDRegressor(
            fit_intercept=False, max_iter=EPOCHS, tol=None, random_state=0
        ).fit(X, y),
    }


def checked(config: FitConfig) -> object:
    found = linfit.fit(config)
    assert found.error is None, found.error
    return found


def timed(work: Work, clock: str) -> float:
    now = CLOCKS[clock]
    start = now()
    work()
    return now() - start


def memory(n: int, p: int, repeats: int, clock: str) -> dict[str, list[float]]:
    contestants = ways(n, p)
    rounds = [
        {name: timed(work, clock) for name, work in contestants.items()} for _ in range(repeats)
    ]
    return {name: [each[name] for each in rounds] for name in contestants}


def write(n: int, p: int, file: str) -> None:
    stream, weights = np.random.default_rng(0), np.ones(p, dtype=np.float32)
    with Path(file).open("wb") as opened:
        np.lib.format.write_array_header_1_0(
            opened, {"descr": "<f4", "fortran_order": False, "shape": (n, p + 1)}
        )
        for start in range(0, n, 2**20):
            A = stream.standard_normal((min(2**20, n - start), p + 1), dtype=np.float32)
            A[:, p] = 0.1 * A[:, p] + A[:, :p] @ weights
            A.tofile(opened)


def floor(file: str) -> Any:
    """Reading the bytes, and one product of them in float64."""
    shape = np.load(file, mmap_mode="r").shape
    raw, A, gram = (
        np.empty((ROWS, shape[1]), np.float32),
        np.empty((ROWS, shape[1])),
        np.zeros((shape[1], shape[1])),
    )
    with Path(file).open("rb", buffering=0) as opened:
        opened.seek(Path(file).stat().st_size - 4 * shape[0] * shape[1])
        while count := opened.readinto(raw.reshape(-1).view(np.uint8)):  # type: ignore[arg-type]
            rows = count // (4 * shape[1])
            A[:rows] = raw[:rows]
            gram += A[:rows].T @ A[:rows]
    return gram


def stream(file: str) -> object:
    p = np.load(file, mmap_mode="r").shape[1] - 1
    return checked(
        fit_config({"name": "npy", "path": file, "features": f"0:{p}", "target": str(p)})
    )


def main(what: str, *arguments: str) -> None:
    checked(fit_config("random_linear", 10))  # what is loaded when it is first used
    if what == "memory":
        print(
            json.dumps(
                memory(int(arguments[0]), int(arguments[1]), int(arguments[2]), arguments[3])
            )
        )
    elif what == "write":
        write(int(arguments[0]), int(arguments[1]), arguments[2])
    else:
        work = {"floor": floor, "stream": stream}[what]
        print(json.dumps(timed(lambda: work(arguments[0]), arguments[1])))


if __name__ == "__main__":
    main(*sys.argv[1:])
