"""Measure what no program of this kind can do without, each in a process of its own.

    python -m benchmarks.peers.floors step
        Import torch and take one step of torch.optim.
    python -m benchmarks.peers.floors imports [step]
        Import torch and mlflow.
    python -m benchmarks.peers.floors like LISTING [MODULE …]
        Import these modules and make 1,001 steps of Adam.
    python -m benchmarks.peers.floors store
        Do the same, and create outputs/mlflow.db.
    python -m benchmarks.peers.floors rows FULL EMPTY
        Write the rows of the store FULL through bare sqlite3 into EMPTY.
    python -m benchmarks.peers.floors arithmetic RUNS
        Do the sweep's arithmetic in bare torch.

The last two print their seconds.
"""

from __future__ import annotations

import sqlite3
import sys
import time
from contextlib import suppress
from importlib import import_module
from pathlib import Path

#: Tables in the order of their foreign keys, each with the condition that finds the rows of some
#: runs. Datasets belong to all runs.
TABLES = {
    "runs": "run_uuid IN runs_now",
    "tags": "run_uuid IN runs_now",
    "params": "run_uuid IN runs_now",
    "metrics": "run_uuid IN runs_now",
    "latest_metrics": "run_uuid IN runs_now",
    "inputs": "destination_id IN runs_now",
    "input_tags": "input_uuid IN (SELECT input_uuid FROM inputs WHERE destination_id IN runs_now)",
}
RUNS_A_TRANSACTION = 500


def rows(full: str, empty: str) -> float:
    """Write the tables' rows, in their order and under MLflow's pragmas.

    One transaction holds 500 runs. Reading the rows is not timed.
    """
    source, target = sqlite3.connect(full), sqlite3.connect(empty, isolation_level=None)
    target.execute("PRAGMA foreign_keys = ON")
    source.execute("CREATE TEMP TABLE runs_now (run_uuid TEXT PRIMARY KEY)")
    ids = source.execute("SELECT run_uuid FROM runs ORDER BY rowid").fetchall()
    target.execute("DELETE FROM experiments")
    target.executemany(
        "INSERT INTO experiments VALUES (?,?,?,?,?,?,?)",
        source.execute("SELECT * FROM experiments").fetchall(),
    )
    seconds = 0.0
    for first in range(0, len(ids), RUNS_A_TRANSACTION):
        source.execute("DELETE FROM runs_now")
        source.executemany(
            "INSERT INTO runs_now VALUES (?)", ids[first : first + RUNS_A_TRANSACTION]
        )
        some = {
            t: source.execute(f"SELECT * FROM {t} WHERE {which} ORDER BY rowid").fetchall()
            for t, which in TABLES.items()
        }
        if first == 0:
            some["datasets"] = source.execute("SELECT * FROM datasets ORDER BY rowid").fetchall()
        start = time.perf_counter()
        target.execute("BEGIN IMMEDIATE")
        for table, records in some.items():
            if records:
                target.executemany(
                    f"INSERT INTO {table} VALUES ({','.join('?' * len(records[0]))})", records
                )
        target.execute("COMMIT")
        seconds += time.perf_counter() - start
    return seconds


def arithmetic(runs: int) -> float:
    """Compute data, products, update rules and the loss at every step.

    Every loss is needed, because divergence is checked at every step.
    """
    import torch

    from benchmarks.peers.common import LRS, OPTIMIZERS, STEPS, data
    from benchmarks.peers.expert import update

    torch.set_num_threads(1)
    start, r = time.perf_counter(), -(-runs // len(OPTIMIZERS))
    X, targets = (
        data(0)[0],
        torch.stack([data(seed)[1][:, 0] for seed in range(-(-r // 2))]).repeat_interleave(2, 0)[
            :r
        ],
    )
    for first in range(0, r, 4096):
        Y = targets[first : first + 4096]
        lr = torch.tensor([LRS[0], LRS[1]]).repeat(-(-len(Y) // 2))[: len(Y), None]
        for name in OPTIMIZERS:
            w = torch.randn(len(Y), 2)
            m, v = torch.zeros_like(w), torch.zeros_like(w)
            for step in range(STEPS):
                error = w @ X.T - Y
                (error * error).sum(1)
                update(name, w, 2 * error @ X, lr, m, v, step + 1)
    return time.perf_counter() - start


def step() -> None:
    """Make the first step of torch.optim.

    It imports torch's compiler, which takes about as long as torch itself.
    """
    import torch

    w = torch.ones(2, requires_grad=True)
    optimizer = torch.optim.Adam([w])
    (w * w).sum().backward()  # type: ignore[no-untyped-call]
    optimizer.step()


def like(listing: str, *more: str) -> None:
    """Import the modules that `listing` names, and `more`, then make the steps.

    The steps are those of the article's fourth level.
    """
    for name in [*Path(listing).read_text(encoding="utf-8").split(), *more]:
        with suppress(ImportError):  # some names stand for no file
            import_module(name)
    steps()


def steps() -> None:
    """Fit two weights to 30 samples by nn.Linear, autograd and torch's Adam.

    Adam is called as a function, which needs no compiler.
    """
    import torch
    from torch.optim.adam import adam

    x = torch.linspace(-2, 2, 30)
    X, y = torch.stack([x**2, torch.ones(30)], dim=1), (2 * x**2 + 3)[:, None]
    model = torch.nn.Linear(2, 1, bias=False)
    mean, square, count = torch.zeros(1, 2), torch.zeros(1, 2), torch.tensor(0.0)
    constants = {"beta1": 0.9, "beta2": 0.999, "lr": 0.01, "weight_decay": 0.0, "eps": 1e-8}
    switches = {"amsgrad": False, "maximize": False, "foreach": False}
    for _ in range(1001):
        model.weight.grad = None
        loss = (model(X) - y).square().sum()
        loss.backward()
        loss.item()
        assert model.weight.grad is not None
        with torch.no_grad():
            adam(
                [model.weight],
                [model.weight.grad],
                [mean],
                [square],
                [],
                [count],
                **constants,
                **switches,
            )


def main(what: str, *arguments: str) -> None:
    if what in ("imports", "store"):
        import mlflow  # noqa: F401
        import torch  # noqa: F401
    if "step" in (what, *arguments):
        step()
    elif what == "like":
        like(*arguments)
    elif what == "store":
        from benchmarks.peers.common import open_store

        open_store()
    elif what == "rows":
        print(rows(*arguments))
    elif what == "arithmetic":
        print(arithmetic(int(arguments[0])))


if __name__ == "__main__":
    main(*sys.argv[1:])
