"""A fit in a notebook: its pictures as figures, and its numbers as a table."""

from __future__ import annotations

from html import escape
from math import isnan
from typing import TYPE_CHECKING

from linfit.component import describe_unknown
from linfit.engine.caller_settings import isolate_from_caller
from linfit.engine.fit import Fit, Status
from linfit.errors import ConfigError
from linfit.views.charts.chart import LeftOut
from linfit.views.charts.fits.fit_charts import FIT_CHARTS

if TYPE_CHECKING:
    from matplotlib.figure import Figure

#: The suffix of the names of charts, which `fit.plot` does without.
_SUFFIX = "_chart"
#: The most weights that a notebook lists.
MOST_SHOWN_WEIGHTS = 10


@isolate_from_caller
def draw_fit(fit: Fit, name: str) -> Figure:
    """Return the picture of a fit with this name; ConfigError where there is none."""
    from linfit.views.charts.drawing.matplotlib_charts import draw_chart, use_chart_style

    makers = {key.removesuffix(_SUFFIX): maker for key, maker in FIT_CHARTS.items()}
    if name not in makers:
        raise ConfigError(describe_unknown("picture", name, list(makers)))
    if fit.status is Status.FAILED:
        raise ConfigError("a failed fit has no pictures: its `error` says why it failed")
    chart = makers[name](fit)
    if isinstance(chart, LeftOut):
        raise ConfigError(f"this fit has no picture {name}: {chart.reason}")
    with use_chart_style():
        return draw_chart(chart)


@isolate_from_caller
def format_fit(fit: Fit) -> str:
    """Return the outcome of a fit as HTML: a line, and a table of its numbers."""
    title = f"<p><code>{escape(repr(fit))}</code></p>"
    if fit.status is Status.FAILED:
        last = (fit.error or "").strip().splitlines()[-1:]
        return f"{title}<p>{escape(''.join(last))}</p>"
    body = "".join(
        f"<tr><th>{escape(name)}</th><td>{escape(value)}</td></tr>"
        for name, value in _list_numbers(fit).items()
    )
    return f"{title}<table><tbody>{body}</tbody></table>"


def _list_numbers(fit: Fit) -> dict[str, str]:
    numbers: dict[str, float | None] = {
        "loss": float(fit.losses[-1]),
        "excess loss": float(fit.excess_losses[-1]),
        "distance to optimum": fit.distance_to_optimum,
        "distance to truth": fit.distance_to_truth,
        "steps to tolerance": fit.steps_to_tolerance,
    }
    if fit.validation_losses is not None:
        numbers["validation loss"] = float(fit.validation_losses[-1])
    numbers |= {name.replace("_", " "): value for name, value in fit.list_measures().items()}
    shown = {
        name: f"{value:.6g}"
        for name, value in numbers.items()
        if value is not None and not isnan(value)
    }
    assert fit.problem is not None
    for feature, row in zip(fit.problem.features[:MOST_SHOWN_WEIGHTS], fit.weights, strict=False):
        shown[f"weight of {feature}"] = ", ".join(f"{weight:.6g}" for weight in row)
    if len(fit.problem.features) > MOST_SHOWN_WEIGHTS:
        shown["…"] = f"{len(fit.problem.features):,} weights of features"
    return shown
