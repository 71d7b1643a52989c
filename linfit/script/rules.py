"""Stopping rules of a fit as lines of the plain program that `linfit script` prints."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from linfit.config import FitConfig
from linfit.engine.stopping import LEAST_INITIAL_SHARE
from linfit.problem.problem import Problem
from linfit.problem.theory.optimum import Optimum
from linfit.script_fragments import GradientLines, Lines, ModelLines


@dataclass(frozen=True)
class ScriptRule:
    """A condition that ends the loop, on `numbers` of each step."""

    numbers: Lines
    condition: str
    before: Lines = ()
    """Lines before the loop."""
    needs_gradient: bool = False


def divergence_rule(config: FitConfig, problem: Problem, known: Optimum) -> ScriptRule:
    """Return the rule of a diverged fit.

    As in the engines, an initial loss of about zero counts as slightly more.
    """
    times = config.stop.divergence
    least = LEAST_INITIAL_SHARE * known.scale * float(np.square(problem.y).sum())
    initial = _initial_loss(config, problem)
    size = "initial" if initial >= 0 else "abs(initial)"
    limit = f"< {times!r} * {size}"
    if abs(initial) < least:
        limit = f"<= {times!r} * max({size}, {least!r})"
    numbers = ("initial = loss.item() if step == 0 else initial",)
    return ScriptRule(numbers, f"not loss.item() {limit}")


def _initial_loss(config: FitConfig, problem: Problem) -> float:
    """Return the initial loss in float64, precise enough to tell if it is about zero."""
    import torch

    _, p, q = problem.shape
    start = config.init.draw(p, q, config.seed, torch.float64)
    eta = torch.from_numpy(problem.X) @ start
    loss = problem.bind_loss(config.loss)(eta, torch.from_numpy(problem.seen_targets))
    shrinkage = config.shrinkage()
    shrunk = start[:-1] if shrinkage.exempt else start
    penalty = 0.5 * shrinkage.strength * shrunk.square().sum()
    return float(loss + penalty + shrinkage.l1 * shrunk.abs().sum())


def convergence_rules(
    config: FitConfig, known: Optimum, model: ModelLines, gradient: GradientLines
) -> list[ScriptRule]:
    """Return the rules that the config sets."""
    stop = config.stop
    rules: list[ScriptRule] = []
    if stop.excess_loss is not None:
        rules.append(_excess_rule(config, stop.excess_loss, known, model))
    if stop.gradient_norm is not None:
        numbers = (
            f"slope = {gradient.gradient}.double().norm().item()",
            "initial_slope = slope if step == 0 else initial_slope",
        )
        condition = f"slope <= {stop.gradient_norm!r} * initial_slope"
        rules.append(ScriptRule(numbers, condition, needs_gradient=True))
    return rules


def _excess_rule(config: FitConfig, share: float, known: Optimum, model: ModelLines) -> ScriptRule:
    if known.around is not None:
        objective = f"loss={config.loss.name}"
        if config.loss.quadratic:
            objective = f"penalty={config.penalty.name}"
        raise ValueError(
            f"stop.excess_loss of {objective} cannot be written as a plain program: leave it out"
        )
    wide = ".double()"
    device = ", device=X.device"
    if "float64" not in config.device.dtypes:
        wide = ".cpu().double()"
        device = ""
    shrinkage = config.shrinkage()
    shrunk = "away[:-1]" if shrinkage.exempt else "away"
    half = 0.5 * shrinkage.strength
    ridge = f" + {half!r} * {shrunk}.square().sum()" if half else ""
    numbers = (
        f"away = {model.weight}{model.transposed}.detach(){wide} - optimum",
        f"excess = ({known.scale!r} * (X{wide} @ away).square().sum(){ridge}).item()",
        "initial_excess = excess if step == 0 else initial_excess",
    )
    optimum = f"torch.tensor({known.weights.tolist()!r}, dtype=torch.float64{device})"
    before = (f"optimum = {optimum}  # [p, q]",)
    return ScriptRule(numbers, f"excess <= {share!r} * initial_excess", before)
