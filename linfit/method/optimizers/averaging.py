"""The weighted average of schedule-free methods, as plain numbers.

(Defazio et al., "The Road Less Scheduled", 2024.)
"""

from __future__ import annotations

from collections.abc import Iterator


class Averaging:
    """The share that the k-th point has in the average of the first k.

    Its weight is kʳ·γᵖ, where γ is the largest rate so far. Ratios of weights alone are computed,
    which cannot overflow.
    """

    def __init__(self, r: float, power: float) -> None:
        self.r = r
        self.power = power
        self.k = 0
        self.largest = 0.0
        self.inverse = 0.0

    def take(self, rate: float) -> float:
        """Return the share of the next point, whose rate is given."""
        before = self.largest
        self.k += 1
        self.largest = max(before, rate)
        lighter = ((self.k - 1) / self.k) ** self.r * (before / self.largest) ** self.power
        self.inverse = 1 + self.inverse * lighter
        return 1 / self.inverse


def schedule_free_rates(
    lr: float, momentum: float, warmup: float, r: float, power: float, beta2: float = 0.0
) -> Iterator[tuple[float, float, float]]:
    """Yield the share, the rate of y and the rate of z, for each step."""
    averaging = Averaging(r, power)
    while True:
        k = averaging.k + 1
        rate = lr * (k / warmup) if k < warmup else lr
        rate = rate * (1 - beta2**k) ** 0.5
        share = averaging.take(rate)
        yield share, rate * (1 - momentum * (1 - share)), rate
