"""Torch settings of a fit: threads, determinism and precision; docs/reproducibility.md."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

import torch

from linfit.config import FitConfig
from linfit.engine.caller_settings import (
    suspend_caller_settings,
    temporarily_set,
    temporarily_set_attribute,
)
from linfit.engine.product_settings import note_products
from linfit.problem.threads import limit_blas_threads

#: torch's debug mode "error", as a number.
RAISE_MODE = 2
#: (owner, attribute, value in a deterministic fit). The last keeps torch from filling new tensors
#: with NaN, which costs time only.
DETERMINISTIC_FLAGS: tuple[tuple[Any, str, bool], ...] = (
    (torch.backends.cudnn, "deterministic", True),
    (torch.backends.cudnn, "benchmark", False),
    (torch.utils.deterministic, "fill_uninitialized_memory", False),
)


@contextmanager
def torch_settings(config: FitConfig) -> Iterator[None]:
    """Compute with the config's threads, and deterministically unless it says otherwise.

    numpy gets one thread. No setting of the caller in torch or numpy reaches the computation;
    all of them are restored afterwards.
    """
    note_products()
    with (
        suspend_caller_settings(),
        use_threads(config.threads),
        limit_blas_threads(),
        ExitStack() as stack,
    ):
        if config.deterministic:
            stack.enter_context(use_full_precision())
            stack.enter_context(use_deterministic_algorithms())
        yield


@contextmanager
def use_threads(count: int) -> Iterator[None]:
    """Let torch compute with `count` threads; then restore the former number."""
    before = torch.get_num_threads()
    torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(before)


@contextmanager
def use_deterministic_algorithms() -> Iterator[None]:
    """Make operations without a deterministic implementation raise, which fails the fit."""
    get_mode = torch.get_deterministic_debug_mode
    set_mode = torch.set_deterministic_debug_mode
    with ExitStack() as stack:
        stack.enter_context(temporarily_set(get_mode, set_mode, RAISE_MODE))
        for flag in DETERMINISTIC_FLAGS:
            stack.enter_context(temporarily_set_attribute(*flag))
        yield


@contextmanager
def use_full_precision() -> Iterator[None]:
    """Compute products of float32 in float32.

    They are computed neither in TF32 nor in bfloat16.
    """
    mkldnn: Any = torch.backends.mkldnn  # torch's stubs lack `matmul`
    backends = (torch.backends.cuda.matmul, mkldnn.matmul)
    own = [backend.fp32_precision for backend in backends]  # "none" follows a wider setting
    try:
        before = torch.get_float32_matmul_precision()
    except RuntimeError:  # the caller used torch's newer interface, which this one refuses to read
        before = "highest"
    torch.set_float32_matmul_precision("highest")
    try:
        yield
    finally:
        torch.set_float32_matmul_precision(before)
        for backend, precision in zip(backends, own, strict=True):
            backend.fp32_precision = precision
