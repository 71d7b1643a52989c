"""The optimum of a smooth convex loss with the penalty ‖W‖₁, by a proximal Newton method.

Each step minimizes the loss's parabola around W with ‖W‖₁ as it is, which active_set.py does
exactly, and goes as far towards that minimum as the objective falls (Lee, Sun and Saunders,
"Proximal Newton-Type Methods for Minimizing Composite Functions", 2014). At the end these are
Newton's steps on the support. Where the curvature has a bound, FISTA comes before, so that the
parabolas of losses with straight pieces are those near the optimum.

The certificate is that of the loss on the support, tilted by the signs (certificate.py): it is a
lower bound of the whole where the slopes of all other weights stay within ±t on the way.

n samples, p features, m targets of a block, k weights of a block, k = p·m.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from linfit.problem.penalties import Shrinkage
from linfit.problem.theory.convex.certificate import certify
from linfit.problem.theory.convex.excess import SmoothExcess
from linfit.problem.theory.convex.objective import SmoothLoss, SmoothObjective, measure_factor
from linfit.problem.theory.magnitudes import measure_column_norms
from linfit.problem.theory.sparse.active_set import PRECISION, ActiveSetSearch
from linfit.problem.theory.sparse.squares import NEARLY_ACTIVE, SparseExcess
from linfit.problem.types import Array, Mask, Minimum

#: Steps of FISTA before Newton's,
FIRST_STEPS = 100
#: Newton's steps before the search gives up, and halvings of one.
MAX_STEPS, MAX_STEP_HALVINGS = 200, 60
#: Curvatures are taken as at least this part of the largest.
LEAST_PARABOLA = 1e-10
#: How far slopes may move per step of length λ in the Hessian's metric, where that hardly changes.
SLOPE_MARGIN = 2.0


@dataclass(frozen=True)
class TiltedObjective(SmoothObjective):
    """A smooth objective + Σ tilt∘W."""

    tilt: Array | None = None
    """`[p, m]`"""

    def gradient(self, W: Array, slope: Array) -> Array:
        """Return the gradient `[p, m]`."""
        assert self.tilt is not None
        return np.asarray(super().gradient(W, slope) + self.tilt)


def minimize_sparse(
    loss: SmoothLoss, X: Array, y: Array, weights: Array | None, shrinkage: Shrinkage
) -> tuple[Minimum, bool]:
    """Return the minimum of loss + penalty, and True if it is the only one.

    X is `[n, p]`, y `[n, q]`; `weights` `[n]` are those of the samples, with mean 1. Raise
    ValueError if no minimum is found.
    """
    n, q = y.shape
    shares = measure_factor(loss, y) * (np.ones(n) if weights is None else weights)[:, None]
    used = shares[:, 0] > 0
    mask = shrinkage.mark_penalized(X.shape[1])
    blocks = [slice(None)] if loss.couples_targets else [slice(k, k + 1) for k in range(q)]
    found = []
    for block in blocks:
        f, sizes = _scale(loss, X[used], y[used, block], shares[used], shrinkage)
        search = SparseSearch(f, shrinkage.l1 * mask / sizes, sizes)
        search.find_minimum()
        found.append(search)

    optimum = np.concatenate([one.weights for one in found], axis=1)
    l1 = shrinkage.l1 * mask[:, None]
    descent = np.concatenate([one.descent for one in found], axis=1)
    slope = np.where(optimum != 0, l1 * np.sign(optimum), descent.clip(-l1, l1))
    nothing = np.zeros(y[used].shape, dtype=bool)
    around = SmoothExcess(
        loss, X[used], y[used], shares[used], X[used] @ optimum, nothing, shrinkage.strength * mask
    )
    gaps = [one.gap for one in found]
    minimum = Minimum(
        weights=optimum,
        objective=float(sum(one.value for one in found)),
        around=SparseExcess(around, optimum, slope, l1),
        curvatures=np.sort(np.concatenate([one.curvatures for one in found]))[::-1],
        gap=None if None in gaps else float(sum(gap for gap in gaps if gap is not None)),
    )
    return minimum, all(one.is_unique for one in found)


def _scale(
    loss: SmoothLoss, X: Array, y: Array, shares: Array, shrinkage: Shrinkage
) -> tuple[SmoothObjective, Array]:
    """Return the objective for columns of norm about one, and their sizes, powers of two `[p]`."""
    norms = measure_column_norms(X)[0]
    sizes = np.exp2(np.round(np.log2(np.where(norms > 0, norms, 1))))
    mask = shrinkage.mark_penalized(len(sizes))
    tie = np.zeros(len(sizes))
    if y.shape[1] > 1:  # an exempt row may move with all classes: the smallest is meant
        tie[mask == 0] = shares.mean()
    decay = shrinkage.strength * mask / sizes**2
    f = SmoothObjective(loss, X / sizes, y, shares, np.zeros(y.shape), decay, tie)
    return f, sizes


class SparseSearch:
    """Search of the minimum of f(W) + Σtⱼ‖Wⱼ‖₁ from 0 on, t `[p]`."""

    def __init__(self, f: SmoothObjective, t: Array, sizes: Array) -> None:
        self.f = f
        self.t = np.repeat(t[:, None], f.y.shape[1], axis=1)  # [p, m]
        self.sizes = sizes[:, None]
        self.W = np.zeros(self.t.shape)

    @property
    def weights(self) -> Array:
        """W* `[p, m]` in the units of the data."""
        return self.W / self.sizes

    @property
    def value(self) -> float:
        """The objective."""
        return self.f.value(self.W) + float((self.t * np.abs(self.W)).sum())

    def find_minimum(self) -> None:
        """Move W to the minimum."""
        self._approach()
        for _ in range(MAX_STEPS):
            eta = self.f.predict(self.W)
            slope = self.f.slope(eta)
            curvature = self.f.curvature(eta)
            gradient = self.f.gradient(self.W, slope)
            hessian = self.f.hessian(curvature)
            rounding = self.f.bound_rounding(self.W, slope, curvature)
            is_flat = bool((self._measure_steepness(gradient) <= rounding).all())
            step = self._minimize_parabola(gradient, hessian) - self.W
            if is_flat:
                if (np.sign(self.W + step) == np.sign(self.W)).all():
                    self.W = self.W + step
                self._settle()
                return
            if not self._move(eta, gradient, step):
                break
        raise ValueError(
            f"no minimum of the loss with ‖W‖₁ found in {MAX_STEPS} steps: scale the data, "
            "or choose a larger penalty.strength"
        )

    def _measure_steepness(self, gradient: Array) -> Array:
        """Return how far the smallest subgradient is from 0 `[p, m]`."""
        return np.where(
            self.W != 0,
            np.abs(gradient + self.t * np.sign(self.W)),
            (np.abs(gradient) - self.t).clip(min=0),
        )

    def _approach(self) -> None:
        """Take some steps of FISTA with restarts, where the curvature has a bound."""
        bound = self.f.loss.curvature_bound
        if bound is None:
            return
        roots = np.sqrt(self.f.shares)
        largest = bound * float(np.linalg.norm(roots * self.f.X, 2)) ** 2 + self.f.decay.max()
        if self.f.tie.any():
            largest += self.f.tie.max() * self.t.shape[1]
        x = V = self.W
        momentum = 1.0
        for _ in range(FIRST_STEPS):
            U = V - self.f.gradient(V, self.f.slope(self.f.predict(V))) / largest
            before, x = x, U - U.clip(-self.t / largest, self.t / largest)
            following = (1 + (1 + 4 * momentum**2) ** 0.5) / 2
            if ((V - x) * (x - before)).sum() > 0:
                momentum = following = 1.0
            V = x + (momentum - 1) / following * (x - before)
            momentum = following
        self.W = x

    def _minimize_parabola(self, gradient: Array, hessian: Array) -> Array:
        """Return the minimum `[p, m]` of the loss's parabola and ‖W‖₁."""
        roots = np.sqrt(np.diag(hessian))
        roots = np.where(roots > 0, roots, 1)
        values, vectors = np.linalg.eigh(hessian / roots / roots[:, None])
        values = np.sqrt(values.clip(min=LEAST_PARABOLA * max(values[-1], LEAST_PARABOLA)))
        A = values[:, None] * vectors.T  # AᵀA is the Hessian in columns of norm one
        w = roots * self.W.ravel()
        z = A @ w - vectors.T @ (gradient.ravel() / roots) / values
        norms = np.linalg.norm(A, axis=0)
        search = ActiveSetSearch(A / norms, z, self.t.ravel() / roots / norms, w * norms)
        search.find_minimum()
        return np.asarray((search.w / norms / roots).reshape(self.W.shape))

    def _move(self, eta: Array, gradient: Array, step: Array) -> bool:
        """Go along `step` as far as the objective falls; return False if it does not."""
        moved = self.f.X @ step
        length = 1.0
        for _ in range(MAX_STEP_HALVINGS):
            W = self.W + length * step
            corners = float((self.t * (np.abs(W) - np.abs(self.W))).sum())
            promised = length * float((gradient * step).sum()) + corners
            risen = self.f.measure_step(eta, length * moved, length * step)
            if promised < 0 and risen <= -(1 - 1e-4) * promised and (W != self.W).any():
                self.W = W
                return True
            length /= 2
        return False

    def _settle(self) -> None:
        """Learn what is known of the minimum."""
        eta = self.f.predict(self.W)
        slope = self.f.slope(eta)
        curvature = self.f.curvature(eta)
        gradient = self.f.gradient(self.W, slope)
        self.descent = -gradient * self.sizes
        hessian = self.f.hessian(curvature, tied=False)
        own = (self.W != 0).ravel()
        sizes = np.repeat(self.sizes[:, 0], self.t.shape[1])[own]
        curvatures = np.linalg.eigvalsh(hessian[own][:, own] * sizes * sizes[:, None])
        kept = curvatures > np.max(curvatures, initial=0) * len(curvatures) * PRECISION
        self.curvatures = curvatures[kept]
        self.is_unique = self._is_regular(self.f.hessian(curvature), gradient)
        self.gap = None
        if self.t.shape[1] == 1:
            rounding = self.f.bound_rounding(self.W, slope, curvature)
            self.gap = self._certify(own, gradient[:, 0], hessian, rounding[:, 0])

    def _is_regular(self, hessian: Array, gradient: Array) -> bool:
        """Return True if no other weights of the same norm, or smaller, are optimal."""
        near = (self.W != 0) | (np.abs(gradient) >= self.t * (1 - NEARLY_ACTIVE))
        own = (near & np.asarray(self.f.X.any(axis=0))[:, None]).ravel()
        values = np.linalg.eigvalsh(hessian[own][:, own])
        return bool((values > np.max(values, initial=0) * len(values) * PRECISION).all())

    def _certify(self, own: Mask, gradient: Array, hessian: Array, rounding: Array) -> float | None:
        """Return a bound of how far the objective is above its minimum, None if not proved."""
        own = own | (self.t[:, 0] == 0) & self.f.X.any(axis=0)
        room = (self.t[:, 0] - np.abs(gradient) - rounding)[~own]
        if not own.any():
            return 0.0 if (room >= 0).all() else None
        tilt = self.t[own] * np.sign(self.W[own])
        f = self.f
        fields = {name: getattr(f, name) for name in ("loss", "y", "shares", "offset")}
        tilted = TiltedObjective(
            **fields, X=f.X[:, own], decay=f.decay[own], tie=f.tie[own], tilt=tilt
        )
        gap = certify(tilted, self.W[own])
        if gap is None or (SLOPE_MARGIN * np.sqrt(2 * gap * np.diag(hessian)[~own]) > room).any():
            return None
        return gap
