"""Targets as a loss takes them: numbers, one of two classes, one of several, or counts.

A class is text or a number. Classes are those of the training samples, sorted; a target becomes the
index of its class, and where there may be more than two, 1 in the column of its class and else 0.

n samples, q targets, k classes.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from linfit.errors import shorten
from linfit.problem.datasets.synthetic import Dataset
from linfit.problem.losses import Loss
from linfit.problem.losses.base import TargetKind
from linfit.problem.problem import Problem
from linfit.problem.types import Array

#: A class: text, or a number where the target is one.
TargetClass = str | float
#: Kinds of targets that are classes.
CLASS_KINDS: tuple[TargetKind, ...] = ("binary", "sign", "classes")
#: Most classes of a target.
MAX_CLASSES = 1000
#: Values of the two classes, by kind of target.
TWO_VALUES: dict[TargetKind, tuple[float, float]] = {"binary": (0.0, 1.0), "sign": (-1.0, 1.0)}


def label_classes(y: Array, kind: TargetKind) -> NDArray[np.int64] | None:
    """Return a number for each sample's class `[n]`; None if targets `[n, q]` are no classes."""
    if kind not in CLASS_KINDS:
        return None
    _, found = np.unique(y, axis=0, return_inverse=True)
    return np.asarray(found, dtype=np.int64).reshape(-1)


def read_class_labels(dataset: Dataset, seed: int, kind: TargetKind) -> NDArray[np.int64] | None:
    """Return the labels of a dataset's samples, by which folds are stratified."""
    return label_classes(dataset.load(seed).y, kind) if kind in CLASS_KINDS else None


def encode_targets(problem: Problem, kind: TargetKind) -> Problem:
    """Return the problem with targets of that kind, those of held-out samples too.

    Raise ValueError for targets that are none, or of a class that no training sample has.
    """
    if kind == "number":
        _refuse_text(problem, f"losses of classes are {_list_losses('binary', 'sign', 'classes')}")
        return problem
    if kind == "count":
        _refuse_text(problem, "a count is a whole number from 0 on")
        _require_counts(problem)
        return problem
    if kind == "classes":
        return _encode_several(problem)
    return _encode_two(problem, TWO_VALUES[kind])


def _list_losses(*kinds: TargetKind) -> str:
    losses = (one for one in Loss.choices.values() if issubclass(one, Loss))
    names = [str(one.model_fields["name"].default) for one in losses if one.target_kind in kinds]
    return ", ".join(sorted(names)) or "none here"


def _refuse_text(problem: Problem, advice: str) -> None:
    for name in problem.targets:
        if name in problem.levels:
            texts = ", ".join(map(repr, problem.levels[name]))
            raise ValueError(
                f"{problem.source}: target {name!r} is text, {shorten(texts)}: "
                f"the loss takes numbers; {advice}"
            )


def _require_counts(problem: Problem) -> None:
    for part in (problem, problem.validation):
        if part is None:
            continue
        wrong = (part.y < 0) | (part.y != np.floor(part.y))
        for i, j in np.argwhere(wrong):
            raise ValueError(
                f"{part.source}: target {part.targets[j]!r} has {float(part.y[i, j])!r}: "
                "the loss takes counts, whole numbers from 0 on"
            )


def _encode_two(problem: Problem, values: tuple[float, float]) -> Problem:
    """Return a problem whose targets have one of two values; of several, no other ones come."""
    if len(problem.targets) > 1:
        for part in (problem, problem.validation):
            if part is not None:
                _require_values(part, values)
        return problem
    classes = list_classes(problem)
    if len(classes) > 2:
        low, high = values
        raise ValueError(
            f"{_name_target(problem)} has {_describe(classes)}: "
            f"the loss takes two classes, or {low:g} and {high:g}"
        )
    chosen = np.array(values)
    return _map_parts(problem, classes, lambda part, found: replace(part, y=chosen[found][:, None]))


def _require_values(part: Problem, values: tuple[float, float]) -> None:
    _refuse_text(part, "of several targets, classes have to be numbers")
    low, high = values
    for i, j in np.argwhere((part.y != low) & (part.y != high)):
        raise ValueError(
            f"{part.source}: target {part.targets[j]!r} has {float(part.y[i, j])!r}: "
            f"of several targets the loss takes {low:g} and {high:g}"
        )


def _encode_several(problem: Problem) -> Problem:
    """Return a problem with a target for each class, 1 where a sample is of that class."""
    if len(problem.targets) > 1:
        raise ValueError(
            f"{problem.source} has {len(problem.targets)} targets: the loss takes one, the class"
        )
    classes = list_classes(problem)
    if len(classes) > MAX_CLASSES:
        raise ValueError(
            f"{_name_target(problem)} has {len(classes):,} different values: "
            f"the loss takes {MAX_CLASSES:,} classes at most"
        )
    fractions = [one for one in classes if not isinstance(one, str) and one != np.floor(one)]
    if fractions:
        raise ValueError(
            f"{_name_target(problem)} has {fractions[0]!r}: "
            "the loss takes classes, which are text or whole numbers"
        )
    targets = tuple(f"{problem.targets[0]}={format_class(one)}" for one in classes)
    each = np.eye(len(classes))
    return _map_parts(
        problem,
        classes,
        lambda part, found: replace(part, y=each[found], targets=targets, truth=None),
    )


def format_class(one: TargetClass) -> str:
    """Return a class as text; a whole number has no point."""
    if isinstance(one, str):
        return one
    return str(int(one)) if one == np.floor(one) else repr(one)


def list_classes(problem: Problem) -> tuple[TargetClass, ...]:
    """Return the classes of the training samples, sorted.

    Raise ValueError if there is one only, or if all samples of one weigh 0.
    """
    found = _read_classes(problem)
    classes = tuple(sorted(set(found)))
    if len(classes) == 1:
        raise ValueError(
            f"{_name_target(problem)} has {_describe(classes)} alone in its training samples: "
            "the loss takes two classes at least"
        )
    if problem.weights is not None:
        heavy = {one for one, weight in zip(found, problem.weights, strict=True) if weight}
        for empty in [one for one in classes if one not in heavy]:
            raise ValueError(
                f"{_name_target(problem)}: all training samples of class {_show(empty)} weigh 0: "
                "leave them out"
            )
    return classes


def _read_classes(part: Problem) -> list[TargetClass]:
    """Return the class of each sample."""
    codes: Array = part.y[:, 0]
    texts = part.levels.get(part.targets[0])
    if texts is None:
        return list(codes.tolist())
    return [texts[int(code)] for code in codes]


def _map_parts(
    problem: Problem,
    classes: tuple[TargetClass, ...],
    encode: Callable[[Problem, Array], Problem],
) -> Problem:
    """Return the problem with encoded targets, given the indices `[n]` of their classes."""
    indices = {one: index for index, one in enumerate(classes)}

    def encode_part(part: Problem) -> Problem:
        found = _read_classes(part)
        for one in found:
            if one not in indices:
                raise ValueError(
                    f"{_name_target(part)} has {_show(one)} in a sample that is held out: "
                    f"no training sample has it, they have {_describe(classes)}"
                )
        encoded = encode(part, np.array([indices[one] for one in found]))
        return replace(encoded, classes=classes)

    validation = problem.validation
    if validation is not None:
        validation = encode_part(validation)
    note = f"{_name_target(problem)} has {_describe(classes)}"
    encoded = encode_part(problem)
    return replace(encoded, validation=validation, notes=(*problem.notes, note))


def _name_target(problem: Problem) -> str:
    return f"{problem.source}: target {problem.targets[0]!r}"


def _describe(classes: tuple[TargetClass, ...]) -> str:
    count = "one class" if len(classes) == 1 else f"{len(classes):,} classes"
    return f"{count}, {shorten(', '.join(map(_show, classes)))}"


def _show(one: TargetClass) -> str:
    return repr(one) if isinstance(one, str) else format_class(one)
