"""Solvers of other libraries along a path of strengths, on the folds that linfit draws.

Each returns weights `[k, p]` of one fold, for k strengths from the strongest to the weakest. `tol`
is the library's own tolerance. All are imported where they are used.

n samples, p features, k strengths.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]
PathSolver = Callable[[Array, Array, Array, float], Array]


def logistic_path(solver: str, warm: bool) -> PathSolver:
    """Return scikit-learn's LogisticRegression along a path, from the last weights if `warm`."""

    def solve(X: Array, y: Array, strengths: Array, tol: float) -> Array:
        from sklearn.linear_model import LogisticRegression

        common: dict[str, Any] = {"solver": solver, "tol": tol, "warm_start": warm}
        model = LogisticRegression(fit_intercept=False, max_iter=10_000, **common)
        found = []
        for strength in strengths:
            model.set_params(C=1 / (len(X) * strength))
            found.append(model.fit(X, y).coef_[0].copy())
        return np.array(found)

    return solve


def sklearn_lasso_path(X: Array, y: Array, strengths: Array, tol: float) -> Array:
    """Run scikit-learn's lasso_path, on the Gram where it chooses to."""
    from sklearn.linear_model import lasso_path

    # alpha·‖w‖₁ stands beside ‖r‖²/2n there, strength·‖w‖₁ beside ‖r‖²/n here.
    _, found, _ = lasso_path(X, y, alphas=strengths / 2, tol=tol, max_iter=100_000)
    return np.asarray(found.T)


def skglm_lasso_path(X: Array, y: Array, strengths: Array, tol: float) -> Array:
    """Run skglm's path of lassos, with its working sets and warm starts."""
    from skglm import Lasso

    _, found, *_ = Lasso(fit_intercept=False, tol=tol).path(X, y, strengths / 2)
    return np.asarray(found.T)


def fit_lasso_cv(
    X: Array, y: Array, strengths: Array, folds: list[tuple[Any, Any]], tol: float
) -> None:
    """Fit scikit-learn's LassoCV: the folds' paths, their scores, and one more fit of all data."""
    from sklearn.linear_model import LassoCV

    model = LassoCV(
        alphas=strengths / 2, cv=folds, tol=tol, fit_intercept=False, max_iter=100_000, n_jobs=1
    )
    model.fit(X, y)


LOGISTIC: dict[str, PathSolver] = {
    "newton-cholesky, cold": logistic_path("newton-cholesky", warm=False),
    "newton-cholesky, warm": logistic_path("newton-cholesky", warm=True),
    "lbfgs, cold": logistic_path("lbfgs", warm=False),
    "lbfgs, warm": logistic_path("lbfgs", warm=True),
}
LASSO: dict[str, PathSolver] = {"lasso_path": sklearn_lasso_path, "skglm": skglm_lasso_path}


def quietly(solve: Callable[[], Any]) -> Any:
    """Return what `solve` returns, without warnings that its tolerance was not reached."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return solve()
