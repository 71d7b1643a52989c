"""The pictures of one fit: the data with the fitted curve, the losses, and the path of descent."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from linfit.engine.fit import Fit, Status
from linfit.problem.problem import Array
from linfit.views.charts import Axis, Chart, Mark, Series, on_steps, positive
from linfit.views.planes import FARTHEST, GRID, plane_chart, plane_of
from linfit.views.prediction import predicted_rate


def data_chart(fit: Fit) -> Chart:
    """The data with the fitted curve, the exact answer, and the truth where it is known; of several targets the first."""
    problem, optimum = fit.problem, fit.optimum
    assert problem is not None and optimum is not None
    target = f"{problem.targets[0]}, the first of {len(problem.targets)} targets" if len(problem.targets) > 1 else problem.targets[0]
    name, x = inputs(fit)
    weights = {"fit": fit.weights.astype(float), "exact optimum": optimum.weights, "truth": problem.truth}
    curves = {label: (problem.X @ w)[:, 0] for label, w in weights.items() if w is not None and np.isfinite(w).all()}
    y = problem.y[:, 0]
    if x is None:
        return _against_the_targets(fit, curves, y, target)
    order = np.argsort(x, kind="stable")
    data = Series("data", x, y, kind="points", style=6)
    lines = [Series(label, x[order], curve[order], kind="plain", style=i) for i, (label, curve) in enumerate(curves.items())]
    around = (float(y.min()), float(y.max()))
    margin = 0.15 * (around[1] - around[0]) or 1.0
    limits = (around[0] - margin, around[1] + margin) if fit.status is Status.DIVERGED else None
    return Chart("data", f"Data and fit{_ended(fit)}", Axis(name), Axis(target, limits=limits), [data, *lines])


def _against_the_targets(fit: Fit, curves: dict[str, Array], y: Array, target: str) -> Chart:
    """Many features: what is predicted over what was measured."""
    ends = np.array([y.min(), y.max()])
    points = [
        Series(label, y, curves[label], kind="points", style=i) for i, label in enumerate(("fit", "exact optimum")) if label in curves
    ]
    exact = Series("prediction = target", ends, ends, kind="predicted")
    margin = 0.3 * float(np.ptp(ends)) or 1.0
    limits = (float(ends[0]) - margin, float(ends[1]) + margin) if fit.status is Status.DIVERGED else None
    return Chart("data", f"Predictions{_ended(fit)}", Axis(f"{target}, measured"), Axis("predicted", limits=limits), [*points, exact])


def inputs(fit: Fit) -> tuple[str, Array | None]:
    """What the data are drawn over: the one number that all features are functions of, or the only feature that is not constant."""
    problem = fit.problem
    assert problem is not None
    x = fit.config.dataset.inputs()
    if x is not None:
        return "x", x
    vary = [place for place in range(problem.X.shape[1]) if np.ptp(problem.X[:, place]) > 0]
    if len(vary) == 1:
        return problem.features[vary[0]], problem.X[:, vary[0]]
    return "", None


def loss_chart(fit: Fit) -> Chart:
    """Loss and excess loss over the steps, with what theory predicts of the excess loss."""
    assert fit.optimum is not None
    steps = on_steps(fit.steps)
    series = [Series("loss", steps, positive(fit.losses)), Series("excess loss", steps, positive(fit.excess_losses))]
    rate = predicted_rate(fit)
    if rate is not None:
        series.append(_predicted(fit, rate))
    return Chart("loss", f"Loss{_ended(fit)}", Axis("step", "steps"), Axis("loss", "log"), series)


def _predicted(fit: Fit, rate: float) -> Series:
    """The excess loss as it would shrink from its start at the predicted rate, as far down as the fit came."""
    with np.errstate(over="ignore", under="ignore"):
        line = fit.excess_losses[0] * (rate * rate) ** fit.steps.astype(float)
    seen = positive(fit.excess_losses)
    floor, top = (np.nanmin(seen) / 3, np.nanmax(seen) * 3) if np.isfinite(seen).any() else (0.0, np.inf)
    return Series(
        f"predicted rate {rate:.4g} per step",
        on_steps(fit.steps),
        np.where((line >= floor) & (line <= top), line, np.nan),
        kind="predicted",
    )


def descent_chart(fit: Fit) -> Chart:
    """The path of descent: over both weights where there are two, otherwise in the two directions of largest curvature."""
    assert fit.path is not None and fit.problem is not None and fit.optimum is not None
    title = f"Path of descent{_ended(fit)}"
    if fit.weights.size == 1:
        return _one_weight(fit, title)
    seen = fit.problem.cast(fit.config.dtype)
    plane = plane_of(seen, fit.optimum)
    note = "" if plane.directions is None else "distances from the optimum in the two directions of largest curvature"
    if fit.optimum.robust is not None:
        note = "; ".join(filter(None, (note, "contours as of small residuals, where the loss is quadratic")))
    return plane_chart("descent", title, plane, [("path", plane.coordinates(fit.path.weights), 0)], note)


def _one_weight(fit: Fit, title: str) -> Chart:
    """The parabola of the loss over the only weight there is."""
    assert fit.path is not None and fit.optimum is not None and fit.problem is not None
    best = float(fit.optimum.weights[0, 0])
    path = fit.path.weights[:, 0, 0].astype(float)
    reach = FARTHEST * max(abs(path[0] - best), 1e-9)
    near = np.isfinite(path) & (np.abs(path - best) <= reach)
    grid = np.linspace(best - reach, best + reach, GRID)
    losses = fit.optimum.loss + fit.optimum.excess(grid[:, None, None])
    series = [Series("loss", grid, losses, kind="plain", style=7), Series("path", path[near], fit.losses[near], kind="path", style=0)]
    mark = Mark(best, "exact optimum", y=fit.optimum.loss)
    return Chart("descent", title, Axis(f"weight of {fit.problem.features[0]}"), Axis("loss"), series, [mark])


def _ended(fit: Fit) -> str:
    return f" (diverged at step {fit.diverged_at_step})" if fit.status is Status.DIVERGED else ""


#: All pictures of a fit that did not fail.
CHARTS: tuple[Callable[[Fit], Chart], ...] = (data_chart, loss_chart, descent_chart)
