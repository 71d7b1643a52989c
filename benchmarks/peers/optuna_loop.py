"""Optuna's loop in one process: python -m benchmarks.peers.optuna_loop RUNS"""

from __future__ import annotations

import sys

import optuna
import torch

from benchmarks.peers.common import LRS, OPTIMIZERS, log, open_store, plain_fit


def main(runs: int) -> None:
    torch.set_num_threads(1)
    client, experiment = open_store()
    seeds = list(range(-(-runs // 10)))

    def objective(trial: optuna.Trial) -> float:
        name = trial.suggest_categorical("optimizer", list(OPTIMIZERS))
        lr, seed = (
            trial.suggest_categorical("lr", list(LRS)),
            trial.suggest_categorical("seed", seeds),
        )
        curve, weights = plain_fit(name, lr, seed)
        log(client, experiment, (name, lr, seed), curve, weights.ravel().tolist())
        return float(curve[max(curve)])

    optuna.logging.set_verbosity(optuna.logging.WARNING)
    sampler = optuna.samplers.GridSampler(
        {"optimizer": list(OPTIMIZERS), "lr": list(LRS), "seed": seeds}, seed=0
    )
    optuna.create_study(sampler=sampler).optimize(objective, n_trials=runs)


if __name__ == "__main__":
    main(int(sys.argv[1]))
