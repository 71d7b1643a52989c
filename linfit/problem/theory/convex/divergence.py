"""Bregman divergences of losses, exact however close or far two predictors are.

D(δ) = L(η + δ, y) − L(η, y) − ⟨∇L(η, y), δ⟩ is never negative, but as a difference of losses it is
rounding wherever a sample is saturated. With φ(x) = exp(x) − 1 − x and the probabilities p at η it
is log(1 + Σ pₖφ(δₖ − Σⱼ pⱼδⱼ)) for classes and exp(η)·φ(δ) for counts: every term is ≥ 0, and no
digits cancel. For data with extreme predictors the same is computed from logarithms. All are right
to about 1e-13 relative, and to 1e-15 where |δ| ≤ 10.

η and δ have one shape, `[n, q]`; tensors are float64.
"""

from __future__ import annotations

from collections.abc import Callable
from math import factorial
from typing import TYPE_CHECKING

import numpy as np

from linfit.problem.types import Array

if TYPE_CHECKING:
    from torch import Tensor

#: Below this size φ is its Taylor series,
SERIES_BELOW = 0.5
#: whose terms over ½x², from the last one down to the second, have these coefficients.
SERIES = [2 / factorial(k) for k in range(16, 2, -1)]
#: Predictors and steps beyond which probabilities or φ may leave float64.
EXTREME = 300.0
#: Steps beyond which φ(x) = exp(x) to all digits but few.
FAR = 30.0
#: Part of its terms that a difference must be, to be exact enough.
SAFE_DIFFERENCE = 1e-3


def exp_remainder(x: Tensor) -> Tensor:
    """Return φ(x) = exp(x) − 1 − x, to all digits, also near 0."""
    import torch

    near = x.clamp(-SERIES_BELOW, SERIES_BELOW)
    series = torch.from_numpy(_sum_series(near.numpy()))
    return torch.where(x.abs() < SERIES_BELOW, series, x.expm1() - x)


def _sum_series(x: Array) -> Array:
    """Return the series of φ(x), in numpy: on few numbers torch takes three times as long."""
    found = np.zeros_like(x)
    for coefficient in SERIES:
        found += coefficient
        found *= x
    found += 1
    found *= np.square(x)
    found *= 0.5
    return found


def logistic_divergence(eta: Tensor, delta: Tensor) -> Tensor:
    """Return the divergence `[n, q]` of log(1 + exp(η)) − yη."""
    import torch

    small = (-eta.abs()).exp()
    one = torch.where(eta >= 0, 1, small) / (1 + small)
    zero = torch.where(eta >= 0, small, 1) / (1 + small)
    near = delta.clamp(-EXTREME, EXTREME)
    both = exp_remainder(torch.stack([zero * near, -one * near]))
    usual = one.mul(both[0]).add(zero * both[1]).log1p()

    extreme = torch.maximum(eta.abs(), delta.abs()) > EXTREME
    if not extreme.any():
        return usual
    log_one = -_softplus(-eta)
    log_zero = -_softplus(eta)
    first = log_one + _log_remainder(zero * delta)
    second = log_zero + _log_remainder(-one * delta)
    return torch.where(extreme, _softplus(torch.logaddexp(first, second)), usual)


def softmax_divergence(eta: Tensor, delta: Tensor) -> Tensor:
    """Return the divergence `[n, 1]` of log Σ exp(ηₖ) − η_y."""
    import torch

    top, likeliest = eta.max(dim=1, keepdim=True)
    below = eta - top
    shares = below.exp()
    total = shares.sum(dim=1, keepdim=True)
    p = shares / total
    moved = delta - delta.gather(1, likeliest)
    away = moved - (p * moved).sum(dim=1, keepdim=True)  # 0 on average
    near = away.clamp(-EXTREME, EXTREME)
    usual = (p * exp_remainder(near)).sum(dim=1, keepdim=True).log1p()

    extreme = (away.abs() > EXTREME).any(dim=1, keepdim=True)
    extreme |= (below < -EXTREME).any(dim=1, keepdim=True)
    if not extreme.any():
        return usual
    logs = below - total.log() + _log_remainder(away)
    return torch.where(extreme, _softplus(logs.logsumexp(dim=1, keepdim=True)), usual)


def poisson_divergence(eta: Tensor, delta: Tensor) -> Tensor:
    """Return the divergence `[n, q]` of exp(η) − yη."""
    import torch

    mean = eta.exp()
    near = mean * exp_remainder(delta.clamp(max=FAR))
    return torch.where(delta > FAR, (eta + delta).exp() - mean * (1 + delta), near)


def squared_hinge_divergence(eta: Tensor, y: Tensor, delta: Tensor) -> Tensor:
    """Return the divergence `[n, q]` of max(0, 1 − yη)²."""
    import torch

    moved = y * delta
    best = 1 - y * eta
    short = best - moved
    out = torch.where(best > 0, best * (best - 2 * short), 0)  # it leaves the slope
    inside = torch.where(best > 0, moved.square(), short.square())
    return torch.where(short > 0, inside, out)


def estimate_divergence(
    value: Callable[[Tensor], Tensor],
    curvature: Callable[[Tensor], Tensor],
    eta: Tensor,
    delta: Tensor,
) -> Tensor:
    """Return the divergence of any smooth loss, from its value and its curvature.

    `value` is `[n, q]`, or `[n, 1]` where targets are coupled. It is the difference of losses where
    that keeps its digits, and otherwise ∫(1 − t)·δᵀL″(η + tδ)δ dt by Gauss's rule, whose terms are
    not negative.
    """
    import torch

    with torch.enable_grad():
        moving = eta.detach().requires_grad_()
        (slope,) = torch.autograd.grad(value(moving).sum(), moving)
    before = value(eta)
    after = value(eta + delta)
    linear = slope * delta
    coupled = before.shape != linear.shape
    if coupled:
        linear = linear.sum(dim=1, keepdim=True)
    difference = after - before - linear
    size = after.abs() + before.abs() + linear.abs()

    nodes, shares = np.polynomial.legendre.leggauss(20)
    integral = torch.zeros_like(before)
    for node, share in zip((nodes + 1) / 2, shares / 2, strict=True):
        bent = curvature(eta + node * delta)
        if coupled:
            square = torch.einsum("nq,nqk,nk->n", delta, bent, delta)[:, None]
        else:
            square = delta.square() * bent
        integral += share * (1 - node) * square
    return torch.where(difference > SAFE_DIFFERENCE * size, difference, integral.clamp(min=0))


def _softplus(x: Tensor) -> Tensor:
    """Return log(1 + exp(x)), to all digits."""
    return x.clamp(min=0) + (-x.abs()).exp().log1p()


def _log_remainder(x: Tensor) -> Tensor:
    """Return log φ(x), −∞ at 0."""
    import torch

    far = x.clamp(min=FAR)
    beyond = far + (-(1 + far) * (-far).exp()).log1p()
    return torch.where(x > FAR, beyond, exp_remainder(x.clamp(max=FAR)).log())
