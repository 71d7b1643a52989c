"""From a dataset to the problem that is fitted: samples are held out, columns become features, samples count as they are weighted.

A weighted squared error Σ sᵢrᵢ² is the squared error of rows multiplied by √sᵢ, so that is what X and y are multiplied by, here and
once: both engines and theory see the same problem. `mse` still divides by n·q, not by the sum of the weights.

n samples, p features, q targets.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

import numpy as np

from linfit.problem.datasets import Dataset
from linfit.problem.features import Expansion, Features
from linfit.problem.problem import Array, Problem
from linfit.problem.split import Mask, Split


def load(dataset: Dataset, features: Features, split: Split, seed: int) -> Problem:
    """The problem with its validation samples, if any; `seed` is the fit's. ValueError where it cannot be had."""
    data = dataset.load(seed)
    if split.validation == 0:
        return prepared(data, expansion_of([data], features))
    mask = np.concatenate(list(split.held_out(len(data.X), seed)))
    train, held = chosen(data, ~mask), chosen(data, mask)
    expansion = expansion_of([train], features)
    return replace(prepared(train, expansion), validation=prepared(held, expansion))


def expansion_of(training: Iterable[Problem], features: Features) -> Expansion | None:
    """What makes the features, learnt of the training samples; `training` may be gone through several times. None where they are the columns."""
    if features.neutral_of_data():
        return None
    first = next(iter(training))
    return features.learn(first.features, lambda: ((block.X, block.weights) for block in training))


def chosen(data: Problem, mask: Mask) -> Problem:
    """The samples where `mask` is true."""
    weights = None if data.weights is None else data.weights[mask]
    return replace(data, X=data.X[mask], y=data.y[mask], weights=weights)


def prepared(data: Problem, expansion: Expansion | None) -> Problem:
    """The samples as they are fitted: their features, with targets, multiplied by the roots of their weights."""
    if expansion is not None:
        data = replace(data, X=expansion(data.X), features=expansion.names, expansion=expansion, truth=None)
    if data.weights is None:
        return data
    return replace(data, X=_times(data.X, data.weights), y=_times(data.y, data.weights), weights=None)


def _times(array: Array, weights: Array) -> Array:
    roots: Array = np.sqrt(weights)
    return array * roots[:, None]
