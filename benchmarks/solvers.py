"""Measure paths of penalties: 100 strengths × 5 folds to an excess of 1e-6 of the initial one.

Logistic regression with a ridge penalty beside scikit-learn's newton-cholesky and lbfgs, cold and
warm, and lasso beside LassoCV, lasso_path and skglm; one thread each, in one process. The
excess of every fit of every solver is computed from the known optimum. A solver of another library
gets the largest power of ten as tolerance with which all of its fits are within the goal. Fits
whose optimum is 0 are left out: their excess is 0 from the start.

linfit's fits are one stack in this process, and record nothing. Its time is that of the steps, with
the excess by which they stop; the time to load the folds and to find the optima is beside it.

    python -m benchmarks.solvers [--problems …] [--methods …] [--repeats 3] [--clock wall|cpu]
                                 [--json]
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from statistics import median
from typing import Any

import numpy as np
import torch
from threadpoolctl import threadpool_limits

import linfit
from benchmarks.peers.solvers import LASSO, LOGISTIC, Array, PathSolver, fit_lasso_cv, quietly
from linfit.config import FitConfig
from linfit.engine.determinism import torch_settings
from linfit.engine.fit import Fit
from linfit.engine.stacked.blocks import cut_into_blocks, find_optima
from linfit.engine.stacked.run import run_block
from linfit.problem.theory.sparse.path import LassoPaths

STRENGTHS, FOLDS = 100, 5
GOAL = 1e-6
#: Tolerances that other libraries are given, until all of their fits reach the goal.
TOLERANCES = [10.0**-k for k in range(4, 13)]
#: Less never suffices: lbfgs measures gradients, which are small where the curvature is.
LBFGS_TOLERANCES = TOLERANCES[2:]
#: Samples of the call before the clock starts.
WARM_UP = 100
CLOCKS = {"wall": time.perf_counter, "cpu": time.process_time}


@dataclass(frozen=True)
class Question:
    """A path of fits: the data, the strengths from strong to weak, and who solves it."""

    X: Array
    y: Array
    strengths: Array
    base: dict[str, Any]
    methods: dict[str, dict[str, Any]]
    peers: dict[str, PathSolver]

    def select(self, names: Sequence[str] | None) -> Question:
        """Return the question to these of linfit's methods, to all if None."""
        if names is None:
            return self
        return replace(
            self, methods={name: one for name, one in self.methods.items() if name in names}
        )

    def configs(self, method: dict[str, Any]) -> list[FitConfig]:
        """Return the fits of linfit: all strengths of the first fold, then of the next."""
        common = {
            "dataset": linfit.arrays(self.X, self.y),
            "init": "zeros",
            "dtype": "float64",
            "stop": {"excess_loss": GOAL},
            "record": {"every": 10**6},
            **self.base,
            **method,
        }
        folds = [{"name": "kfold", "k": FOLDS, "fold": fold} for fold in range(FOLDS)]
        found = []
        for fold in folds:
            first = FitConfig.model_validate({**common, "split": fold})
            for strength in self.strengths.tolist():
                penalty = first.penalty.model_copy(update={"strength": strength})
                found.append(first.model_copy(update={"penalty": penalty}))
        return found


def classes(n: int, p: int) -> tuple[Array, Array]:
    rng = np.random.default_rng(0)
    X = rng.standard_normal((n, p))
    eta = X @ rng.standard_normal(p) * 3 / np.sqrt(p)
    return X, (rng.random(n) < 1 / (1 + np.exp(-eta))).astype(float)


def breast_cancer() -> tuple[Array, Array]:
    from sklearn.datasets import load_breast_cancer

    X, y = load_breast_cancer(return_X_y=True)
    return (X - X.mean(axis=0)) / X.std(axis=0), y.astype(float)


def ask_logistic(X: Array, y: Array, methods: dict[str, dict[str, Any]]) -> Question:
    """Ask for C from 1e-4 to 1e4, as LogisticRegressionCV does."""
    strengths = 1 / (np.geomspace(1e-4, 1e4, STRENGTHS) * len(X) * (1 - 1 / FOLDS))
    base = {"loss": "logistic", "penalty": {"name": "ridge", "strength": 1.0}}
    return Question(X, y, strengths, base, methods, LOGISTIC)


def ask_lasso(n: int, p: int) -> Question:
    """Ask for a thousandth to the whole of the strength at which 0 is optimal, as LassoCV does."""
    rng = np.random.default_rng(0)
    X = rng.standard_normal((n, p))
    y = X[:, :20] @ rng.standard_normal(20) + rng.standard_normal(n)
    strengths = np.geomspace(1, 1e-3, STRENGTHS) * 2 * np.abs(X.T @ y).max() / n
    base = {
        "loss": "mse",
        "penalty": {"name": "lasso", "strength": 1.0},
        "gradient": "gram",
        "steps": 5000,
    }
    methods = {name: {"optimizer": name} for name in ("fista", "homotopy")}
    return Question(X, y, strengths, base, methods, LASSO)


NEWTON = {"newton": {"optimizer": "newton", "steps": 100}}
QUESTIONS: dict[str, Callable[[], Question]] = {
    "logistic, 569 × 30": lambda: ask_logistic(*breast_cancer(), NEWTON),
    "logistic, 10,000 × 50": lambda: ask_logistic(*classes(10_000, 50), NEWTON),
    "lasso, 569 × 200": lambda: ask_lasso(569, 200),
    "lasso, 10,000 × 200": lambda: ask_lasso(10_000, 200),
}


@dataclass(frozen=True)
class Measured:
    """Seconds of a solver, and the largest excess of its fits as a part of the initial one."""

    seconds: float
    excess: float
    note: str = ""


def run_stacked(configs: list[FitConfig], clock: Callable[[], float]) -> tuple[list[Fit], Measured]:
    """Return the fits of linfit, and what their steps took."""
    done: dict[int, Fit] = {}
    started = clock()
    fitting = 0.0
    for block in cut_into_blocks([config.resolved(several=True) for config in configs]):
        assert isinstance(block, list), block
        with torch_settings(block[0].config), np.errstate(over="ignore", invalid="ignore"):
            find_optima(block)
            begun = clock()
            done.update(run_block(block).build_fits())
            fitting += clock() - begun
    fits = [done[index] for index in range(len(configs))]
    known = clock() - started - fitting
    excess = max(measure_excess(one, one.weights[:, 0]) for one in fits)
    note = f"folds and optima {known:.2f} s"
    return fits, Measured(fitting, excess, note)


def follow_paths(fits: list[Fit], clock: Callable[[], float]) -> Measured:
    """Return what the method of these fits takes alone, from the folds' R and Xᵀy."""
    begun = clock()
    weights = []
    for fold in fold_fits(fits):
        optimum = fold[0].optimum
        assert optimum is not None and optimum.moments is not None
        mask = np.ones(len(optimum.weights))
        paths = LassoPaths(optimum.root, optimum.moments, mask)
        for fit in fold:
            assert fit.optimum is not None
            paths.count_steps(fit.optimum.level, sys.maxsize)
            weights.append(paths.find_weights(fit.optimum.level, sys.maxsize)[:, 0])
    seconds = clock() - begun
    return Measured(seconds, max(map(measure_excess, fits, weights)), "no engine, no folds")


def fold_fits(fits: list[Fit]) -> list[list[Fit]]:
    """Return the fits of each fold."""
    return [fits[first : first + STRENGTHS] for first in range(0, len(fits), STRENGTHS)]


def measure_excess(fit: Fit, weights: Array) -> float:
    """Return the excess of weights `[p]` as a part of that of 0; 0 where 0 is the optimum."""
    assert fit.optimum is not None
    if not fit.optimum.weights.any():
        return 0.0
    both = np.stack([weights, np.zeros_like(weights)])[:, :, None]
    excess, initial = fit.optimum.excess_loss(both)
    return float(excess / initial)


def measure_path(
    solve: PathSolver,
    question: Question,
    fits: list[Fit],
    tolerances: Sequence[float],
    clock: Callable[[], float],
) -> tuple[Measured, float]:
    """Return what a solver takes at the largest tolerance that suffices, and that tolerance."""
    held_out = [fit.held_out for fit in fits[:: len(question.strengths)]]
    folds = [
        (np.delete(question.X, rows, axis=0), np.delete(question.y, rows)) for rows in held_out
    ]
    X, y = question.X[:WARM_UP], question.y[:WARM_UP]
    quietly(partial(solve, X, y, question.strengths[:2], tolerances[0]))  # imports, and compiles
    measured = Measured(np.nan, np.nan)
    tol = np.nan
    for tol in tolerances:
        begun = clock()
        found = []
        for X, y in folds:
            found += list(quietly(partial(solve, X, y, question.strengths, tol)))
        seconds = clock() - begun
        excess = max(map(measure_excess, fits, found))
        measured = Measured(seconds, excess, f"tol {tol:.0e}")
        if excess <= GOAL:
            break
    return measured, tol


def measure_lasso_cv(
    question: Question, fits: list[Fit], tol: float, clock: Callable[[], float]
) -> Measured:
    """Return what LassoCV takes with the tolerance that lasso_path, which it calls, needs."""
    everything = np.arange(len(question.X))
    held_out = [fit.held_out for fit in fits[:: len(question.strengths)]]
    folds = [(np.setdiff1d(everything, rows), rows) for rows in held_out]
    X, y = question.X, question.y
    begun = clock()
    quietly(partial(fit_lasso_cv, X, y, question.strengths, folds, tol))
    return Measured(clock() - begun, np.nan, f"tol {tol:.0e}, with scores and a sixth path")


def answer(question: Question, clock: Callable[[], float]) -> dict[str, Measured]:
    """Return what each solver takes, once."""
    found = {}
    fits: list[Fit] = []
    for name, method in question.methods.items():
        fits, found[f"linfit {name}"] = run_stacked(question.configs(method), clock)
        tell(f"linfit {name}", found[f"linfit {name}"])
        if name == "homotopy":
            found["paths of homotopy"] = follow_paths(fits, clock)
            tell("paths of homotopy", found["paths of homotopy"])
    for name, solve in question.peers.items():
        tolerances = LBFGS_TOLERANCES if "lbfgs" in name else TOLERANCES
        try:
            found[name], tol = measure_path(solve, question, fits, tolerances, clock)
        except ModuleNotFoundError as missing:
            print(f"{name} is left out: {missing}", file=sys.stderr)
            continue
        tell(name, found[name])
        if name == "lasso_path":
            found["LassoCV"] = measure_lasso_cv(question, fits, tol, clock)
    return found


def tell(name: str, measured: Measured) -> None:
    """Tell what was measured, since all of it may take minutes."""
    print(f"{name}: {measured}", file=sys.stderr, flush=True)


def show(name: str, rounds: list[dict[str, Measured]]) -> None:
    """Print medians, and the ratio to linfit's best method."""
    seconds = {key: median(one[key].seconds for one in rounds) for key in rounds[0]}
    best = min(value for key, value in seconds.items() if key.startswith("linfit"))
    print(f"\n{name}: {STRENGTHS} strengths × {FOLDS} folds")
    for key, value in seconds.items():
        last = rounds[-1][key]
        reached = "" if np.isnan(last.excess) else f"excess ≤ {last.excess:.1e}"
        line = f"  {key:<24}{value:>9.2f} s{value / best:>9.2f}×   {reached:<20}{last.note}"
        print(line.rstrip(), flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--problems", nargs="+", choices=QUESTIONS, default=list(QUESTIONS))
    parser.add_argument("--methods", nargs="+", metavar="METHOD", help="those of linfit, by name")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument(
        "--clock", choices=CLOCKS, default="wall", help="cpu: on a machine that others use too"
    )
    parser.add_argument("--json", action="store_true")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    report: dict[str, Any] = {}
    with threadpool_limits(1):
        for name in arguments.problems:
            question = QUESTIONS[name]().select(arguments.methods)
            clock = CLOCKS[arguments.clock]
            rounds = [answer(question, clock) for _ in range(arguments.repeats)]
            report[name] = [{key: vars(value) for key, value in one.items()} for one in rounds]
            if not arguments.json:
                show(name, rounds)
    if arguments.json:
        print(json.dumps(report, indent=1))


if __name__ == "__main__":
    main()
