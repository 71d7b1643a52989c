"""Measure a step of a sweep on tables of real size, beside an expert's shared product.

The expert multiplies X by a matrix with a column a fit, in bare torch with buffers, and computes
every fit's loss at each step. It has MKL's default setting, and a process of its own, as all ways
have; one thread each. `autograd` and `single` are plain fits in torch and linfit's single engine,
one after the other: a few are timed, and scaled. `sklearn` is SGDRegressor or SGDClassifier in two
processes; its time is that of a pass over the rows. Ways take turns, and the best of `--repeats`
counts.

    python -m benchmarks.real [--sizes …] [--repeats 3] [--ways …] [--json]
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
from collections.abc import Iterator, Sequence
from itertools import product
from typing import Any

#: (n, p, r)
SIZES = (
    (30, 2, 10_000),
    (442, 10, 1_000),
    (2_000, 20, 500),
    (20_000, 50, 64),
    (1_000_000, 50, 16),
)
DTYPES = ("float32", "float64")
OPTIMIZERS = ("sgd", "adam")
LOSSES = ("mse", "logistic")
WAYS = ("expert", "linfit", "elementwise", "single", "autograd", "sklearn")
#: Multiplications of all steps of one measurement, about; and fewest and most steps.
WORK = 4e9
FEWEST, MOST = 3, 200
#: Numbers n·p·r above which the elementwise form, and one fit after the other, are left out.
TOO_LARGE = {"elementwise": 2e8, "sklearn": 2e8}


def count_steps(n: int, p: int, r: int) -> int:
    """Return the steps of one measurement."""
    return int(max(FEWEST, min(MOST, WORK / (n * p * r))))


def measure(way: str, size: tuple[int, int, int], *rest: str) -> tuple[float, str]:
    """Return seconds of a step, and the form of products, of a process of its own."""
    environment = {name: value for name, value in os.environ.items() if name != "MKL_CBWR"}
    numbers = [*map(str, size), *rest, str(count_steps(*size))]
    ran = subprocess.run(
        [sys.executable, "-W", "ignore", "-m", "benchmarks.peers.real", way, *numbers],
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    if ran.returncode:
        sys.exit(f"{way} {numbers}: {ran.stderr}")
    seconds, form = ran.stdout.split()
    return float(seconds), form


def compare(chosen: argparse.Namespace) -> Iterator[dict[str, Any]]:
    """Yield the times of all ways, case by case."""
    sizes = [tuple(map(int, size.split("x"))) for size in chosen.sizes]
    for size, dtype, optimizer, loss in product(sizes, DTYPES, chosen.optimizers, LOSSES):
        n, p, r = size
        ways = [way for way in chosen.ways if n * p * r <= TOO_LARGE.get(way, float("inf"))]
        best: dict[str, float] = {}
        form = "-"
        for _ in range(chosen.repeats):
            for way in ways:
                seconds, found = measure(way, (n, p, r), dtype, optimizer, loss)
                best[way] = min(seconds, best.get(way, seconds))
                if way == "linfit":
                    form = found
        case = {"n": n, "p": p, "r": r, "dtype": dtype, "optimizer": optimizer, "loss": loss}
        yield {**case, "form": form, "seconds": best}


def main() -> None:
    """Print a row a case: the expert's milliseconds a step, and the others' over them."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    usual = ["x".join(map(str, size)) for size in SIZES]
    parser.add_argument("--sizes", nargs="*", default=usual, metavar="NxPxR")
    parser.add_argument("--optimizers", nargs="*", default=OPTIMIZERS, choices=OPTIMIZERS)
    parser.add_argument("--ways", nargs="*", default=WAYS, choices=WAYS)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--json", action="store_true")
    chosen = parser.parse_args()
    others = [way for way in chosen.ways if way != "expert"]
    if not chosen.json:
        columns = "".join(f"{way:>13}" for way in others)
        print(f"{'n × p × fits':<20}{'':<26}{'form':<13}{'expert':>10}{columns}   (× the expert)")
    for case in compare(chosen):
        print(json.dumps(case) if chosen.json else describe(case, others), flush=True)


def describe(case: dict[str, Any], others: Sequence[str]) -> str:
    """Return a case as a row of the table."""
    seconds = case["seconds"]
    size = f"{case['n']:,} × {case['p']} × {case['r']:,}"
    kind = f"{case['dtype']} {case['optimizer']} {case['loss']}"
    row = f"{size:<20}{kind:<26}{case['form']:<13}{1e3 * seconds['expert']:7.2f} ms"
    for way in others:
        ratio = f"{seconds[way] / seconds['expert']:.2f}" if way in seconds else "–"
        row += f"{ratio:>13}"
    return row


if __name__ == "__main__":
    main()
