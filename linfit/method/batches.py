"""Which samples a step looks at: all of them, or a few that are drawn for it.

The loss that is recorded is always that of all samples, computed by the same code; only the gradient is a batch's, scaled so that
its expectation is the gradient of the whole loss: by n/size for sums, by 1 for means.

n samples.
"""

from __future__ import annotations

from typing import Annotated, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from linfit.component import Component, Seed
from linfit.lines import Lines
from linfit.problem.losses import Loss
from linfit.problem.streams import Purpose, generator

#: Batches that are drawn at once, and row numbers, at the most.
AHEAD = 32
DRAWN = 2**22


class Batch(Component):
    """Which samples the gradient of a step is taken over."""

    def lines(self) -> Lines:
        """What the program that `linfit script` prints needs for it beside the other lines."""
        raise NotImplementedError(f"batch {self.name} has no lines")

    def curvature(self, largest: float, steepest: float, n: int) -> float:
        """The curvature that decides which learning rates are stable.

        Of n samples, `largest` is that of the loss and `steepest` the largest that any sample by itself would give it.
        """
        return largest


class Full(Batch):
    """All samples at every step."""

    name: Literal["full"] = "full"

    def lines(self) -> Lines:
        return ()


class Minibatch(Batch):
    """`size` samples at every step, shuffled anew whenever all have been seen, or drawn with `replacement`.

    Differs from torch's DataLoader in that a batch goes on into the next shuffle where the samples end, so that all batches are of
    one size and none is left out. With `replacement` too `size` is at most the number of samples: where more can be afforded, all of them
    say more. `seed` is the fit's seed unless given; the stream is of its own.
    """

    name: Literal["minibatch"] = "minibatch"
    size: Annotated[int, Field(ge=1)] = 10
    replacement: bool = False
    seed: Seed | None = None

    def curvature(self, largest: float, steepest: float, n: int) -> float:
        """(1 − v)·largest + v·steepest, v the variance of a batch's mean over that of a sample: 1/size, less without replacement.

        Below 2 over it, E‖w − w*‖² shrinks until noise holds it, whatever the directions of the samples (Ma, Bassily and
        Belkin, "The Power of Interpolation", 2018): E[HᵦΣHᵦ] ≤ ½·curvature·(HΣ + ΣH) as a form. That is enough, not always
        necessary. Batches that run over into the next shuffle count as drawn.
        """
        share = 1 / self.size
        if not self.replacement and n % self.size == 0:
            share *= (n - self.size) / max(1, n - 1)
        return (1 - share) * largest + share * steepest

    def check(self, n: int) -> None:
        """Raises ValueError where a batch would be larger than the n samples that are fitted."""
        if self.size > n:
            raise ValueError(
                f"batch.size={self.size} is more than the {n} samples that are fitted: choose at most {n}, or batch=full"
            )

    def sampler(self, n: int, seed: int) -> Sampler:
        self.check(n)
        return Sampler(n, self.size, self.replacement, self.drawn_from(seed))

    def drawn_from(self, seed: int) -> int:
        return seed if self.seed is None else self.seed


class Sampler:
    """The batches of a fit, one after the other; how many are taken at once does not change which they are."""

    def __init__(self, n: int, size: int, replacement: bool, seed: int) -> None:
        self.n, self.size, self.replacement = n, size, replacement
        self.stream = generator(seed, Purpose.BATCHES)
        self.left = np.empty(0, dtype=np.int64)

    def take(self, count: int) -> NDArray[np.int64]:
        """The rows `[count, size]` of the next `count` batches."""
        if self.replacement:
            return self.stream.integers(self.n, size=(count, self.size))
        shuffles = [self.left]
        while sum(map(len, shuffles)) < count * self.size:
            shuffles.append(self.stream.permutation(self.n))
        rows = np.concatenate(shuffles)
        self.left = rows[count * self.size :]
        return rows[: count * self.size].reshape(count, self.size)


def steepest(X: NDArray[np.float64], scale: float) -> float:
    """The largest curvature that a sample of X `[n, p]` by itself would give a loss of `scale`: n times what it adds."""
    return float(2 * scale * len(X) * np.square(X).sum(axis=1).max(initial=0.0))


def ahead(size: int, streams: int = 1) -> int:
    """How many batches of each stream are drawn at once."""
    return max(1, min(AHEAD, DRAWN // (streams * size)))


def batch_scale(loss: Loss, n: int, size: int, q: int) -> float:
    """What the gradient of a batch's loss is multiplied by to expect that of all n samples."""
    return n / size * (loss.scale(n, q) / loss.scale(size, q))
