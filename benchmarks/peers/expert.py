"""Fit the sweep as an expert would by hand, and log each run by one log_batch.

All weights are in one tensor, and the update rules are written in torch.

python -m benchmarks.peers.expert RUNS [LOGGED]

Prints the seconds that logging the first LOGGED runs took.
"""

from __future__ import annotations

import sys
import time

import torch
from torch import Tensor

from benchmarks.peers.common import (
    LRS,
    OPTIMIZERS,
    RECORDED,
    STEPS,
    Config,
    configs,
    data,
    log,
    open_store,
)


def update(name: str, w: Tensor, g: Tensor, lr: Tensor, m: Tensor, v: Tensor, step: int) -> None:
    """Make one step of torch.optim's defaults, in place, for all fits of one optimizer.

    w, g, m and v are `[r, 2]`, lr is `[r, 1]`.
    """
    if name == "sgd":
        w -= lr * g
    elif name == "rmsprop":
        v.mul_(0.99).addcmul_(g, g, value=0.01)
        w -= lr * g / (v.sqrt() + 1e-8)
    elif name == "adagrad":
        v.addcmul_(g, g)
        w -= lr * g / (v.sqrt() + 1e-10)
    else:
        if name == "adamw":
            w *= 1 - lr * 0.01
        m.lerp_(g, 0.1)
        v.mul_(0.999).addcmul_(g, g, value=0.001)
        w -= lr * (m / (1 - 0.9**step)) / ((v / (1 - 0.999**step)).sqrt() + 1e-8)


def fit(name: str, members: list[Config]) -> tuple[Tensor, Tensor]:
    """All fits of one optimizer at once; the recorded losses `[r, k]` and the weights `[r, 2]`."""
    seeds = {seed: data(seed) for _, _, seed in members}
    # [n, 2] and [r, n]
    X, Y = seeds[0][0], torch.stack([seeds[seed][1][:, 0] for _, _, seed in members])
    w = torch.stack(
        [torch.randn(2, generator=torch.Generator().manual_seed(seed)) for _, _, seed in members]
    )
    lr = torch.tensor([[lr] for _, lr, _ in members])
    m, v, curve, recorded = torch.zeros_like(w), torch.zeros_like(w), [], set(RECORDED)
    for step in range(STEPS + 1):
        error = w @ X.T - Y
        if step in recorded:
            curve.append((error**2).sum(1))
        if step < STEPS:
            update(name, w, 2 * error @ X, lr, m, v, step + 1)
    return torch.stack(curve, 1), w


def main(runs: int, logged: int) -> None:
    torch.set_num_threads(1)
    groups = {
        name: [config for config in configs(runs) if config[0] == name] for name in OPTIMIZERS
    }
    fits = {name: fit(name, members) for name, members in groups.items()}
    client, experiment = open_store()
    start = time.perf_counter()
    for i, config in enumerate(configs(logged)):
        curves, weights = fits[config[0]]
        row = i // (len(OPTIMIZERS) * len(LRS)) * len(LRS) + i % len(LRS)
        log(
            client,
            experiment,
            config,
            dict(zip(RECORDED, curves[row].tolist(), strict=True)),
            weights[row].tolist(),
        )
    print(time.perf_counter() - start)


if __name__ == "__main__":
    main(int(sys.argv[1]), int(sys.argv[-1]))
