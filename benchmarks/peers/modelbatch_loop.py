"""Fit the sweep with ModelBatch: the models of one optimizer in one vmapped module.

Each run is logged by one log_batch.

python -m benchmarks.peers.modelbatch_loop RUNS
"""

from __future__ import annotations

import sys

import torch
from modelbatch import ModelBatch
from modelbatch.optimizer import OptimizerFactory

from benchmarks.peers.common import (
    OPTIMIZERS,
    RECORDED,
    STEPS,
    Config,
    configs,
    data,
    log,
    open_store,
)


def fit(name: str, members: list[Config]) -> tuple[list[list[float]], list[list[float]]]:
    """The losses at the recorded steps and the weights, for each fit."""
    X = torch.stack([data(seed)[0] for _, _, seed in members])  # [r, n, 2]
    y = torch.stack([data(seed)[1] for _, _, seed in members])  # [r, n, 1]
    batch = ModelBatch([torch.nn.Linear(2, 1, bias=False) for _ in members], shared_input=False)
    optimizer = OptimizerFactory(OPTIMIZERS[name]).create_optimizer(
        batch, [{"lr": lr} for _, lr, _ in members]
    )
    curve, recorded = [], set(RECORDED)
    for step in range(STEPS + 1):
        losses = ((batch(X) - y) ** 2).sum((1, 2))
        if step in recorded:
            curve.append(losses.tolist())
        if step < STEPS:
            optimizer.zero_grad()
            losses.sum().backward()
            optimizer.step()
    return [list(column) for column in zip(*curve, strict=True)], batch.stacked_params["weight"][
        :, 0
    ].tolist()


def main(runs: int) -> None:
    torch.set_num_threads(1)
    client, experiment = open_store()
    for name in OPTIMIZERS:
        members = [config for config in configs(runs) if config[0] == name]
        for config, curve, weights in zip(
            members, *(fit(name, members) if members else ([], [])), strict=True
        ):
            log(client, experiment, config, dict(zip(RECORDED, curve, strict=True)), weights)


if __name__ == "__main__":
    main(int(sys.argv[1]))
