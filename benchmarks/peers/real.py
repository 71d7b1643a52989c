"""One way of running r fits on a table of real size, in a process of its own: prints seconds.

    python -m benchmarks.peers.real KIND N P R DTYPE OPTIMIZER LOSS STEPS

KIND is `expert`, `linfit`, `elementwise`, `single`, `autograd` or `sklearn`. What is printed is the
time of a step of all fits, of `sklearn` that of a pass over the rows of all fits, and the form of
products. Only `expert` and `autograd` leave MKL as it is by default.

n samples, p features, r fits.
"""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

#: Fits of those that run one after the other: their time is scaled.
FEW = 3
RATE = 1e-3


def draw(n: int, p: int, loss: str) -> tuple[NDArray[Any], NDArray[Any]]:
    """Return X `[n, p]` and y `[n]`."""
    stream = np.random.default_rng(0)
    X = stream.standard_normal((n, p))
    y = X @ stream.standard_normal(p) + stream.standard_normal(n)
    return X, (y > 0).astype(np.float64) if loss == "logistic" else y


def time_steps(step: Callable[[int], object], steps: int) -> float:
    """Return the seconds of a step, after one that is not timed."""
    step(0)
    start = time.perf_counter()
    for k in range(1, steps + 1):
        step(k)
    return (time.perf_counter() - start) / steps


def run_expert(n: int, p: int, r: int, dtype: str, optimizer: str, loss: str, steps: int) -> float:
    """Return the seconds of a step by one shared product in bare torch, with buffers."""
    import torch

    torch.set_num_threads(1)
    data, targets = draw(n, p, loss)
    kind = getattr(torch, dtype)
    X = torch.tensor(data, dtype=kind)
    y = torch.tensor(targets, dtype=kind)[:, None]
    W = torch.zeros(p, r, dtype=kind)
    rates = torch.linspace(RATE, 2 * RATE, r, dtype=kind)
    eta = torch.empty(n, r, dtype=kind)
    other = torch.empty_like(eta)
    gradient = torch.empty_like(W)
    losses = torch.empty(steps + 1, r, dtype=kind)
    first = torch.zeros_like(W)
    second = torch.zeros_like(W)

    def evaluate(k: int) -> None:
        torch.mm(X, W, out=eta)
        if loss == "mse":
            eta.sub_(y)
            torch.mul(eta, eta, out=other)
            torch.mean(other, 0, out=losses[k])
            torch.mm(X.T, eta, out=gradient)
            gradient.mul_(2 / n)
            return
        losses[k] = torch.nn.functional.softplus(eta).addcmul_(eta, y, value=-1).mean(0)
        torch.sigmoid(eta, out=other)
        other.sub_(y)
        torch.mm(X.T, other, out=gradient)
        gradient.div_(n)

    def step(k: int) -> None:
        evaluate(k)
        if optimizer == "sgd":
            W.sub_(gradient.mul_(rates))
            return
        first.lerp_(gradient, 0.1)
        second.mul_(0.999).addcmul_(gradient, gradient, value=0.001)
        root = (second / (1 - 0.999 ** (k + 1))).sqrt_().add_(1e-8)
        W.sub_(first / (1 - 0.9 ** (k + 1)) / root * rates)

    return time_steps(step, steps)


def run_autograd(
    n: int, p: int, r: int, dtype: str, optimizer: str, loss: str, steps: int
) -> float:
    """Return the seconds of a step of r plain fits, one after the other."""
    import torch

    torch.set_num_threads(1)
    data, targets = draw(n, p, loss)
    kind = getattr(torch, dtype)
    X = torch.tensor(data, dtype=kind)
    y = torch.tensor(targets, dtype=kind)[:, None]
    measure = torch.nn.MSELoss() if loss == "mse" else torch.nn.BCEWithLogitsLoss()
    chosen = torch.optim.SGD if optimizer == "sgd" else torch.optim.Adam
    seconds = 0.0
    for _ in range(FEW):
        W = torch.zeros(p, 1, dtype=kind, requires_grad=True)
        mover = chosen([W], lr=RATE)

        def step(_k: int, W: Any = W, mover: Any = mover) -> None:
            value = measure(X @ W, y)
            mover.zero_grad()
            value.backward()
            mover.step()

        seconds += time_steps(step, steps)
    return seconds / FEW * r


def run_sklearn(n: int, p: int, r: int, dtype: str, optimizer: str, loss: str, steps: int) -> float:
    """Return the seconds of a pass of r fits by SGDRegressor or SGDClassifier, two at a time."""
    from joblib import Parallel, delayed
    from sklearn.linear_model import SGDClassifier, SGDRegressor

    data, targets = draw(n, p, loss)
    common: dict[str, Any] = {"max_iter": 1, "tol": None, "fit_intercept": False, "penalty": None}
    models = [
        SGDRegressor(eta0=RATE, learning_rate="constant", **common)
        if loss == "mse"
        else SGDClassifier(loss="log_loss", eta0=RATE, learning_rate="constant", **common)
        for _ in range(min(r, 8))
    ]
    X = data.astype(dtype)
    y = targets.astype(dtype)

    def fit_all() -> None:
        Parallel(n_jobs=2)(delayed(model.fit)(X, y) for model in models)

    fit_all()  # starts the processes
    start = time.perf_counter()
    fit_all()
    return (time.perf_counter() - start) / len(models) * r


def run_linfit(
    n: int, p: int, r: int, dtype: str, optimizer: str, loss: str, steps: int
) -> tuple[float, str]:
    """Return the seconds of a step of a sweep's fits in the stacked engine, and the form."""
    from linfit.engine.determinism import torch_settings
    from linfit.engine.stacked.blocks import cut_into_blocks, find_optima
    from linfit.engine.stacked.forms import takes_panels
    from linfit.engine.stacked.run import run_block

    configs = make_configs(n, p, r, dtype, optimizer, loss, steps, "stacked")
    seconds = 0.0
    form = "elementwise"
    with torch_settings(configs[0]):
        for block in cut_into_blocks(configs):
            assert isinstance(block, list)
            find_optima(block)
            if takes_panels(block[0].config, (n, p)):
                form = "panels"
            start = time.perf_counter()
            run_block(block)
            seconds += time.perf_counter() - start
    return seconds / (steps + 1), form


def run_single(n: int, p: int, r: int, dtype: str, optimizer: str, loss: str, steps: int) -> float:
    """Return the seconds of a step of r fits in the single engine, one after the other."""
    import linfit

    configs = make_configs(n, p, min(r, FEW), dtype, optimizer, loss, steps, "single")
    fits = linfit.fit(configs)
    measured = [one.step_seconds or 0.0 for one in fits]
    return sum(measured) / len(measured) * r


def make_configs(
    n: int, p: int, r: int, dtype: str, optimizer: str, loss: str, steps: int, engine: str
) -> list[Any]:
    """Return the configs of r fits at different learning rates."""
    import linfit

    X, y = draw(n, p, loss)
    common = {
        "dataset": linfit.arrays(X, y),
        "loss": loss,
        "dtype": dtype,
        "gradient": "manual",
        "init": "zeros",
        "theory": "none",
        "steps": steps,
        "engine": engine,
        "record": {"every": steps},
    }
    first = linfit.FitConfig.model_validate({**common, "optimizer": {"name": optimizer}})
    rates = np.linspace(RATE, 2 * RATE, r).tolist()
    return [
        first.model_copy(
            update={"optimizer": first.optimizer.model_copy(update={"lr": rate})}
        ).resolved(several=True)
        for rate in rates
    ]


def main(kind: str, n: str, p: str, r: str, dtype: str, *rest: str) -> None:
    """Print the seconds, and the form of products."""
    optimizer, loss, steps = rest
    numbers = (int(n), int(p), int(r), dtype, optimizer, loss, int(steps))
    form = "-"
    if kind in ("linfit", "elementwise"):
        if kind == "elementwise":
            os.environ["LINFIT_STACK_PRODUCTS"] = "elementwise"
        seconds, form = run_linfit(*numbers)
    else:
        run = {"expert": run_expert, "autograd": run_autograd}
        run |= {"single": run_single, "sklearn": run_sklearn}
        seconds = run[kind](*numbers)
    print(seconds, form)


if __name__ == "__main__":
    main(*sys.argv[1:])
