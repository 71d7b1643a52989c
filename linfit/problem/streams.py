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


def torch_seed_line(seed: int, purpose: Purpose) -> str:
    """The line of a program that computes the same as `torch_seed`."""
    state = f"np.random.SeedSequence([{seed}, {purpose:d}]).generate_state(1, np.uint64)[0]"
    return f"seed = int({state}) >> 1  # [seed, {purpose:d}: {purpose.words}]"


def torch_seed(seed: int, purpose: Purpose) -> int:
    """The integer that seeds a torch.Generator for `purpose`: 63 bits of SeedSequence([seed, purpose])."""
    return int(_sequence(seed, purpose).generate_state(1, np.uint64)[0] >> np.uint64(1))
