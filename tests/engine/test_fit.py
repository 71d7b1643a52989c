"""What a fit tells of itself: the rows it held out, a line, and what a notebook shows."""

from __future__ import annotations

import re

import numpy as np
import pytest
from sklearn.linear_model import LinearRegression
from sklearn.metrics import mean_squared_error

import linfit
from linfit.errors import ConfigError

EXACT = ["optimizer=closed_form", "steps=1", "dtype=float64", "loss=mse"]


@pytest.mark.parametrize(
    "overrides",
    [
        ["split.validation=0.2"],
        ["split.validation=0.5", "split.seed=7", "seed=3"],
        ["split.validation=0.3", "dataset=random_linear", "dataset.q=2"],
        ["split.validation=0.2", "gradient=gram"],
        ["split=kfold", "split.fold=3"],
        ["split=kfold", "split.k=7", "split.seed=2", "gradient=gram"],
    ],
    ids=" ".join,
)
def test_a_peer_is_scored_on_the_rows_that_were_held_out(overrides: list[str]) -> None:
    config = linfit.compose([*EXACT, *overrides])
    fit = linfit.fit(config)
    data = config.dataset.load(config.seed)
    held_out = fit.held_out
    rest = np.delete(np.arange(len(data.X)), held_out)
    assert len(held_out) == config.split.count_held_out(len(data.X))

    peer = LinearRegression(fit_intercept=False).fit(data.X[rest], data.y[rest])
    own = mean_squared_error(data.y[held_out], peer.predict(data.X[held_out]))
    assert fit.validation_losses is not None
    assert fit.validation_losses[-1] == pytest.approx(own, rel=1e-9)
    assert fit.losses[-1] == pytest.approx(
        mean_squared_error(data.y[rest], peer.predict(data.X[rest])), rel=1e-9
    )


def test_where_nothing_is_held_out_no_row_is() -> None:
    fit = linfit.fit(linfit.compose(["steps=1"]))
    assert fit.held_out.tolist() == []
    assert len(np.delete(np.zeros(30), fit.held_out)) == 30


@pytest.mark.parametrize(
    ("overrides", "line"),
    [
        (["steps=5"], r"<linfit.Fit of adam on parabola: completed at step 5, loss \d+\.\d+>"),
        (
            ["optimizer=sgd", "optimizer.lr=10"],
            "<linfit.Fit of sgd on parabola: diverged at step 1>",
        ),
    ],
)
def test_a_fit_is_one_line_and_in_a_notebook_a_table(overrides: list[str], line: str) -> None:
    fit = linfit.fit(linfit.compose(overrides))
    assert re.fullmatch(line, repr(fit))
    shown = fit._repr_html_()
    assert "&lt;linfit.Fit of" in shown and "<th>weight of x^2</th>" in shown


def test_a_failed_fit_says_why() -> None:
    gone = ["dataset=csv", "dataset.path=gone.csv", "dataset.features=[a]", "dataset.target=y"]
    config = linfit.compose(gone)
    fit = linfit.fit(config)
    assert repr(fit) == "<linfit.Fit of adam on csv: failed>"
    assert "gone.csv" in fit._repr_html_()
    with pytest.raises(ConfigError, match="a failed fit has no pictures"):
        fit.plot()
    with pytest.raises(ValueError, match="a failed fit has no numbers"):
        _ = fit.held_out


def test_a_fit_is_drawn_on_request() -> None:
    fit = linfit.fit(linfit.compose(["steps=5", "split.validation=0.2"]))
    assert fit.plot().axes[0].get_ylabel() == "loss"
    points = fit.plot("data").axes[0].lines[0].get_xdata()
    assert len(np.asarray(points)) == 24, "the rows held out are not drawn"
    with pytest.raises(ConfigError, match="no picture 'los': did you mean 'loss'"):
        fit.plot("los")
