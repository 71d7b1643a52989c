"""What can be known to be impossible before anything runs: samples that cannot be held out, features that cannot be learnt of the data."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from linfit.problem.datasets import Dataset
from linfit.problem.features import Features
from linfit.problem.loading import expansion_of, without_weight
from linfit.problem.split import Split
from linfit.problem.summary import Samples


def check(dataset: Dataset, features: Features, split: Split, seed: int) -> None:
    """ValueError where the fit of `seed` could not begin; the data are gone through only where that depends on them, never held at once."""
    with impossible():
        n = _count(dataset, split, seed) if split.validation else 0
        if features.particular():
            expansion_of(Samples(dataset, seed, split if n else None, n), features)


def check_weights(dataset: Dataset, split: Split, seed: int) -> None:
    """Raise ValueError where no sample that is fitted, or none that is held out, has a weight above 0."""
    with impossible():
        n = _count(dataset, split, seed) if split.validation else 0
        for held in (False, True) if n else (False,):
            samples = Samples(dataset, seed, split if n else None, n, held)
            for block in samples:
                if block.weights is None or block.weights.any():
                    break
            else:
                raise ValueError(without_weight(block.source))


@contextmanager
def impossible() -> Iterator[None]:
    """Lets a ValueError through, which says what cannot be; whatever else data raise fails their own fits, and others of a sweep go on."""
    try:
        yield
    except ValueError:
        raise
    except Exception:
        return


def _count(dataset: Dataset, split: Split, seed: int) -> int:
    """n, of which samples can be held out."""
    known = dataset.num_samples()
    n = sum(len(block.X) for block in dataset.blocks(seed)) if known is None else known
    split.count(n)
    return n
