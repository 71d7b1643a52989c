"""Measures against scikit-learn's, of predictions and of fits in both engines."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, get_args

import numpy as np
import pytest
from numpy.typing import NDArray
from sklearn import metrics

from linfit.config import FitConfig
from linfit.engine.dispatch import fit
from linfit.engine.fit import Fit, Status
from linfit.problem.datasets.arrays import arrays
from linfit.problem.losses import Loss
from linfit.problem.measures import (
    FIT_MEASURES,
    HELD_OUT_MEASURE_NAMES,
    MEASURE_NAMES,
    find_measure,
    list_measures,
    measure_predictions,
)
from linfit.problem.objectives import ObjectiveName
from tests.helpers import ALL_LOSSES, LossRow, label

Array = NDArray[Any]
Reference = Callable[[Array, Array, Array], float]


def sigmoid(eta: Array) -> Array:
    return 1 / (1 + np.exp(-eta))


def softmax(eta: Array) -> Array:
    above = np.exp(eta - eta.max(axis=1, keepdims=True))
    return np.asarray(above / above.sum(axis=1, keepdims=True))


def by_target(score: Callable[..., float]) -> Reference:
    """The mean over targets, where scikit-learn takes one target or means something else."""
    return lambda y, eta, w: float(
        np.mean([score(y[:, j], eta[:, j], sample_weight=w) for j in range(y.shape[1])])
    )


def of_classes(y: Array) -> Array:
    return np.asarray(y.argmax(axis=1))


def roc_auc_of_classes(y: Array, eta: Array, w: Array) -> float:
    p = softmax(eta)
    if y.shape[1] == 2:
        return float(metrics.roc_auc_score(of_classes(y), p[:, 1], sample_weight=w))
    return float(metrics.roc_auc_score(of_classes(y), p, multi_class="ovr", sample_weight=w))


REFERENCES: dict[tuple[str, str], Reference] = {
    ("r2", "number"): lambda y, eta, w: metrics.r2_score(y, eta, sample_weight=w),
    ("rmse", "number"): lambda y, eta, w: metrics.root_mean_squared_error(y, eta, sample_weight=w),
    ("mae", "number"): lambda y, eta, w: metrics.mean_absolute_error(y, eta, sample_weight=w),
    ("accuracy", "binary"): by_target(
        lambda y, eta, sample_weight: metrics.accuracy_score(
            y > 0, eta > 0, sample_weight=sample_weight
        )
    ),
    ("accuracy", "classes"): lambda y, eta, w: metrics.accuracy_score(
        of_classes(y), of_classes(eta), sample_weight=w
    ),
    ("log_loss", "binary"): by_target(
        lambda y, eta, sample_weight: metrics.log_loss(
            y, sigmoid(eta), sample_weight=sample_weight, labels=[0, 1]
        )
    ),
    ("log_loss", "classes"): lambda y, eta, w: metrics.log_loss(
        of_classes(y), softmax(eta), sample_weight=w, labels=list(range(y.shape[1]))
    ),
    ("roc_auc", "binary"): by_target(metrics.roc_auc_score),
    ("roc_auc", "classes"): roc_auc_of_classes,
    ("mean_poisson_deviance", "count"): by_target(
        lambda y, eta, sample_weight: metrics.mean_poisson_deviance(
            y, np.exp(eta), sample_weight=sample_weight
        )
    ),
}
REFERENCES[("accuracy", "sign")] = REFERENCES[("accuracy", "binary")]
REFERENCES[("roc_auc", "sign")] = REFERENCES[("roc_auc", "binary")]
#: (n, q), how far apart predictors are, and if many of them are equal.
SETS = [((60, 1), 1.0, False), ((90, 3), 2.0, False), ((40, 2), 1.0, True), ((9, 2), 6.0, False)]
KINDS = {row.kind: row for row in ALL_LOSSES}


def test_each_measure_has_a_reference_a_name_and_an_objective() -> None:
    assert set(REFERENCES) == {(one.name, kind) for one in FIT_MEASURES for kind in one.kinds}
    names = {*MEASURE_NAMES, *HELD_OUT_MEASURE_NAMES}
    assert {name for name in get_args(ObjectiveName) if find_measure(name)} == names
    assert {Loss.choose(row.plain).target_kind for row in ALL_LOSSES} <= set(KINDS)
    assert all(list_measures(kind) for kind in KINDS)  # type: ignore[arg-type]


@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize(("shape", "size", "tied"), SETS)
@pytest.mark.parametrize("row", KINDS.values(), ids=label)
def test_measures_are_those_of_scikit_learn(
    row: LossRow, shape: tuple[int, int], size: float, tied: bool, weighted: bool
) -> None:
    stream = np.random.default_rng(3)
    y = row.targets(*shape)
    eta = size * stream.standard_normal(shape)
    if tied:
        eta = np.round(eta)
    weights = stream.integers(0, 3, shape[0]).astype(float) if weighted else None
    found = measure_predictions(row.kind, eta, y, weights)  # type: ignore[arg-type]
    given = np.ones(shape[0]) if weights is None else weights
    kept = given > 0
    if row.kind == "classes" and shape[1] == 1:
        assert "roc_auc" not in found  # one class alone
        return
    for name in list_measures(row.kind):  # type: ignore[arg-type]
        expected = REFERENCES[name, row.kind](y[kept], eta[kept], given[kept])
        assert found[name] == pytest.approx(expected, rel=1e-9, abs=1e-13), name


@pytest.mark.parametrize("row", KINDS.values(), ids=label)
def test_a_sample_of_weight_2_is_a_row_twice_and_one_of_0_a_row_less(row: LossRow) -> None:
    y = row.targets(12, 2)
    eta = np.random.default_rng(4).standard_normal((12, 2))
    weights = np.array([2, 1, 0, 1, 2, 1, 1, 2, 0, 1, 3, 1])
    eta[2] = np.inf
    rows = np.repeat(np.arange(12), weights)
    twice = measure_predictions(row.kind, eta[rows], y[rows])  # type: ignore[arg-type]
    found = measure_predictions(row.kind, eta, y, weights.astype(float))  # type: ignore[arg-type]
    assert found == pytest.approx(twice, rel=1e-13)


@pytest.mark.parametrize(
    ("kind", "eta", "y", "expected"),
    [
        ("number", [1.0, 1.0], [0.1, 0.1], {"r2": 0.0, "rmse": 0.9, "mae": 0.9}),
        ("number", [0.1, 0.1], [0.1, 0.1], {"r2": 1.0, "rmse": 0.0, "mae": 0.0}),
        ("number", [1.0], [3.0], {"rmse": 2.0, "mae": 2.0}),
        ("number", [], [], {}),
        ("binary", [1e4, -1e4], [1.0, 0.0], {"accuracy": 1.0, "log_loss": 0.0, "roc_auc": 1.0}),
        ("binary", [1e4, 0.0], [0.0, 0.0], {"accuracy": 0.5, "log_loss": 5000 + np.log(2) / 2}),
        ("sign", [0.0, 0.0], [1.0, -1.0], {"accuracy": 0.5, "roc_auc": 0.5}),
        ("count", [1e4, 0.0], [0.0, 1.0], {}),
        ("count", [np.log(3.0)], [3.0], {"mean_poisson_deviance": 0.0}),
    ],
)
def test_measures_at_extremes(
    kind: Any, eta: list[float], y: list[float], expected: dict[str, float]
) -> None:
    found = measure_predictions(kind, np.array(eta).reshape(-1, 1), np.array(y).reshape(-1, 1))
    assert found == pytest.approx(expected, abs=1e-15)


# ---- of fits ----

STREAM = np.random.default_rng(7)
X = STREAM.standard_normal((60, 3))
Y = X @ np.array([[1.0, -2.0], [2.0, 0.5], [0.0, 1.0]]) + STREAM.standard_normal((60, 2)) + 1
WEIGHTS = STREAM.integers(0, 3, 60).astype(float)


def config(**given: Any) -> FitConfig:
    """A fit of these numbers that ends near its optimum."""
    usual = {
        "dataset": arrays(X, Y, weight=WEIGHTS),
        "optimizer": {"name": "adam", "lr": 0.1},
        "loss": "mse",
        "steps": 60,
        "split": {"validation": 0.25},
    }
    return FitConfig.model_validate({**usual, **given})


def measure_by_scikit_learn(found: Fit, rows: Array) -> dict[str, float]:
    kept = rows[WEIGHTS[rows] > 0]
    eta = X[kept] @ found.weights.astype(float)
    return {
        name: REFERENCES[name, "number"](Y[kept], eta, WEIGHTS[kept])
        for name in list_measures("number")
    }


@pytest.mark.parametrize(
    "given",
    [
        {"loss": "sse", "optimizer": {"name": "adam", "lr": 0.05}},
        {"engine": "stacked"},
        {"mean_over": "samples"},
        {"loss": "huber", "penalty": {"name": "ridge", "strength": 0.1}},
        {"gradient": "gram", "dtype": "float64"},
        {"gradient": "gram", "dtype": "float64", "loss": "sse"},
        {"gradient": "gram", "dtype": "float64", "mean_over": "samples", "engine": "stacked"},
    ],
    ids=str,
)
def test_a_fit_has_the_measures_of_its_samples_and_of_those_held_out(given: dict[str, Any]) -> None:
    found = fit(config(**given))
    held = found.held_out
    fitted = np.setdiff1d(np.arange(60), held)
    for measures, rows in ((found.measures, fitted), (found.held_out_measures, held)):
        expected = measure_by_scikit_learn(found, rows)
        if found.config.gradient.uses_summary:
            del expected["mae"]  # squared errors do not tell
        assert measures == pytest.approx(expected, rel=1e-9)


def test_a_summary_measures_a_target_far_from_zero_and_one_that_is_constant() -> None:
    y = np.column_stack([Y[:, 0] + 1e6, np.full(60, 0.1)])
    given = {"dataset": arrays(X, y), "dtype": "float64", "split": {}, "gradient": "manual"}
    plain, summed = (fit(config(**{**given, "gradient": name})) for name in ("manual", "gram"))
    assert summed.measures["r2"] == pytest.approx(plain.measures["r2"], rel=1e-6)


def test_a_fit_that_did_not_finish_has_no_measures() -> None:
    found = fit(config(optimizer={"name": "sgd", "lr": 1e3}))
    assert found.status is Status.DIVERGED
    assert found.list_measures() == {}


@pytest.mark.parametrize(
    ("objective", "of"),
    [
        ("r2", lambda found: 1 - found.measures["r2"]),
        ("validation_r2", lambda found: 1 - found.held_out_measures["r2"]),
        ("rmse", lambda found: found.measures["rmse"]),
        ("validation_mae", lambda found: found.held_out_measures["mae"]),
    ],
)
def test_an_objective_is_a_measure_of_which_lower_is_better(
    objective: str, of: Callable[[Fit], float]
) -> None:
    found = fit(config(objective=objective))
    assert found.objective == of(found)
    assert (
        fit(config(objective=objective, optimizer={"name": "sgd", "lr": 1e3})).objective == np.inf
    )


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"objective": "accuracy"}, "no measure of loss mse: choose one of r2, rmse, mae, or"),
        ({"objective": "mae", "gradient": "gram"}, "no measure of loss mse with gradient gram: "),
        ({"objective": "r2", "loss": "poisson"}, "choose one of mean_poisson_deviance, or a loss"),
        (
            {"objective": "validation_r2", "split": {}},
            "needs samples that are held out: add split.validation=0.2, or choose objective=r2 ",
        ),
    ],
)
def test_an_objective_that_a_fit_does_not_have_is_refused(
    given: dict[str, Any], message: str
) -> None:
    with pytest.raises(ValueError, match=message.replace(".", r"\.")):
        config(**given)
