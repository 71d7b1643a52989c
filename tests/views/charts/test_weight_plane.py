"""Paths of descent, and the contours below them."""

from __future__ import annotations

import numpy as np
import pytest

import linfit
from linfit.problem.theory.optimum import find_optimum
from linfit.views.analysis.sweep_data import SweepData
from linfit.views.charts.fits.fit_charts import plot_descent
from linfit.views.charts.weight_plane import choose_plane, clip_path
from tests.views.charts.drawn import FITS, charts_of


def test_the_paths_are_those_of_the_first_seed_at_the_chosen_settings(usual: SweepData) -> None:
    chart = charts_of(usual)["paths"]
    for series in chart.series:
        optimizer, lr = series.label.split(" lr=")
        table = usual.table
        [row] = table[
            (table["optimizer"] == optimizer)
            & (table["optimizer.lr"] == float(lr))
            & (table["seed"] == 0)
        ]["row"]
        assert np.stack([series.x, series.y], axis=1) == pytest.approx(
            usual.curves.select_path(row)
        )
        assert not series.leaves_picture


def test_a_path_is_cut_at_the_edge_that_it_crosses() -> None:
    path = np.array([[1.0, 0.0], [-1.0, 1.0], [5.0, 4.0], [0.0, 0.0]])
    cut, leaves = clip_path(path[:3], np.zeros(2), 2.0)
    assert leaves and cut.tolist() == [[1, 0], [-1, 1], [1, 2]]
    back, leaves = clip_path(path, np.zeros(2), 2.0)
    assert not leaves and back[:3].tolist() == cut.tolist()
    assert np.isnan(back[3]).all() and back[4:].tolist() == [[2, 1.6], [0, 0]]
    assert clip_path(path[:2], np.zeros(2), 2.0)[1] is False
    assert clip_path(np.array([[1.0, 0.0], [np.nan, 0.0]]), np.zeros(2), 2.0)[0].tolist() == [
        [1, 0]
    ]
    for arguments in ([], FITS["one weight"]):
        fit = linfit.fit(linfit.compose([*arguments, "optimizer=sgd", "optimizer.lr=1"]))
        chart = plot_descent(fit)
        [drawn] = [series for series in chart.series if series.kind == "path"]
        assert fit.status == "diverged" and drawn.leaves_picture and len(drawn.x) == 2
        assert "leaves the picture" in chart.note


@pytest.mark.parametrize("loss", ["loss=sse", "loss=mse", "loss=huber"])
@pytest.mark.parametrize(
    "arguments",
    [
        ["dataset=parabola"],
        ["dataset=random_linear", "dataset.p=1", "dataset.q=2", "dataset.condition=1"],
        ["dataset=random_linear"],
    ],
)
def test_the_contours_are_the_excess_loss(arguments: list[str], loss: str) -> None:
    config = linfit.compose([*arguments, loss, "dtype=float64"])
    problem = config.dataset.load(0)
    known = find_optimum(problem, config.loss)
    plane = choose_plane(problem, known)
    places = np.random.default_rng(0).normal(size=(5, 4, 2)) + plane.center
    W = plane.lift(places, known.weights)
    assert plane.project(W.reshape(-1, *known.weights.shape)) == pytest.approx(
        places.reshape(-1, 2), abs=1e-9
    )
    assert plane.compute_excess(places) == pytest.approx(known.excess_loss(W))


def test_the_two_leading_directions_hold_what_they_say() -> None:
    config = linfit.compose(["dataset=random_linear", "dtype=float64"])
    problem = config.dataset.load(0)
    known = find_optimum(problem, config.loss)
    plane = choose_plane(problem, known)
    assert plane.directions is not None
    moved = known.weights[None] + plane.directions[:, 0][None, :, None]
    assert plane.project(moved)[0] == pytest.approx([1.0, 0.0], abs=1e-9)
    assert known.excess_loss(moved) == pytest.approx(plane.compute_excess(np.array([[1.0, 0.0]])))
    assert np.diag(plane.curvature) == pytest.approx(known.curvatures[:2])
