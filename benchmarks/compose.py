"""Time the composition of random draws over the choices of nine groups, beside Hydra's own.

    python -m benchmarks.compose [--draws 3000] [--peers 30]

Processor time of one process, because machines are shared. Hydra composes a few of the draws, one
by one; their mean is scaled.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from typing import Any

from linfit.sweeps.compose.compose import resolve_composed
from linfit.sweeps.compose.expansion import JobComposer
from linfit.sweeps.compose.request import compose_sweep, open_request
from linfit.sweeps.plan.enumerate import enumerate_jobs

CHOICES = [
    "dataset=parabola,polynomial,random_linear",
    "features=raw,polynomial",
    "model=linear,tensor",
    "init=normal,zeros,torch_default",
    "loss=mse,sse",
    "gradient=autograd,manual,func_grad",
    "optimizer=sgd,adam,rmsprop,adagrad,adamw",
    "penalty=none,ridge",
    "schedule=none,cosine,step,exponential",
]


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--draws", type=int, default=3000)
    parser.add_argument("--peers", type=int, default=30, help="draws that Hydra composes")
    asked = parser.parse_args()
    arguments = ["-m", *CHOICES, f"hydra.sweeper.sample={asked.draws}"]
    own, enumeration = measure(enumerate_jobs, arguments)
    jobs = [job.overrides for job in enumeration.jobs]
    peer, _ = measure(compose_each, arguments, jobs[: asked.peers])
    print(
        f"{len(jobs):,} draws, {len(set(jobs)):,} distinct, "
        f"over {len(CHOICES)} groups (processor seconds)"
    )
    print(f"  linfit, validated       {own:8.2f}")
    print(
        f"  Hydra, one by one       {peer * len(jobs) / asked.peers:8.2f}  "
        f"scaled from {asked.peers}"
    )


def compose_each(arguments: list[str], jobs: list[tuple[str, ...]]) -> None:
    """Compose jobs as Hydra does."""
    with open_request(arguments) as request:
        expansion = JobComposer(compose_sweep(request), request.loader)
        for job in jobs:
            resolve_composed(expansion.compose_job(job))


def measure(compute: Callable[..., Any], *arguments: Any) -> tuple[float, Any]:
    """Return the processor time of a call, and what it returns."""
    start = time.process_time()
    result = compute(*arguments)
    return time.process_time() - start, result


if __name__ == "__main__":
    main()
