"""Which samples are held out: evaluated, never fitted.

n samples, k parts.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Hashable, Iterator, Mapping
from typing import TYPE_CHECKING, Annotated, Any, Literal, Self

import numpy as np
from numpy.typing import NDArray
from pydantic import Field, model_validator

from linfit.component import Component, RepetitionMark, Seed
from linfit.problem.random_streams import Purpose, create_generator
from linfit.problem.types import Mask

#: Samples that are drawn together: which are held out does not depend on how the data are read.
SAMPLES_AT_ONCE = 2**16


class Split(Component):
    """Training and validation samples.

    The validation loss is recorded next to the training loss; nothing is fitted to the validation
    samples, and no scaling is learnt from them. They are drawn from a stream of their own.
    """

    if TYPE_CHECKING:  # each split has its own, behind its other fields
        seed: Seed | None

    @classmethod
    def choose(cls, value: Any) -> Self:
        """Return the split that `value` describes; without a name it is a share held out."""
        if isinstance(value, Mapping) and "name" not in value:
            value = {"name": "holdout", **value}
        return super().choose(value)

    @abstractmethod
    def holds_out(self) -> bool:
        """Return True if there are validation samples."""

    @abstractmethod
    def count_held_out(self, n: int) -> int:
        """Return how many of n samples are held out.

        ValueError if that leaves none on a side.
        """

    @abstractmethod
    def draw_parts(
        self, n: int, seed: int, labels: NDArray[np.int64] | None = None
    ) -> Iterator[NDArray[np.int64]]:
        """Yield the part of each sample, from 0 on, piece by piece, for a fit of this seed.

        The pieces cover all n samples in order. `labels` `[n]` are the samples' classes, if they
        have any.
        """

    @abstractmethod
    def held_part(self) -> int:
        """Return the part that is held out."""

    @abstractmethod
    def num_parts(self) -> int:
        """Return the number of parts, k."""

    def draw_held_out(
        self, n: int, seed: int, labels: NDArray[np.int64] | None = None
    ) -> Iterator[Mask]:
        """Yield masks of the held-out samples, in the pieces of `draw_parts`."""
        for parts in self.draw_parts(n, seed, labels):
            yield parts == self.held_part()

    def resolve_seed(self, seed: int) -> int:
        """Return the seed of the split, by default the fit's.

        The fit's `seed` counts unless the split has its own.
        """
        return seed if self.seed is None else self.seed

    @abstractmethod
    def count_fitted(self, n: int) -> int:
        """Return how many of n samples are fitted."""

    def first_fold(self) -> Self:
        """Return the split with the same parts that holds out the first of them."""
        names = [name for name in self.list_seed_fields() if name != "seed"]
        return self.model_copy(update={key: type(self).model_fields[key].default for key in names})

    def identify_samples(self, seed: int) -> Hashable:
        """Return a key that is equal for fits that hold out the same of equal samples."""
        if not self.holds_out():
            return None
        fields = ((key, value) for key, value in self if key != "seed")
        return *fields, self.resolve_seed(seed)


class Holdout(Split):
    """The share `validation` of the samples, rounded, is held out, drawn without replacement.

    With 0, none are.
    """

    # Left out where a config is written: it was so before there were other splits.
    name: Literal["holdout"] = Field(default="holdout", exclude=True)
    validation: Annotated[float, Field(ge=0, lt=1)] = 0.0
    seed: Seed | None = None

    def holds_out(self) -> bool:
        return self.validation > 0

    def count_held_out(self, n: int) -> int:
        count = n - self.count_fitted(n)
        if self.validation and not 0 < count < n:
            raise ValueError(
                f"split.validation={self.validation:g} holds out {count} of {n} samples: "
                "both sides need one at least"
            )
        return count

    def count_fitted(self, n: int) -> int:
        return n - round(self.validation * n)

    def held_part(self) -> int:
        return 1

    def num_parts(self) -> int:
        return 2

    def draw_parts(
        self, n: int, seed: int, labels: NDArray[np.int64] | None = None
    ) -> Iterator[NDArray[np.int64]]:
        """Yield 1 for exactly the share of all samples, rounded, else 0.

        The number in each piece is hypergeometric, so that every choice of samples is as likely as
        any other.
        """
        stream = create_generator(self.resolve_seed(seed), Purpose.SPLIT)
        left = n
        wanted = self.count_held_out(n)
        while left:
            size = min(SAMPLES_AT_ONCE, left)
            taken = wanted
            if size < left:
                taken = int(stream.hypergeometric(wanted, left - wanted, size))
            parts = np.zeros(size, dtype=np.int64)
            parts[stream.permutation(size)[:taken]] = 1
            left -= size
            wanted -= taken
            yield parts


class KFold(Split):
    """Cross-validation: the samples are drawn into `k` parts, and part `fold` is held out.

    A fold is an axis like a seed: `split.fold=range(0,5)` are five fits of one setting, which hold
    out each sample once. The parts are drawn from `split.seed` alone, so all folds of a seed have
    the same ones. `split.seed` follows `seed` unless it is given: fits of several seeds then have
    parts of their own, which is repeated cross-validation, and `split.seed=0` gives them the same
    parts.

    The parts have equal sizes but for one sample. Where targets are classes, so has each class in
    the parts, as in scikit-learn's `StratifiedKFold`.
    """

    name: Literal["kfold"] = "kfold"
    k: Annotated[int, Field(ge=2)] = 5
    fold: Annotated[int, Field(ge=0), RepetitionMark()] = 0
    seed: Seed | None = None

    @model_validator(mode="after")
    def _check_fold(self) -> Self:
        if self.fold >= self.k:
            raise ValueError(
                f"fold={self.fold} is none of the {self.k} parts, 0 to {self.k - 1}: "
                f"choose one of them, or split.k={self.fold + 1} and more"
            )
        return self

    def holds_out(self) -> bool:
        return True

    def count_parts(self, n: int) -> NDArray[np.int64]:
        """Return the number of samples in each part; ValueError if there are too few samples."""
        if n < self.k:
            raise ValueError(
                f"split.k={self.k} parts of {n} samples: each needs one at least, choose k ≤ {n}"
            )
        counts = np.full(self.k, n // self.k)
        counts[: n % self.k] += 1
        return counts

    def count_held_out(self, n: int) -> int:
        return int(self.count_parts(n)[self.fold])

    def count_fitted(self, n: int) -> int:
        return n - (n // self.k + (self.fold < n % self.k))

    def held_part(self) -> int:
        return self.fold

    def num_parts(self) -> int:
        return self.k

    def draw_parts(
        self, n: int, seed: int, labels: NDArray[np.int64] | None = None
    ) -> Iterator[NDArray[np.int64]]:
        """Yield the part of each sample, piece by piece, for a fit of this seed.

        Samples with labels are sorted by class, in random order within each, and dealt in turn.
        """
        stream = create_generator(self.resolve_seed(seed), Purpose.SPLIT)
        wanted = self.count_parts(n)
        if labels is not None:
            order = stream.permutation(n)
            order = order[np.argsort(labels[order], kind="stable")]
            parts = np.empty(n, dtype=np.int64)
            parts[order] = np.arange(n) % self.k
            yield parts
            return
        while left := int(wanted.sum()):
            taken = wanted
            if left > SAMPLES_AT_ONCE:
                taken = stream.multivariate_hypergeometric(wanted, SAMPLES_AT_ONCE)
            wanted = wanted - taken
            yield stream.permutation(np.repeat(np.arange(self.k), taken))
