"""Targets as losses take them: classes are learnt from training samples, mistakes are named."""

from __future__ import annotations

import re
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from linfit.problem.datasets.targets import encode_targets
from linfit.problem.losses.base import TargetKind
from linfit.problem.problem import Problem


def problem_of(cells: Any, held_out: Any = None, weights: Any = None) -> Problem:
    """A problem with target `y`, or `y0`, `y1` …, of numbers or texts."""
    parts = []
    for given in (cells, held_out):
        values = np.array([[]] if given is None else given)
        levels: dict[str, tuple[str, ...]] = {}
        if values.dtype.kind == "U":
            texts = list(dict.fromkeys(given))  # in order of appearance, as files are read
            levels["y"] = tuple(texts)
            values = np.array([texts.index(text) for text in given])
        y = values.reshape(len(values), -1).astype(np.float64)
        names = ("y",) if y.shape[1] == 1 else tuple(f"y{j}" for j in range(y.shape[1]))
        parts.append(Problem(np.ones((len(y), 1)), y, ("1",), names, "data", levels=levels))
    problem = parts[0]
    if held_out is not None:
        problem = replace(problem, validation=parts[1])
    if weights is not None:
        problem = replace(problem, weights=np.array(weights, np.float64))
    return problem


GOOD: list[tuple[TargetKind, Any, list[list[float]], tuple[Any, ...]]] = [
    ("number", [1.5, -2], [[1.5], [-2]], ()),
    ("count", [0, 3, 2**40], [[0], [3], [2**40]], ()),
    ("count", [[0, 1], [2, 3]], [[0, 1], [2, 3]], ()),
    ("binary", [0, 1, 1], [[0], [1], [1]], (0.0, 1.0)),
    ("binary", [2, 1, 1], [[1], [0], [0]], (1.0, 2.0)),
    ("binary", [0, 2], [[0], [1]], (0.0, 2.0)),
    ("binary", [-1, 1], [[0], [1]], (-1.0, 1.0)),
    ("binary", ["yes", "no", "yes"], [[1], [0], [1]], ("no", "yes")),
    ("binary", [[0, 1], [1, 1]], [[0, 1], [1, 1]], ()),
    ("sign", [-1, 1, 1], [[-1], [1], [1]], (-1.0, 1.0)),
    ("sign", [0, 1], [[-1], [1]], (0.0, 1.0)),
    ("sign", ["b", "a"], [[1], [-1]], ("a", "b")),
    ("classes", [2, 0, 1], [[0, 0, 1], [1, 0, 0], [0, 1, 0]], (0.0, 1.0, 2.0)),
    ("classes", [7, 3], [[0, 1], [1, 0]], (3.0, 7.0)),
    ("classes", ["b", "c", "a"], [[0, 1, 0], [0, 0, 1], [1, 0, 0]], ("a", "b", "c")),
]


@pytest.mark.parametrize(("kind", "cells", "y", "classes"), GOOD, ids=str)
def test_targets_are_encoded(
    kind: TargetKind, cells: Any, y: list[list[float]], classes: tuple[Any, ...]
) -> None:
    given = problem_of(cells, held_out=cells[:1])
    encoded = encode_targets(given, kind)
    assert encoded.validation is not None
    assert (encoded.y.tolist(), encoded.classes) == (y, classes)
    assert (encoded.validation.y.tolist(), encoded.validation.classes) == (y[:1], classes)
    assert encoded.targets == encoded.validation.targets
    if kind == "classes":
        assert encoded.targets == tuple(
            f"y={one}" if isinstance(one, str) else f"y={one:g}" for one in classes
        )
    else:
        assert encoded.targets == given.targets
    told = [note for note in encoded.notes if note.startswith("data: target 'y' has ")]
    assert len(told) == bool(classes)


BAD: list[tuple[TargetKind, Any, str]] = [
    ("number", ["a", "b"], "target 'y' is text, 'a', 'b': the loss takes numbers: losses of "),
    ("count", ["a", "b"], "target 'y' is text, 'a', 'b'"),
    ("count", [1, -1], "target 'y' has -1.0: the loss takes counts, whole numbers from 0 on"),
    ("count", [1, 1.5], "target 'y' has 1.5: the loss takes counts"),
    ("count", [[1, 1], [1, 0.5]], "target 'y1' has 0.5"),
    (
        "binary",
        [0, 1, 2],
        "target 'y' has 3 classes, 0, 1, 2 (2 in 1 of 3 samples): the loss takes two",
    ),
    ("binary", ["a", "b", "c"], "target 'y' has 3 classes, 'a', 'b', 'c'"),
    ("binary", [1, 1], "target 'y' has one class, 1 alone in its training samples"),
    ("binary", ["a"], "target 'y' has one class, 'a' alone"),
    ("binary", [[0, 1], [1, 2]], "target 'y1' has 2.0: the loss takes of several targets 0 and 1"),
    (
        "sign",
        [-1, 0, 1],
        "target 'y' has 3 classes, -1, 0, 1 (1 in 1 of 3 samples): the loss takes two",
    ),
    ("sign", [[0, 1], [1, 1]], "target 'y0' has 0.0: the loss takes of several targets -1 and 1"),
    ("classes", [[0, 1], [1, 2]], "data has 2 targets, 'y0', 'y1': the loss takes one, the class"),
    ("classes", [3, 3], "target 'y' has one class, 3 alone"),
    ("classes", [0, 0.5], "target 'y' has 0.5: the loss takes classes, which are text or whole"),
    ("classes", list(range(1001)), "target 'y' has 1,001 different values: the loss takes 1,000"),
]


@pytest.mark.parametrize(("kind", "cells", "words"), BAD, ids=range(len(BAD)))
def test_targets_of_another_kind_are_refused(kind: TargetKind, cells: Any, words: str) -> None:
    with pytest.raises(ValueError, match=re.escape(words)) as refusal:
        encode_targets(problem_of(cells), kind)
    assert str(refusal.value).startswith("data")
    assert "\n" not in str(refusal.value)


@pytest.mark.parametrize(
    ("kind", "train", "held_out", "words"),
    [
        ("binary", [0, 1], [2], "target 'y' has 2 in a sample that is held out: no training"),
        ("sign", ["a", "b"], ["b", "c"], "target 'y' has 'c' in a sample that is held out"),
        ("classes", ["a", "b"], ["c"], "target 'y' has 'c' in a sample that is held out"),
        ("classes", [0, 1], [2], "target 'y' has 2 in a sample that is held out"),
        ("count", [0, 1], [-2], "target 'y' has -2.0"),
    ],
)
def test_held_out_samples_have_the_training_samples_classes(
    kind: TargetKind, train: Any, held_out: Any, words: str
) -> None:
    with pytest.raises(ValueError, match=re.escape(words)):
        encode_targets(problem_of(train, held_out), kind)


@pytest.mark.parametrize("kind", ["binary", "sign", "classes"])
def test_a_class_without_weight_is_empty(kind: TargetKind) -> None:
    cells = ["a", "b", "b"]
    assert encode_targets(problem_of(cells, weights=[1, 0, 2]), kind).classes == ("a", "b")
    with pytest.raises(ValueError, match="all training samples of class 'b' weigh 0"):
        encode_targets(problem_of(cells, weights=[1, 0, 0]), kind)
