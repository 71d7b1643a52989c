"""Streams of random numbers, one for each purpose: no two coincide, none is the global one."""

from __future__ import annotations

from enum import IntEnum

import numpy as np


class Purpose(IntEnum):
    """Use of a stream.

    The numbers are part of every result: never reuse one.
    """

    DATA = 0
    INITIAL_WEIGHTS = 1
    BATCHES = 2
    SPLIT = 3

    @property
    def label(self) -> str:
        return self.name.lower().replace("_", " ")


def _sequence(seed: int, purpose: Purpose) -> np.random.SeedSequence:
    return np.random.SeedSequence([seed, int(purpose)])


def create_generator(seed: int, purpose: Purpose) -> np.random.Generator:
    """Return numpy's PCG64 generator for `purpose`, seeded with SeedSequence([seed, purpose])."""
    return np.random.default_rng(_sequence(seed, purpose))


def compute_torch_seed(seed: int, purpose: Purpose) -> int:
    """Return the seed of torch's generator for `purpose`.

    It is 63 bits of the seed sequence.
    """
    return int(_sequence(seed, purpose).generate_state(1, np.uint64)[0] >> np.uint64(1))


def write_generator_line(seed: int, purpose: Purpose) -> str:
    """Return the line that makes the generator for `purpose`.

    It is a line of a plain program.
    """
    sequence = f"np.random.SeedSequence([{seed}, {purpose:d}])"
    return f"stream = np.random.default_rng({sequence}){_comment(purpose)}"


def write_torch_seed_line(seed: int, purpose: Purpose) -> str:
    """Return the line of a plain program that computes `compute_torch_seed`."""
    state = f"np.random.SeedSequence([{seed}, {purpose:d}]).generate_state(1, np.uint64)[0]"
    return f"seed = int({state}) >> 1{_comment(purpose)}"


def _comment(purpose: Purpose) -> str:
    return f"  # [seed, {purpose:d}: {purpose.label}]"
