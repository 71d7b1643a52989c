"""Targets as a loss takes them: numbers, one of two classes, one of several, or counts.

A class is text or a number. Classes are those of the training samples, sorted; a target becomes the
index of its class, and where there may be more than two, 1 in the column of its class and else 0.

n samples, q targets, k classes.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from linfit.errors import shorten
from linfit.problem.categories import find_lookalikes
from linfit.problem.datasets.synthetic import Dataset
from linfit.problem.losses import Loss
from linfit.problem.losses.base import TargetKind
from linfit.problem.problem import Problem
from linfit.problem.types import Array, Mask

#: A class: text, or a number where the target is one.
TargetClass = str | float
#: Kinds of targets that are classes.
CLASS_KINDS: tuple[TargetKind, ...] = ("binary", "sign", "classes")
#: Most classes of a target.
MAX_CLASSES = 1000
#: Most classes that a text lists.
MAX_LISTED_CLASSES = 10
#: Samples of a class, on average, below which many numbers look like a quantity's values.
FEWEST_CLASS_SAMPLES = 10
#: Values of the two classes, by kind of target.
TWO_VALUES: dict[TargetKind, tuple[float, float]] = {"binary": (0.0, 1.0), "sign": (-1.0, 1.0)}
#: How an error names the loss where it does not know which one it is.
THE_LOSS = "the loss"
MEND_COUNT = "whole numbers from 0 on: mend the cell, or choose loss=mse"


class TargetError(ValueError):
    """A target that a loss does not take.

    `value` is the class or the number that is to blame, None if none is more than others; `share`
    says how many samples have it.
    """

    def __init__(
        self,
        problem: Problem,
        found: str,
        advice: str,
        name: str,
        value: TargetClass | None = None,
        share: str = "",
    ) -> None:
        self.source = problem.source
        self.found = found
        self.advice = advice
        self.name = name
        self.value = value
        self.share = share
        super().__init__(self.explain())

    def explain(self, loss: str = THE_LOSS, place: str = "") -> str:
        """Return the message, with the name of the loss and the place of the sample."""
        known = ", first in ".join(filter(None, (self.share, place)))
        at = f" ({known})" if known else ""
        return f"{self.source}: target {self.name!r} {self.found}{at}: {self._name_loss(loss)}"

    def _name_loss(self, loss: str) -> str:
        if not self.advice.startswith(THE_LOSS):
            return self.advice
        return loss + self.advice.removeprefix(THE_LOSS)

    def find_sample(self, blocks: Iterable[Problem]) -> int | None:
        """Return the index of the first sample of a dataset with the value, None if none has it."""
        start = 0
        for block in blocks:
            found = np.flatnonzero(self._find_value(block))
            if len(found):
                return start + int(found[0])
            start += len(block.y)
        return None

    def _find_value(self, block: Problem) -> Mask:
        """Return a mask of the samples whose target is the value."""
        column: Array = block.y[:, block.targets.index(self.name)]
        wanted = self.value
        if isinstance(wanted, str):
            texts = block.levels.get(self.name, ())
            wanted = texts.index(wanted) if wanted in texts else None
        return np.zeros(len(column), bool) if wanted is None else np.asarray(column == wanted)


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
        losses = _list_losses(*CLASS_KINDS)
        _refuse_text(problem, f"numbers: losses of classes are {losses}, or name another target")
        return problem
    if kind == "count":
        _refuse_text(problem, f"counts, {MEND_COUNT}")
        _require_counts(problem)
        return problem
    if kind == "classes":
        return _encode_several(problem)
    return _encode_two(problem, TWO_VALUES[kind])


def _list_losses(*kinds: TargetKind) -> str:
    losses = (one for one in Loss.choices.values() if issubclass(one, Loss))
    names = [str(one.model_fields["name"].default) for one in losses if one.target_kind in kinds]
    return ", ".join(sorted(names)) or "none here"


def _refuse_text(problem: Problem, taken: str) -> None:
    for name in problem.targets:
        if name in problem.levels:
            texts = shorten(", ".join(map(repr, problem.levels[name])))
            raise TargetError(problem, f"is text, {texts}", f"{THE_LOSS} takes {taken}", name)


def _require_counts(problem: Problem) -> None:
    for part in (problem, problem.validation):
        if part is None:
            continue
        wrong = (part.y < 0) | (part.y != np.floor(part.y))
        for i, j in np.argwhere(wrong):
            _refuse_cell(part, i, j, f"{THE_LOSS} takes counts, {MEND_COUNT}")


def _refuse_cell(part: Problem, i: int, j: int, advice: str) -> None:
    value = float(part.y[i, j])
    raise TargetError(part, f"has {value!r}", advice, part.targets[j], value)


def _encode_two(problem: Problem, values: tuple[float, float]) -> Problem:
    """Return a problem whose targets have one of two values; of several, no other ones come."""
    if len(problem.targets) > 1:
        for part in (problem, problem.validation):
            if part is not None:
                _require_values(part, values)
        return problem
    classes = list_classes(problem)
    if len(classes) > 2:
        _refuse_third(problem, classes, values)
    chosen = np.array(values)
    return _map_parts(problem, classes, lambda part, found: replace(part, y=chosen[found][:, None]))


def _refuse_third(
    problem: Problem, classes: tuple[TargetClass, ...], values: tuple[float, float]
) -> None:
    """Raise TargetError, which names the rarest of more than two classes."""
    low, high = values
    advice = "choose loss=cross_entropy, or leave the samples of other classes out"
    if any(map(_is_fraction, classes)) or len(classes) > MAX_LISTED_CLASSES:
        advice = "choose a loss of numbers, loss=mse, or of several classes, loss=cross_entropy"
    elif lookalikes := find_lookalikes(map(str, classes)):
        advice = f"{lookalikes}, spell them alike or choose loss=cross_entropy"
    counts = Counter(_read_classes(problem))
    rarest = min(reversed(classes), key=counts.__getitem__)
    taken = f"{THE_LOSS} takes two classes, or {low:g} and {high:g}"
    raise TargetError(
        problem,
        f"has {_describe(classes)}",
        f"{taken}: {advice}",
        problem.targets[0],
        rarest,
        f"{_show(rarest)} in {counts[rarest]:,} of {len(problem.y):,} samples",
    )


def _require_values(part: Problem, values: tuple[float, float]) -> None:
    low, high = values
    taken = f"{low:g} and {high:g}: code the classes so, or name one target"
    _refuse_text(part, f"numbers of several targets, {taken}")
    for i, j in np.argwhere((part.y != low) & (part.y != high)):
        _refuse_cell(part, i, j, f"{THE_LOSS} takes of several targets {taken}")


def _encode_several(problem: Problem) -> Problem:
    """Return a problem with a target for each class, 1 where a sample is of that class."""
    if len(problem.targets) > 1:
        names = shorten(", ".join(map(repr, problem.targets)))
        raise ValueError(
            f"{problem.source} has {len(problem.targets)} targets, {names}: the loss takes one, "
            "the class: name one as dataset.target, or choose loss=mse"
        )
    classes = list_classes(problem)
    name = problem.targets[0]
    if len(classes) > MAX_CLASSES:
        raise TargetError(
            problem,
            f"has {len(classes):,} different values",
            f"{THE_LOSS} takes {MAX_CLASSES:,} classes at most: group them, or choose loss=mse",
            name,
        )
    for one in filter(_is_fraction, classes):
        taken = f"{THE_LOSS} takes classes, which are text or whole numbers"
        advice = f"{taken}: mend the cell, or choose loss=mse"
        raise TargetError(problem, f"has {one!r}", advice, name, one)
    targets = tuple(f"{problem.targets[0]}={format_class(one)}" for one in classes)
    each = np.eye(len(classes))
    return _map_parts(
        problem,
        classes,
        lambda part, found: replace(part, y=each[found], targets=targets, truth=None),
    )


def describe_doubtful_classes(problem: Problem) -> str:
    """Return a note on classes that look like the values of a quantity; empty for others.

    They are numbers, many, and of few training samples each.
    """
    classes = problem.classes
    is_text = any(isinstance(one, str) for one in classes)
    if is_text or len(classes) <= MAX_LISTED_CLASSES:
        return ""
    if len(problem.y) >= FEWEST_CLASS_SAMPLES * len(classes):
        return ""
    name = problem.targets[0].removesuffix(f"={format_class(classes[0])}")
    return (
        f"{problem.source}: target {name!r} has {len(classes):,} classes in {len(problem.y):,} "
        "training samples, all of them numbers: if it is a quantity, choose loss=mse"
    )


def _is_fraction(one: TargetClass) -> bool:
    return not isinstance(one, str) and one != np.floor(one)


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
        raise TargetError(
            problem,
            f"has {_describe(classes)} alone in its training samples",
            f"{THE_LOSS} takes two classes at least: add samples of another, "
            "or name another target",
            problem.targets[0],
        )
    if problem.weights is not None:
        heavy = {one for one, weight in zip(found, problem.weights, strict=True) if weight}
        for empty in [one for one in classes if one not in heavy]:
            raise ValueError(
                f"{_name_target(problem)}: all training samples of class {_show(empty)} weigh 0: "
                "leave them out, or give one a weight above 0"
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
                raise TargetError(
                    part,
                    f"has {_show(one)} in a sample that is held out",
                    f"no training sample has it, they have {_describe(classes)}: "
                    "choose another split.seed, or leave its samples out",
                    part.targets[0],
                    one,
                )
        encoded = encode(part, np.array([indices[one] for one in found]))
        return replace(encoded, classes=classes)

    validation = problem.validation
    if validation is not None:
        validation = encode_part(validation)
    note = f"{_name_target(problem)} has {_describe(classes)}"
    if lookalikes := find_lookalikes(map(str, classes)):
        note += f": {lookalikes}, and count as different"
    encoded = encode_part(problem)
    return replace(encoded, validation=validation, notes=(*problem.notes, note))


def _name_target(problem: Problem) -> str:
    return f"{problem.source}: target {problem.targets[0]!r}"


def _describe(classes: tuple[TargetClass, ...]) -> str:
    count = "one class" if len(classes) == 1 else f"{len(classes):,} classes"
    more = ", …" if len(classes) > MAX_LISTED_CLASSES else ""
    return f"{count}, {shorten(', '.join(map(_show, classes[:MAX_LISTED_CLASSES])))}{more}"


def _show(one: TargetClass) -> str:
    return repr(one) if isinstance(one, str) else format_class(one)
