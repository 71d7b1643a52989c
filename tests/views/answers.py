"""A second oracle of a sweep's answer, computed from its tables, and adversarial designs.

The oracle reads `results.parquet` and `manifest.parquet` in plain Python. It knows nothing of
linfit/views, so that the two
agree only where both are right.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
from pyarrow import parquet

PROBLEM = ("dataset", "features", "split", "loss", "mean_over", "penalty")
SEEDED = ("dataset", "init", "batch", "split")
BESIDE = ("name", "tracking", "record", "pictures", "objective")
Key = tuple[Any, ...]


@dataclass(frozen=True)
class Fit:
    """A fit as its tables keep it: its groups, its repetition, and what came out."""

    row: int
    problem: str
    method: str
    setting: str
    repetition: tuple[int, ...]
    result: dict[str, Any]
    config: dict[str, Any]
    start: float
    """The excess loss before the first update."""

    @property
    def log(self) -> float:
        """Return log₁₀ of the final excess loss, raised to the rounding floor."""
        floor = self.start * float(np.finfo(self.config["dtype"]).eps) ** 2
        tiny = float(np.finfo(float).tiny)
        return math.log10(
            max(self.result["excess_loss"], floor if tiny < floor < math.inf else tiny)
        )

    @property
    def finished(self) -> bool:
        return self.result["status"] in ("completed", "converged")

    @property
    def reached(self) -> float | None:
        """Return the step at which the tolerance was reached, if the fit ended within it."""
        steps = self.result["steps_to_tolerance"]
        limit = self.config["record"]["tolerance"] * self.start
        stayed = self.finished and not self.result["excess_loss"] > limit
        return float(steps) if stayed and steps is not None else None

    def value(self, by: str | None) -> float:
        """Return the number that the fit is compared by."""
        column = "excess_loss" if by in ("excess_loss", None) else "objective"
        return float(self.result[column]) if self.finished else math.inf


def read_fits(folder: Path) -> list[Fit]:
    """Return the fits of a sweep, those of one fingerprint once: the first that did not fail."""
    manifest = {
        row["row"]: row for row in parquet.read_table(folder / "manifest.parquet").to_pylist()
    }
    results = parquet.read_table(folder / "results.parquet").to_pylist()
    first: dict[str, dict[str, Any]] = {}
    for result in sorted(results, key=lambda result: (result["status"] == "failed", result["row"])):
        first.setdefault(manifest[result["row"]]["fingerprint"], result)
    kept = sorted(first.values(), key=lambda result: int(result["row"]))
    configs = [json.loads(manifest[result["row"]]["config"])["config"] for result in kept]
    overrides = [manifest[result["row"]]["overrides"] for result in kept]
    starts = _starts(folder)
    return [
        _fit(*parts, starts)
        for parts in zip(kept, configs, _choices(configs, overrides), strict=True)
    ]


def _starts(folder: Path) -> dict[int, float]:
    """Return the first excess loss of each fit that has a curve."""
    curves = parquet.read_table(
        folder / "curves.parquet", columns=["row", "excess_loss"]
    ).to_pylist()
    return {curve["row"]: curve["excess_loss"][0] for curve in curves if curve["excess_loss"]}


def _fit(
    result: dict[str, Any], config: dict[str, Any], choices: Key, starts: dict[int, float]
) -> Fit:
    seeds = [config[part].get("seed") for part in SEEDED]
    repetition = (config["seed"], *(config["seed"] if seed is None else seed for seed in seeds))
    bare = {
        key: _without_seed(value) for key, value in config.items() if key not in (*BESIDE, "seed")
    }
    problem = json.dumps([bare[part] for part in PROBLEM], sort_keys=True)
    setting = json.dumps(
        {key: value for key, value in bare.items() if key not in PROBLEM}, sort_keys=True
    )
    start = starts.get(result["row"], math.nan)
    return Fit(
        result["row"], problem, json.dumps(choices), setting, repetition, result, config, start
    )


def _without_seed(value: Any) -> Any:
    return (
        {key: own for key, own in value.items() if key != "seed"}
        if isinstance(value, dict)
        else value
    )


def _choices(configs: Sequence[dict[str, Any]], overrides: Sequence[Sequence[str]]) -> list[Key]:
    """Return the choices of each config outside its problem.

    Names of components as they were typed, text and flags.
    """
    found = []
    for config, given in zip(configs, overrides, strict=True):
        typed = dict(override.split("=", 1) for override in given)
        own = [config["dtype"]]
        for group, value in config.items():
            if group not in (*PROBLEM, *BESIDE) and isinstance(value, dict) and "name" in value:
                named = typed.get(group, "{")
                own.append(value["name"] if named.startswith("{") else named)
                own += [part for key, part in sorted(value.items()) if isinstance(part, bool)]
        found.append(tuple(own))
    return found


def compared_by(fits: Sequence[Fit], objective: str = "auto") -> str | None:
    """Return the loss by which fits compare, None where they do not."""
    if objective != "auto":
        return objective
    same_loss = len({json.dumps(fit.config["loss"]) for fit in fits}) == 1
    shares = [fit.config["split"]["validation"] for fit in fits]
    sizes = {
        (share, fit.config["dataset"].get("n")) for share, fit in zip(shares, fits, strict=True)
    }
    as_many = fits[0].config["loss"]["name"] != "sse" or len(sizes) == 1
    if same_loss and as_many and all(shares):
        return "validation_loss"
    problems = {fit.problem for fit in fits}
    if len(problems) == 1:
        return "excess_loss"
    all_but_features = {
        json.dumps([part for place, part in enumerate(json.loads(one)) if place != 1])
        for one in problems
    }
    return "loss" if len(all_but_features) == 1 else None


def find_best(fits: Sequence[Fit], by: str | None) -> Fit | None:
    """Return the best fit, of equals the first; None without one, or where nothing compares."""
    best = min(fits, key=lambda fit: (fit.value(by), fit.row))
    return best if by is not None and math.isfinite(best.value(by)) else None


@dataclass(frozen=True)
class Place:
    """An entry of the leaderboard: a method at the setting chosen for it."""

    problem: str
    method: str
    setting: str
    fits: int
    finished: int
    median: float
    """The median of what its ranking compares; infinite where none finished."""
    steps: float
    """The median of the steps to the tolerance; infinite where half did not reach it."""
    loss: float
    """The median of what the sweep is compared by."""


def ranked_by(by: str | None, objective: str) -> tuple[str, bool]:
    """Return the loss that a leaderboard compares, and if it has one ranking of all problems."""
    if by is not None and (by == "validation_loss" or objective != "auto"):
        return by, True
    return "excess_loss", False


def find_places(fits: Sequence[Fit], by: str | None, objective: str) -> list[Place]:
    """Return the leaderboard: fewest lost fits, then the smallest median, then the fewest steps."""
    one_method = len({fit.method for fit in fits}) == 1
    groups: dict[tuple[str, str], dict[str, list[Fit]]] = {}
    for fit in fits:
        method = fit.setting if one_method else fit.method
        groups.setdefault((fit.problem, method), {}).setdefault(fit.setting, []).append(fit)
    choosing, reporting = _halves(groups)
    measure, across = ranked_by(by, objective)
    places = []
    for (problem, method), settings in groups.items():
        ranked = []
        for setting, own in settings.items():
            seen = [fit for fit in own if fit.repetition in choosing]
            told = [fit for fit in own if fit.repetition in reporting]
            if seen and told:
                place = Place(problem, method, setting, *_told(told, measure, by))
                ranked.append((*_score(seen, measure), place))
        if ranked:
            places.append(min(ranked, key=lambda entry: entry[:2])[2])
    order = list(dict.fromkeys(fit.problem for fit in fits))
    return sorted(
        places,
        key=lambda place: (
            0 if across else order.index(place.problem),
            1 - place.finished / place.fits,
            place.median,
            place.steps,
        ),
    )


def _score(fits: Sequence[Fit], measure: str) -> tuple[float, float]:
    """Return the share of fits that did not finish, and the median of the others' losses."""
    tiny = float(np.finfo(float).tiny)
    values = []
    for fit in fits:
        if fit.finished:
            own = 10**fit.log if measure == "excess_loss" else max(fit.value(measure), tiny)
            values.append(own)
    return 1 - len(values) / len(fits), median(values) if values else math.inf


def _told(
    fits: Sequence[Fit], measure: str, by: str | None
) -> tuple[int, int, float, float, float]:
    values = [fit.value(by) for fit in fits if fit.finished]
    steps = [math.inf if fit.reached is None else fit.reached for fit in fits]
    return (
        len(fits),
        len(values),
        _score(fits, measure)[1],
        median(steps),
        median(values) if values else math.inf,
    )


def _halves(groups: dict[tuple[str, str], dict[str, list[Fit]]]) -> tuple[set[Key], set[Key]]:
    """Return the repetitions to choose settings on, and those to report on.

    They are halves of the repetitions that all methods share, or both are all, as where no method
    has two settings to choose from.
    """
    own = {
        key: {fit.repetition for fits in settings.values() for fit in fits}
        for key, settings in groups.items()
    }
    in_order = sorted(
        (fit.row, fit.repetition)
        for settings in groups.values()
        for fits in settings.values()
        for fit in fits
    )
    everything = list(dict.fromkeys(repetition for _, repetition in in_order))
    shared = [
        repetition for repetition in everything if all(repetition in seen for seen in own.values())
    ]
    halves = set(shared[0::2]), set(shared[1::2])
    per_setting = [
        {fit.repetition for fit in fits}
        for settings in groups.values()
        for fits in settings.values()
    ]
    if all(len(settings) == 1 for settings in groups.values()):
        return set(everything), set(everything)
    possible = all(
        any(
            all(half & {fit.repetition for fit in fits} for half in halves)
            for fits in settings.values()
        )
        for settings in groups.values()
    )
    if min(len(shared), median(map(len, per_setting))) >= 6 and possible:
        return halves
    return set(everything), set(everything)


#: Parts of designs, one of each axis; `{}` stands for nothing.
PROBLEMS = (
    "",
    "",
    "dataset.noise=0.1,1.0",
    "dataset=polynomial features=polynomial features.degree=1,2",
    "features.intercept=true,false",
    "loss=sse,mse",
    "loss=huber loss.delta=0.5,2.0 split.validation=0.25",
    "penalty=ridge penalty.strength=0.1,10",
    "split.validation=0.2",
    "split.validation=0.2,0.3",
    "split={validation:0.2},{validation:0.0}",
    "features=polynomial features.degree=1,2 split.validation=0.2",
)
METHODS = (
    "",
    "optimizer=sgd,adam",
    "optimizer=fast,slow",
    "optimizer={lr:0.01},{lr:1.0}",
    "optimizer=sgd,closed_form dtype=float64",
    "dtype=float32,float64",
    "optimizer.amsgrad=true,false",
    "hydra.sweeper.pairs=[{keys:[optimizer,optimizer.lr],values:[[sgd,0.001],[adam,0.1],[adam,0.1]]}]",
)
NUMBERS = (
    "",
    "optimizer.lr=0.001,0.0010000001",
    "optimizer=sgd optimizer.lr=0.001,1.0",
    "optimizer=sgd optimizer.lr=1e3,1e4",
    "steps=5,20",
    "stop={divergence:100.0},{divergence:1000.0}",
)
SEEDS = (
    "",
    "seed=0,1,0,1",
    "seed=range(0,6)",
    "split.seed=0,1,2",
    "batch=minibatch batch.size=5 batch.seed=0,1",
    "init.seed=0,1,2 dataset.seed=0,1",
)
LAUNCHES = ("", "", "", "hydra/sweeper=basic hydra.sweeper.max_batch_size=1")
OBJECTIVES = ("", "", "", "objective=loss", "objective=excess_loss")


def designs(seed: int, count: int) -> Iterator[tuple[list[str], float]]:
    """Yield the arguments of sweeps, each with the share of its fits that fail."""
    random = np.random.default_rng(seed)
    while count:
        parts = [
            str(random.choice(axis))
            for axis in (PROBLEMS, METHODS, NUMBERS, SEEDS, LAUNCHES, OBJECTIVES)
        ]
        if possible(parts):
            count -= 1
            failing = float(random.choice([0.0, 0.0, 0.3]))
            yield [word for part in parts for word in part.split()], failing


def possible(parts: Sequence[str]) -> bool:
    """Return True if the parts go together.

    No key twice, no key of another optimizer, few batches where each is of one fit.
    """
    keys = [word.partition("=")[0] for part in parts for word in part.split()]
    text = " ".join(parts)
    twice = len(set(keys)) < len(keys)
    paired = "pairs" in text and ("optimizer" in " ".join(parts[2:4]) or "basic" in text)
    rigid = "closed_form" in text and (
        "optimizer.lr" in text or "minibatch" in text or "huber" in text
    )
    nested = ("optimizer={" in text and "optimizer.lr" in text) or (
        "split={" in text and "split.seed" in text
    )
    foreign = "amsgrad" in text and "optimizer=" in text
    slow = "basic" in text and sum("," in part for part in parts) > 2
    return not (twice or paired or rigid or nested or foreign or slow)
