"""Which samples are held out: evaluated, never fitted.

n samples.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated

import numpy as np
from pydantic import Field

from linfit.component import Frozen, Seed
from linfit.problem.random_streams import Purpose, create_generator
from linfit.problem.types import Mask

#: Samples that are drawn together: which are held out does not depend on how the data are read.
SAMPLES_AT_ONCE = 2**16


class Split(Frozen):
    """Training and validation samples.

    The share `validation` of the samples, rounded, is held out, drawn without replacement from a
    stream of its own. The validation loss is recorded next to the training loss; nothing is fitted
    to these samples, and no scaling is learnt from them.
    """

    validation: Annotated[float, Field(ge=0, lt=1)] = 0.0
    seed: Seed | None = None

    def resolve_seed(self, seed: int) -> int:
        """Return the seed of the split, by default the fit's.

        The fit's `seed` counts unless the split has its own.
        """
        return seed if self.seed is None else self.seed

    def draw_held_out(self, n: int, seed: int) -> Iterator[Mask]:
        """Yield masks of the held-out samples, piece by piece.

        Together they cover all n samples in order.

        They mark exactly the share of all, rounded. The number in each mask is hypergeometric, so
        that every choice of samples is as likely as any other.
        """
        stream = create_generator(self.resolve_seed(seed), Purpose.SPLIT)
        left = n
        wanted = self.count_held_out(n)
        while left:
            size = min(SAMPLES_AT_ONCE, left)
            taken = wanted
            if size < left:
                taken = int(stream.hypergeometric(wanted, left - wanted, size))
            mask = np.zeros(size, dtype=bool)
            mask[stream.permutation(size)[:taken]] = True
            left -= size
            wanted -= taken
            yield mask

    def count_fitted(self, n: int) -> int:
        """Return how many of n samples are fitted."""
        return n - round(self.validation * n)

    def count_held_out(self, n: int) -> int:
        """Return how many of n samples are held out.

        ValueError if that leaves none on a side.
        """
        count = n - self.count_fitted(n)
        if self.validation and not 0 < count < n:
            raise ValueError(
                f"split.validation={self.validation:g} holds out {count} of {n} samples: "
                "both sides need one at least"
            )
        return count
