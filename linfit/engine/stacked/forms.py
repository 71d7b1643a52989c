"""Which form of products the fits of a stack take: panels, or element by element.

The form follows from a fit's own shape, never from its neighbours. Panels are taken where a test of
them, on that very shape, finds no bit that depends on place or neighbours.
"""

from __future__ import annotations

import torch

from linfit.config import FitConfig
from linfit.engine.product_settings import PANELS, find_stack_form
from linfit.engine.stacked.self_test import keeps_bits

#: Fewest samples of a fit in panels,
LEAST_SAMPLES = 32
#: and fewest features times samples: with fewer, elementwise products are as fast.
LEAST_NUMBERS = 2**10
#: Bytes of a fit's numbers in a block of samples: 2,048 in float32, 1,024 in float64.
SAMPLE_BLOCK_BYTES = 2**13
#: Devices whose products come in panels.
PANEL_DEVICES = ("cpu", "cuda")
#: What a run says whose stack has the other form.
NO_PANELS = (
    "its stack multiplies element by element, which is slower: "
    "matrix products of this machine's library were found to depend on the fits beside each other"
)


def takes_panels(config: FitConfig, shape: tuple[int, ...]) -> bool:
    """Return True if fits of X `[n, p]` take panels, whatever stands beside them."""
    return _wants_panels(config, shape) and _keeps_bits(config, shape)


def refuses_panels(config: FitConfig, shape: tuple[int, ...]) -> bool:
    """Return True if fits of X `[n, p]` are large enough for panels, but the test of them fails."""
    return _wants_panels(config, shape) and not _keeps_bits(config, shape)


def count_block_samples(n: int, dtype: torch.dtype) -> int:
    """Return the samples of a block of n samples; the last one may have fewer."""
    return min(n, SAMPLE_BLOCK_BYTES // dtype.itemsize)


def _wants_panels(config: FitConfig, shape: tuple[int, ...]) -> bool:
    n, p = shape
    if n < LEAST_SAMPLES or n * p < LEAST_NUMBERS:
        return False
    return config.device.name in PANEL_DEVICES and find_stack_form() == PANELS


def _keeps_bits(config: FitConfig, shape: tuple[int, ...]) -> bool:
    n, p = shape
    dtype = config.gradient.choose_data_dtype(getattr(torch, config.dtype))
    width = count_block_samples(n, dtype)
    widths = {width, n % width or width}
    return all(
        keeps_bits(one, p, dtype, config.device.name, config.threads) for one in sorted(widths)
    )
