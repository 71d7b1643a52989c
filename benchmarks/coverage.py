"""Do the leaderboard's intervals hold, and is "told apart" wrong as seldom as it says?

Sweeps of methods whose true means are known are drawn at random, and the leaderboard's own code
reports on them. `python -m benchmarks.coverage` prints the tables of benchmarks/README.md in a
minute or two.

r sweeps, k methods, n seeds.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray

from linfit.views.analysis.ranking import MeasuredSettings, count_pairs, measure_settings
from linfit.views.analysis.statistics import CONFIDENCE

Array = NDArray[np.float64]
#: Draws log₁₀ of excess losses of a shape; their mean is 0 and their standard deviation 1.
Draw = Callable[[Generator, tuple[int, ...]], Array]

SEEDS = (3, 5, 10, 30)
METHODS = (2, 3, 6, 10, 20)
#: The standard deviation of log₁₀ of the excess loss over seeds, where methods differ.
SIGMA = 0.5
#: Seeds of one method draw the same data: so much of the variance is common to all methods.
SHARED = 0.3
#: Values held in memory at once.
MOST_VALUES = 2**22


def draw_contaminated(random: Generator, shape: tuple[int, ...]) -> Array:
    """Draw normal values, one in ten of them five times as wide."""
    wide = np.where(random.random(shape) < 0.1, 5.0, 1.0)
    return np.asarray(random.normal(size=shape) * wide / np.sqrt(0.9 + 0.1 * 25))


def draw_log_gamma(random: Generator, shape: tuple[int, ...]) -> Array:
    """Draw the logarithm of χ² with one degree of freedom: the excess loss of one weight."""
    psi, trigamma = -1.2703628454614782, 4.934802200544679  # of log χ²₁, and π²/2
    return np.asarray((np.log(random.chisquare(1, shape)) - psi) / np.sqrt(trigamma))


def draw_exponential(random: Generator, shape: tuple[int, ...]) -> Array:
    """Draw logarithms with an exponential tail upwards: excess losses have a Pareto tail."""
    return random.exponential(size=shape) - 1.0


SHAPES: dict[str, Draw] = {
    "log-normal": lambda random, shape: random.normal(size=shape),
    "log-gamma": draw_log_gamma,
    "log-exponential": draw_exponential,
    "contaminated": draw_contaminated,
}


@dataclass(frozen=True)
class Found:
    """Shares of sweeps."""

    every: float
    """In which the intervals of all factors hold."""
    wrong: float
    """In which a method is told apart from the first though both are equal."""
    right: float
    """In which the second is told apart from the first."""


def draw_sweeps(random: Generator, draw: Draw, sweeps: int, means: Array, seeds: int) -> Array:
    """Draw log₁₀ of excess losses `[r, k, n]` around the methods' `means` `[k]`."""
    common = draw(random, (sweeps, 1, seeds)) * np.sqrt(SHARED)
    own = draw(random, (sweeps, len(means), seeds)) * np.sqrt(1 - SHARED)
    return np.asarray(means[:, None] + SIGMA * (common + own))


def report(logs: Array, means: Array, pairs: int) -> Found:
    """Return how often the leaderboard's statements on sweeps `[r, k, n]` are true."""
    order = np.argsort(np.median(logs, axis=-1), axis=-1)  # [r, k]
    ranked = np.take_along_axis(logs, order[..., None], axis=-2)
    truth = means[order]
    measured = measure_settings(ranked, np.full_like(ranked, -np.inf), pairs)
    factors = check_intervals(measured.factors, truth - truth[:, :1])
    apart = tell_apart(measured)
    return Found(
        every=float(factors.all(axis=-1).mean()),
        wrong=float((apart & (truth == truth[:, :1])).any(axis=-1).mean()),
        right=float(apart[:, 1].mean()),
    )


def check_intervals(intervals: Array, truth: Array) -> NDArray[np.bool_]:
    """Return which of the intervals `[r, k, 2]` hold the true means `[r, k]`."""
    slack = 1e-12  # of the first's own factor, which is 1 exactly
    return (intervals[..., 0] <= truth + slack) & (truth <= intervals[..., 1] + slack)


def tell_apart(measured: MeasuredSettings) -> NDArray[np.bool_]:
    """Return which methods `[r, k]` are told apart from the first."""
    return np.nan_to_num(measured.p, nan=1.0) < 1 - CONFIDENCE


def simulate(draw: Draw, sweeps: int, means: Array, seeds: int, seed: int = 0) -> Found:
    """Return what `report` finds of so many sweeps, in pieces that fit in memory."""
    random = np.random.default_rng(seed)
    piece = max(1, min(sweeps, MOST_VALUES // (len(means) * seeds)))
    sizes = [piece] * (sweeps // piece)
    pairs = count_pairs(range(len(means)))
    found = [report(draw_sweeps(random, draw, size, means, seeds), means, pairs) for size in sizes]
    return Found(*np.mean([list(vars(one).values()) for one in found], axis=0).tolist())


def simulate_tuned(sweeps: int, settings: int, seeds: int, seed: int = 0) -> Found:
    """Return the same of three equal methods, each at the best of its settings on these seeds."""
    random = np.random.default_rng(seed)
    methods = [str(method) for method in range(3) for _ in range(settings)]
    logs = draw_sweeps(random, SHAPES["log-normal"], sweeps, np.zeros(len(methods)), seeds)
    own = logs.reshape(sweeps, 3, settings, seeds)
    best = np.median(own, axis=-1).argmin(axis=-1)
    chosen = np.take_along_axis(own, best[..., None, None], axis=2)[:, :, 0]
    return report(chosen, np.zeros(3), count_pairs(methods))


def main() -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--sweeps", type=int, default=20_000, help="simulated sweeps of each line")
    sweeps = parser.parse_args().sweeps
    print_equal("log-normal", sweeps, METHODS)
    for name in list(SHAPES)[1:]:
        print_equal(name, sweeps, (2, 6, 20))
    print("\nthree equal methods, each at the best of several settings on the seeds reported on")
    print(f"{'settings':>8} {'seeds':>6} {'all hold':>9} {'told apart':>11}")
    for settings in (1, 5, 20):
        for seeds in (3, 5):
            print_line(settings, seeds, simulate_tuned(sweeps // 4, settings, seeds))
    print("\none method a factor 10 before the others: another told apart from it, by seeds")
    print(f"{'methods':>8} " + " ".join(f"{seeds:>6}" for seeds in SEEDS))
    for methods in METHODS:
        means = np.array([-1.0] + [0.0] * (methods - 1))
        rights = [simulate(SHAPES["log-normal"], sweeps, means, seeds).right for seeds in SEEDS]
        print(f"{methods:>8} " + " ".join(f"{right:>6.1%}" for right in rights))


def print_equal(name: str, sweeps: int, methods: tuple[int, ...]) -> None:
    """Print what is found of equal methods."""
    print(f"\nequal methods, {name} excess losses")
    print(f"{'methods':>8} {'seeds':>6} {'all hold':>9} {'told apart':>11}")
    for k in methods:
        for seeds in SEEDS:
            print_line(k, seeds, simulate(SHAPES[name], sweeps, np.zeros(k), seeds))


def print_line(number: int, seeds: int, found: Found) -> None:
    """Print a line of a table."""
    print(f"{number:>8} {seeds:>6} {found.every:>9.1%} {found.wrong:>11.1%}")


if __name__ == "__main__":
    main()
