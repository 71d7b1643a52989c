"""Where random numbers come from: one stream for each purpose, so that no two coincide and none is the global one."""

from __future__ import annotations

from enum import IntEnum

import numpy as np


class Purpose(IntEnum):
    """What a stream is drawn for. The numbers are part of every result: never reuse one."""

    DATA = 0
    INITIAL_WEIGHTS = 1


def _sequence(seed: int, purpose: Purpose) -> np.random.SeedSequence:
    return np.random.SeedSequence([seed, int(purpose)])


def generator(seed: int, purpose: Purpose) -> np.random.Generator:
    """numpy's generator for `purpose`: PCG64 seeded with SeedSequence([seed, purpose])."""
    return np.random.default_rng(_sequence(seed, purpose))


def torch_seed(seed: int, purpose: Purpose) -> int:
    """The integer that seeds a torch.Generator for `purpose`: 63 bits of SeedSequence([seed, purpose])."""
    return int(_sequence(seed, purpose).generate_state(1, np.uint64)[0] >> np.uint64(1))
