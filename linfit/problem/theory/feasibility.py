"""Fits that are known to be impossible before anything runs.

Their samples cannot be held out, or their features cannot be learnt from the data.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace

from linfit.problem.datasets.prepare import (
    describe_weightless_mean,
    expand_features,
    fit_feature_map,
    split_samples,
)
from linfit.problem.datasets.synthetic import Dataset
from linfit.problem.datasets.targets import (
    TargetError,
    describe_doubtful_classes,
    encode_targets,
)
from linfit.problem.features import Features
from linfit.problem.losses.base import Loss, TargetKind
from linfit.problem.problem import Problem
from linfit.problem.split import Split
from linfit.problem.theory.sufficient_statistics import SampleBlocks


def check_feasibility(
    dataset: Dataset, features: Features, split: Split, kind: TargetKind, seed: int
) -> None:
    """Raise ValueError if the fit of `seed` could not begin.

    The data are gone through only if that depends on them, and are never held at once.
    """
    with pass_value_errors():
        n = _count(dataset, split, seed)
        has_text = dataset.has_text()
        if not has_text and not features.can_fail():
            return
        train = SampleBlocks(dataset, seed, split if n else None, n, kind=kind)
        expansion = fit_feature_map(train, features, has_text)
        if has_text and n:
            for held_out in SampleBlocks(dataset, seed, split, n, held=True, kind=kind):
                expand_features(held_out, expansion)


def check_targets(dataset: Dataset, split: Split, loss: Loss, seed: int) -> str:
    """Return a note on targets that a loss takes but may not be meant for; empty without one.

    Raise ValueError, with the place of the sample, if the loss does not take them. They are read
    only if they may be of another kind.
    """
    kind = loss.target_kind
    if kind == "number" and not dataset.has_text():
        return ""
    with pass_value_errors():
        try:
            encoded = _encode_targets(dataset, split, kind, seed)
        except TargetError as error:
            index = error.find_sample(dataset.blocks(seed))
            place = "" if index is None else dataset.locate_sample(index)
            raise ValueError(error.explain(f"loss {loss.name}", place)) from error
    return describe_doubtful_classes(encoded)


def _encode_targets(dataset: Dataset, split: Split, kind: TargetKind, seed: int) -> Problem:
    """Return the encoded training samples, or some; TargetError if they are not of a kind."""
    if kind == "number":
        return encode_targets(next(iter(dataset.blocks(seed))), "number")
    train, held_out = split_samples(dataset, split, seed, kind)
    return encode_targets(replace(train, validation=held_out), kind)


def check_weights(dataset: Dataset, split: Split, kind: TargetKind, seed: int) -> None:
    """Raise ValueError if no sample weighs more than 0.

    At least one fitted and one held-out sample must.
    """
    with pass_value_errors():
        n = _count(dataset, split, seed)
        for held in (False, True) if n else (False,):
            samples = SampleBlocks(dataset, seed, split if n else None, n, held, kind)
            for block in samples:
                if block.weights is None or block.weights.any():
                    break
            else:
                raise ValueError(describe_weightless_mean(block.source))


@contextmanager
def pass_value_errors() -> Iterator[None]:
    """Let a ValueError through, and ignore other errors.

    A ValueError says why a fit is impossible. Other errors of the data fail their own fits alone,
    and the rest of a sweep continues.
    """
    try:
        yield
    except ValueError:
        raise
    except Exception:
        return


def _count(dataset: Dataset, split: Split, seed: int) -> int:
    """Return n if samples are held out, 0 if none are; ValueError if they cannot be."""
    if not split.holds_out():
        return 0
    n = max(dataset.count_samples(seed), default=0)
    split.count_held_out(n)
    return n
