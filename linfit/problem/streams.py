"""Where random numbers come from: one stream for each purpose, so that no two coincide and none is the global one."""

from __future__ import annotations

from enum import IntEnum

import numpy as np


class Purpose(IntEnum):
    """What a stream is drawn for. The numbers are part of every result: never reuse one."""

    DATA = 0
    INITIAL_WEIGHTS = 1
    BATCHES = 2
    SPLIT = 3

    @property
    def words(self) -> str:
        return self.name.lower().replace("_", " ")


def _sequence(seed: int, purpose: Purpose) -> np.random.SeedSequence:
    return np.random.SeedSequence([seed, int(purpose)])


def generator(seed: int, purpose: Purpose) -> np.random.Generator:
    """numpy's generator for `purpose`: PCG64 seeded with SeedSequence([seed, purpose])."""
    return np.random.default_rng(_sequence(seed, purpose))


def generator_line(seed: int, purpose: Purpose) -> str:
    """The line of a program that makes the same generator."""
    return f"stream = np.random.default_rng(np.random.SeedSequence([{seed}, {purpose:d}]))  # [seed, {purpose:d}: {purpose.words}]"


def torch_generator_lines(seed: int, purpose: Purpose) -> tuple[str, ...]:
    """The lines of a program that make a torch.Generator with `torch_seed`."""
    return (
        f"entropy = np.random.SeedSequence([{seed}, {purpose:d}]).generate_state(1, np.uint64)[0]  # [seed, {purpose:d}: {purpose.words}]",
        "generator = torch.Generator().manual_seed(int(entropy) >> 1)",
    )


def torch_seed(seed: int, purpose: Purpose) -> int:
    """The integer that seeds a torch.Generator for `purpose`: 63 bits of SeedSequence([seed, purpose])."""
    return int(_sequence(seed, purpose).generate_state(1, np.uint64)[0] >> np.uint64(1))
