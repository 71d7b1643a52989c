"""What no program of this kind can do without, each in a process of its own.

    python -m benchmarks.peers.floors step                     # imports torch and takes one step of torch.optim
    python -m benchmarks.peers.floors imports [step]           # imports torch and mlflow
    python -m benchmarks.peers.floors store                    # the same, and creates outputs/mlflow.db
    python -m benchmarks.peers.floors rows FULL EMPTY          # the rows of the store FULL through bare sqlite3 into EMPTY
    python -m benchmarks.peers.floors arithmetic RUNS          # the sweep's arithmetic in bare torch

The last two print their seconds.
"""

from __future__ import annotations

import sqlite3
import sys
import time

#: In the order of their foreign keys, each with what finds the rows that belong to some runs; datasets belong to all.
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
    """The tables' rows, in their order and under MLflow's pragmas, one transaction for 500 runs; reading them is not counted."""
    source, target = sqlite3.connect(full), sqlite3.connect(empty, isolation_level=None)
    target.execute("PRAGMA foreign_keys = ON")
    source.execute("CREATE TEMP TABLE runs_now (run_uuid TEXT PRIMARY KEY)")
    ids = source.execute("SELECT run_uuid FROM runs ORDER BY rowid").fetchall()
    target.execute("DELETE FROM experiments")
    target.executemany("INSERT INTO experiments VALUES (?,?,?,?,?,?,?)", source.execute("SELECT * FROM experiments").fetchall())
    seconds = 0.0
    for first in range(0, len(ids), RUNS_A_TRANSACTION):
        source.execute("DELETE FROM runs_now")
        source.executemany("INSERT INTO runs_now VALUES (?)", ids[first : first + RUNS_A_TRANSACTION])
        some = {t: source.execute(f"SELECT * FROM {t} WHERE {which} ORDER BY rowid").fetchall() for t, which in TABLES.items()}
        if first == 0:
            some["datasets"] = source.execute("SELECT * FROM datasets ORDER BY rowid").fetchall()
        start = time.perf_counter()
        target.execute("BEGIN IMMEDIATE")
        for table, records in some.items():
            if records:
                target.executemany(f"INSERT INTO {table} VALUES ({','.join('?' * len(records[0]))})", records)
        target.execute("COMMIT")
        seconds += time.perf_counter() - start
    return seconds


def arithmetic(runs: int) -> float:
    """Data, products, update rules, and the loss at every step, since divergence is looked for at every step."""
    import torch

    from benchmarks.peers.common import LRS, OPTIMIZERS, STEPS, data
    from benchmarks.peers.expert import update

    torch.set_num_threads(1)
    start, r = time.perf_counter(), -(-runs // len(OPTIMIZERS))
    X, targets = data(0)[0], torch.stack([data(seed)[1][:, 0] for seed in range(-(-r // 2))]).repeat_interleave(2, 0)[:r]
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
    """The first step of torch.optim imports torch's compiler, which takes about as long as torch itself."""
    import torch

    w = torch.ones(2, requires_grad=True)
    optimizer = torch.optim.Adam([w])
    (w * w).sum().backward()  # type: ignore[no-untyped-call]
    optimizer.step()


def main(what: str, *arguments: str) -> None:
    if what in ("imports", "store"):
        import mlflow  # noqa: F401
        import torch  # noqa: F401
    if "step" in (what, *arguments):
        step()
    elif what == "store":
        from benchmarks.peers.common import open_store

        open_store()
    elif what == "rows":
        print(rows(*arguments))
    elif what == "arithmetic":
        print(arithmetic(int(arguments[0])))


if __name__ == "__main__":
    main(*sys.argv[1:])
