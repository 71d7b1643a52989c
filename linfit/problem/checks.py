"""What can be known to be impossible before anything runs: samples that cannot be held out, features that cannot be learnt of the data."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from linfit.problem.datasets import Dataset
from linfit.problem.features import Features
from linfit.problem.loading import expansion_of
from linfit.problem.split import Split
from linfit.problem.summary import Samples


def check(dataset: Dataset, features: Features, split: Split, seed: int) -> None:
    """ValueError where the fit of `seed` could not begin; the data are gone through only where that depends on them, never held at once."""
    with impossible():
        n = _count(dataset, split, seed) if split.validation else 0
        if features.particular():
            expansion_of(Samples(dataset, seed, split if n else None, n), features)


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
