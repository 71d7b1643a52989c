"""Batches: the samples over which a step takes its gradient, all of them or a few drawn for it.

The recorded loss is always that of all samples, computed by the same code. Only the gradient is a
batch's, scaled so that its expectation is the gradient of the whole loss: by n/size for sums, by 1
for means.

n samples.
"""

from __future__ import annotations

from collections.abc import Hashable
from typing import Annotated, ClassVar, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from linfit.component import Component, Seed, optional
from linfit.problem.losses import Loss
from linfit.problem.random_streams import Purpose, create_generator, write_generator_line
from linfit.problem.types import Array
from linfit.script_fragments import Lines

#: Batches that are drawn at once, at the most.
BATCHES_AHEAD = 32
#: Row numbers that are drawn at once, at the most.
MAX_ROWS_AHEAD = 2**22


class Batch(Component):
    """The samples over which the gradient of a step is taken."""

    #: True if every step takes all samples: then nothing is drawn.
    is_full: ClassVar[bool] = True

    @optional
    def script_lines(self, n: int, steps: int, seed: int) -> Lines:
        """Return lines that make a plain program's tensor `batches` `[steps + 1, size]`.

        It has the rows of each step's batch. None if every step takes all n samples. `seed` is the
        fit's.
        """
        raise NotImplementedError(f"batch {self.name} has no script lines")

    def num_drawn(self) -> int:
        """Return how many samples a step draws.

        0 if it takes all of them.
        """
        return 0

    def sampler(self, n: int, seed: int) -> Sampler:
        """Return the batches of n samples in order.

        `seed` is the fit's.
        """
        raise NotImplementedError(f"batch {self.name} draws nothing")

    def resolve_seed(self, seed: int) -> int:
        """Return the seed of the batches; `seed` is the fit's."""
        return seed

    def check_size(self, n: int) -> None:
        """Raise ValueError if a batch is larger than n.

        n samples are fitted.
        """

    def effective_curvature(self, largest: float, steepest: float, n: int) -> float:
        """Return the curvature that decides which learning rates are stable.

        Of n samples, `largest` is that of the loss and `steepest` the largest that any sample by
        itself would give it.
        """
        return largest

    def variance(self, n: int) -> float | None:
        """Return n over the batch's size.

        Noise grows by it. None if batches are dependent.
        """
        return None

    def stack_key(self) -> Hashable:
        """Return a key that batches of one stack share.

        Their seeds may differ.
        """
        return None


class Full(Batch):
    """All samples at every step."""

    name: Literal["full"] = "full"

    def script_lines(self, n: int, steps: int, seed: int) -> Lines:
        return ()


class Minibatch(Batch):
    """`size` samples at every step, shuffled anew once all are used, or drawn with `replacement`.

    Differs from torch's DataLoader: a batch continues into the next shuffle where the samples end,
    so that all batches are of one size and none is left out. With `replacement` too `size` is at
    most the number of samples: where more can be afforded, all of them say more. `seed` is the
    fit's seed unless given; the stream is the batches' own.
    """

    is_full = False
    name: Literal["minibatch"] = "minibatch"
    size: Annotated[int, Field(ge=1)] = 10
    replacement: bool = False
    seed: Seed | None = None

    def num_drawn(self) -> int:
        return self.size

    def sampler(self, n: int, seed: int) -> Sampler:
        self.check_size(n)
        return Sampler(n, self.size, self.replacement, self.resolve_seed(seed))

    def script_lines(self, n: int, steps: int, seed: int) -> Lines:
        stream = write_generator_line(self.resolve_seed(seed), Purpose.BATCHES)
        shape = f"{steps + 1}, {self.size}"
        if self.replacement:
            drawn = f"stream.integers({n}, size=({shape}))"
            return stream, f"batches = torch.from_numpy({drawn})"
        shuffles = -(-(steps + 1) * self.size // n)
        shuffled = f"np.concatenate([stream.permutation({n}) for shuffle in range({shuffles})])"
        taken = f"shuffled[:{(steps + 1) * self.size}].reshape({shape})"
        return stream, f"shuffled = {shuffled}", f"batches = torch.from_numpy({taken})"

    def resolve_seed(self, seed: int) -> int:
        return seed if self.seed is None else self.seed

    def check_size(self, n: int) -> None:
        if self.size > n:
            raise ValueError(
                f"batch.size={self.size} is more than the {n} samples that are fitted: "
                f"choose at most {n}, or batch=full"
            )

    def effective_curvature(self, largest: float, steepest: float, n: int) -> float:
        """Return (1 − v)·largest + v·steepest.

        v is the variance of a batch's mean over that of a sample: 1/size, less without replacement.
        Below 2 over this curvature, E‖w − w*‖² shrinks until noise holds it, whatever the
        directions of the samples (Ma, Bassily and Belkin, "The Power of Interpolation", 2018):
        E[HᵦΣHᵦ] ≤ ½·curvature·(HΣ + ΣH) as a form. That is enough, not always necessary. Batches
        that continue into the next shuffle count as drawn.
        """
        share = 1 / self.size
        if not self.replacement and n % self.size == 0:
            share *= (n - self.size) / max(1, n - 1)
        return (1 - share) * largest + share * steepest

    def variance(self, n: int) -> float | None:
        return n / self.size if self.replacement else None

    def stack_key(self) -> Hashable:
        return self.size, self.replacement


class Sampler:
    """The batches of a fit, in order.

    They do not depend on how many are taken at once.
    """

    def __init__(self, n: int, size: int, replacement: bool, seed: int) -> None:
        self.n = n
        self.size = size
        self.replacement = replacement
        self.stream = create_generator(seed, Purpose.BATCHES)
        self.left = np.empty(0, dtype=np.int64)

    def draw(self, count: int) -> NDArray[np.int64]:
        """Return the rows `[count, size]` of the next `count` batches."""
        wanted = count * self.size
        if self.replacement:
            return self.stream.integers(self.n, size=(count, self.size))
        shuffles = [self.left]
        missing = wanted - len(self.left)
        while missing > 0:
            shuffles.append(self.stream.permutation(self.n))
            missing -= self.n
        rows = np.concatenate(shuffles)
        self.left = rows[wanted:]
        return rows[:wanted].reshape(count, self.size)


def largest_sample_curvature(X: Array, scale: float) -> float:
    """Return the largest curvature that a sample alone would give.

    X is `[n, p]`, and the curvature that of a loss. It is n times what the sample adds to the
    curvature of a loss of `scale`.
    """
    return float(2 * scale * len(X) * np.square(X).sum(axis=1).max(initial=0.0))


def count_batches_ahead(size: int, streams: int = 1) -> int:
    """Return how many batches of each stream are drawn at once."""
    return max(1, min(BATCHES_AHEAD, MAX_ROWS_AHEAD // (streams * size)))


def batch_gradient_scale(loss: Loss, n: int, size: int, q: int) -> float:
    """Return the factor that makes batch gradients unbiased.

    A batch's gradient times the factor has the gradient of all n as its mean.
    """
    return n / size * batch_loss_ratio(loss, n, size, q)


def batch_loss_ratio(loss: Loss, n: int, size: int, q: int) -> float:
    """Return what a sample adds to the loss of n samples, over what it adds to a batch's."""
    return loss.scale(n, q) / loss.scale(size, q)
