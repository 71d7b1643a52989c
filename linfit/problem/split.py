"""Which samples are held out: never fitted, only looked at.

n samples.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from linfit.component import Frozen, Seed
from linfit.problem.streams import Purpose, generator

Mask = NDArray[np.bool_]
#: Samples that are drawn together: which are held out does not depend on how the data are read.
TOGETHER = 2**16


class Split(Frozen):
    """Training and validation samples: the share `validation` of them, rounded, is held out, drawn without replacement from an own stream.

    The validation loss stands beside the training loss; nothing is fitted to these samples, no scaling is learnt from them.
    """

    validation: Annotated[float, Field(ge=0, lt=1)] = 0.0
    seed: Seed | None = None

    def drawn_from(self, seed: int) -> int:
        """The seed of the split; `seed` is the fit's."""
        return seed if self.seed is None else self.seed

    def held_out(self, n: int, seed: int) -> Iterator[Mask]:
        """Whether each of n samples is held out, so many samples at a time: exactly the share of all, rounded.

        How many of each lot is a hypergeometric number, so that every choice of samples is as likely as any other.
        """
        stream = generator(self.drawn_from(seed), Purpose.SPLIT)
        left, wanted = n, self.count(n)
        while left:
            size = min(TOGETHER, left)
            taken = (
                wanted if size == left else int(stream.hypergeometric(wanted, left - wanted, size))
            )
            mask = np.zeros(size, dtype=bool)
            mask[stream.permutation(size)[:taken]] = True
            left, wanted = left - size, wanted - taken
            yield mask

    def kept(self, n: int) -> int:
        """How many of n samples are fitted."""
        return n - round(self.validation * n)

    def count(self, n: int) -> int:
        """How many of n samples are held out; ValueError where that leaves none on a side."""
        count = n - self.kept(n)
        if self.validation and not 0 < count < n:
            raise ValueError(
                f"split.validation={self.validation:g} holds out {count} of {n} samples: both sides need one at least"
            )
        return count
