"""Steps from a dataset to the problem that is fitted.

Samples are held out, columns become features, and for squared errors rows are multiplied by the
roots of their weights: a weighted squared error Σ wᵢrᵢ² is the squared error of rows multiplied by
√wᵢ. That is done once, here, so that both engines and theory see the same problem. Other losses
keep the weights.

A squared error that is a mean divides by the number of rows n instead of Σw: for it all rows are
multiplied by √(n/Σw) too. The expectation of the mean over a batch of rows, drawn uniformly, is
then the mean over all of them.

n samples, p features, q targets.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import replace

import numpy as np

from linfit.problem.categories import NO_CATEGORIES, Categories, learn_categories
from linfit.problem.datasets.synthetic import Dataset
from linfit.problem.datasets.targets import label_classes
from linfit.problem.features import FeatureMap, Features
from linfit.problem.losses import Loss
from linfit.problem.losses.base import TargetKind
from linfit.problem.problem import Problem, multiply_rows
from linfit.problem.split import Split
from linfit.problem.types import Array, Mask


def load_problem(
    dataset: Dataset, features: Features, split: Split, seed: int, kind: TargetKind = "number"
) -> Problem:
    """Return the problem with its validation samples, if any.

    `seed` is that of the fit, `kind` what its loss takes the targets for. Raise ValueError if the
    data cannot be loaded.
    """
    train, held = split_samples(dataset, split, seed, kind)
    expansion = fit_feature_map([train], features, bool(train.levels))
    problem = prepare_samples(train, expansion)
    return (
        problem if held is None else replace(problem, validation=prepare_samples(held, expansion))
    )


def split_samples(
    dataset: Dataset, split: Split, seed: int, kind: TargetKind = "number"
) -> tuple[Problem, Problem | None]:
    """Return the training samples, with the data's columns, and those held out, if any."""
    data = dataset.load(seed)
    if not split.holds_out():
        return data, None
    labels = label_classes(data.y, kind)
    mask = np.concatenate(list(split.draw_held_out(len(data.X), seed, labels)))
    return select_samples(data, ~mask), select_samples(data, mask)


def fit_feature_map(
    training: Iterable[Problem], features: Features, has_text: bool
) -> FeatureMap | None:
    """Return the map from columns to features, None if the columns are the features.

    It is learnt from the training samples. `training` may be iterated over several times; if
    `has_text`, some of its columns may be text.
    """
    if not has_text and features.is_identity():
        return None
    first = next(iter(training))
    categories = NO_CATEGORIES
    if has_text:
        samples = ((block.features, block.X, block.levels) for block in training)
        categories = learn_categories(samples, drops_first=features.intercept)
    if not categories and features.is_identity():
        return None
    return features.fit(
        first.features,
        lambda: ((_recode(block, categories), block.weights) for block in training),
        categories,
    )


def _recode(data: Problem, categories: Categories) -> Array:
    """Return the columns, in which texts are indices of levels."""
    return categories.recode(data.features, data.X, data.levels, data.source)


def select_samples(data: Problem, mask: Mask) -> Problem:
    """Return the samples where `mask` is true."""
    weights = None if data.weights is None else data.weights[mask]
    return replace(data, X=data.X[mask], y=data.y[mask], weights=weights)


def expand_features(data: Problem, expansion: FeatureMap | None) -> Problem:
    """Return the samples with features instead of columns."""
    if expansion is None:
        return data
    X = expansion(_recode(data, expansion.categories))
    notes = (*data.notes, *expansion.categories.describe(data.source))
    return replace(
        data, X=X, features=expansion.names, expansion=expansion, truth=None, notes=notes
    )


def prepare_samples(data: Problem, expansion: FeatureMap | None) -> Problem:
    """Return the samples with features instead of columns, and the sum of their weights."""
    data = expand_features(data, expansion)
    if data.weights is None:
        return data
    return replace(data, total=float(data.weights.sum()))


def apply_weights(problem: Problem, loss: Loss, divides_by_weight: bool = True) -> Problem:
    """Return the problem with its weights as `loss` takes them, validation samples included.

    A mean divides by Σw unless `divides_by_weight` is false. Raise ValueError if Σw is 0 then.
    """
    if problem.total is None:
        return problem
    validation = problem.validation
    if validation is not None:
        problem = replace(problem, validation=apply_weights(validation, loss, divides_by_weight))
    if loss.quadratic:
        problem = multiply_rows(problem, problem.weights)
    if not divides_by_weight:
        return replace(problem, total=None)
    root = row_factor(problem, loss)
    if root == 1 or not loss.quadratic:
        return problem
    factors = np.ones(len(problem.X)) if problem.row_factors is None else problem.row_factors
    return replace(problem, X=problem.X * root, y=problem.y * root, row_factors=factors * root)


def row_factor(problem: Problem, loss: Loss) -> float:
    """Return the factor of all rows: √(n/Σw) for a mean, 1 for a sum."""
    n, _, q = problem.shape
    if not loss.averages():
        return 1.0
    if not problem.total:
        raise ValueError(describe_weightless_mean(problem.source))
    return math.sqrt(loss.scale(problem.total, q) / loss.scale(n, q))


def describe_weightless_mean(source: str) -> str:
    """Return the error text of a mean over samples without weight."""
    return (
        f"{source}: the weights of all samples that are fitted, or of all that are held out, "
        "are 0, and a mean divides by their sum: leave dataset.weight out, choose another "
        "split.seed, or loss=sse"
    )
