"""Fits in a process of their own, and what torch has imported for them; test_eager.py runs it.

Printed as JSON: `loaded`, the settings whose fit, or worker, was the first to import one of
MODULES; `differing`, those whose bits differ where torch.optim's own classes make the steps;
`compiled`, whether torch.compile and fits work beside each other afterwards.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from itertools import product
from typing import Any

import torch

from linfit.config import FitConfig
from linfit.engine.dispatch import fit
from linfit.method import eager
from linfit.method.optimizers import TorchOptimizer
from linfit.sweeps.executors.processes import create_worker, pack_fits, run_packed_fits
from tests.helpers import BATCHES, ENGINES, GRADIENTS, LOSSES, MODELS, OPTIMIZERS, SCHEDULES, config

#: torch's compiler, and what only it needs.
MODULES = ("torch._dynamo", "torch._inductor", "torch.fx.experimental.symbolic_shapes", "sympy")
LOADED = f"[name for name in {MODULES} if name in __import__('sys').modules]"
STEPS = 8


def settings() -> Iterator[dict[str, Any]]:
    """Yield every optimizer and schedule, and gradients with each model, loss, batch and engine."""
    for row in OPTIMIZERS:
        yield from ({"engine": "single", "optimizer": given} for given in row.settings())
    for schedule, row in product(SCHEDULES, OPTIMIZERS):
        if row.lr is not None:
            yield {"engine": "single", "schedule": schedule.plain, "optimizer": row.plain}
    for gradient, model, loss, batch, engine in product(
        GRADIENTS, MODELS, LOSSES, BATCHES, ENGINES
    ):
        if gradient.name == "func_grad" and engine.name != "stacked":
            continue  # torch.func.grad_and_value itself imports the compiler
        if gradient.takes(loss) and (gradient.name, batch.name) != ("gram", "minibatch"):
            groups = {
                "gradient": gradient,
                "model": model,
                "loss": loss,
                "batch": batch,
                "engine": engine,
            }
            yield {name: row.plain for name, row in groups.items()}


def bits(one: FitConfig) -> list[bytes]:
    """Return the losses and weights of a fit, as bytes."""
    done = fit(one)
    assert done.error is None, done.error
    return [done.losses.tobytes(), done.weights.tobytes()]


def loaded_by_worker(configs: list[FitConfig]) -> list[str]:
    """Return those of MODULES that a worker process has imported after it has run the fits."""
    with create_worker() as worker:
        worker.submit(run_packed_fits, *pack_fits(configs)).result()
        found: list[str] = worker.submit(eval, LOADED).result()
    return found


def compiles() -> bool:
    """Train a compiled model by torch.optim.Adam, and say whether a fit still has its bits."""
    torch._dynamo.config.suppress_errors = False
    before = bits(config(engine="single", steps=STEPS))
    weight = torch.ones(2, requires_grad=True)
    optimizer = torch.optim.Adam([weight], lr=0.1)
    loss = torch.compile(lambda w: (w * w).sum(), backend="eager")
    step = torch.compile(optimizer.step, backend="eager")
    for _ in range(2):
        optimizer.zero_grad()
        loss(weight).backward()
        step()
    return bool((weight < 1).all()) and bits(config(engine="single", steps=STEPS)) == before


def main() -> None:
    every = {json.dumps(given): config(steps=STEPS, **given) for given in settings()}
    found: dict[str, list[bytes]] = {}
    loaded: list[str] = []
    for name, one in every.items():
        found[name] = bits(one)
        if not loaded and eval(LOADED):
            loaded = [name]
    if loaded_by_worker(list(every.values())[::9]):
        loaded.append("a worker")
    eager.eager = lambda optimizer: optimizer  # type: ignore[assignment]
    stepped = [
        name
        for name, one in every.items()
        if one.engine.name == "single" and isinstance(one.optimizer, TorchOptimizer)
    ]
    differing = [name for name in stepped if bits(every[name]) != found[name]]
    json.dump(
        {"fits": len(every), "loaded": loaded, "differing": differing, "compiled": compiles()},
        sys.stdout,
    )


if __name__ == "__main__":
    main()
