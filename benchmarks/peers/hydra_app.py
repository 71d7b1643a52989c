"""A Hydra application with a torch.optim loop and MLflow's client, as most are written.

It composes linfit's own YAML files.

python -m benchmarks.peers.hydra_app -m hydra.searchpath=[file:///…/conf] \\
    optimizer=sgd,adam optimizer.lr=0.001,0.005 seed=0,1
"""

from __future__ import annotations

import hydra
import torch
from omegaconf import DictConfig

from benchmarks.peers.common import log, open_store, plain_fit


@hydra.main(version_base=None, config_path="conf", config_name="app")
def app(config: DictConfig) -> float:
    torch.set_num_threads(1)
    name, lr, seed = config.optimizer.name, config.optimizer.lr, config.seed
    curve, weights = plain_fit(name, lr, seed)
    client, experiment = open_store()
    log(client, experiment, (name, lr, seed), curve, weights.ravel().tolist())
    return float(curve[max(curve)])


if __name__ == "__main__":
    open_store()  # MLflow's own creation of a store is not safe for several processes
    app()
