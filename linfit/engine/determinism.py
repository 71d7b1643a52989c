"""How torch computes while a fit runs: its threads, and what makes the same program give the same bits; docs/reproducibility.md."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

import torch

from linfit.config import FitConfig
from linfit.engine.surroundings import plain_surroundings
from linfit.problem.blas import blas_threads

#: (where, what, its value while a fit is deterministic). torch would fill new tensors with NaN besides, which only costs.
FLAGS: tuple[tuple[Any, str, bool], ...] = (
    (torch.backends.cudnn, "deterministic", True),
    (torch.backends.cudnn, "benchmark", False),
    (torch.utils.deterministic, "fill_uninitialized_memory", False),
)


@contextmanager
def computing(config: FitConfig) -> Iterator[None]:
    """Compute with the config's threads, numpy with one, and deterministically unless the config says otherwise.

    Nothing that the caller has set in torch or numpy reaches what is computed; afterwards it is as before.
    """
    with plain_surroundings(), threads(config.threads), blas_threads(), ExitStack() as stack:
        if config.deterministic:
            stack.enter_context(full_precision())
            stack.enter_context(deterministic())
        yield


@contextmanager
def threads(count: int) -> Iterator[None]:
    """Let torch compute with so many threads; afterwards with as many as before."""
    before = torch.get_num_threads()
    torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(before)


@contextmanager
def deterministic() -> Iterator[None]:
    """What has no deterministic implementation raises, which fails the fit."""
    mode = torch.get_deterministic_debug_mode()
    flags = [getattr(place, name) for place, name, _ in FLAGS]
    try:
        torch.set_deterministic_debug_mode("error")
        for place, name, value in FLAGS:
            setattr(place, name, value)
        yield
    finally:
        torch.set_deterministic_debug_mode(mode)
        for (place, name, _), value in zip(FLAGS, flags, strict=True):
            setattr(place, name, value)


@contextmanager
def full_precision() -> Iterator[None]:
    """Products of float32 are computed in float32: neither in TF32 nor in bfloat16."""
    backends = torch.backends.cuda.matmul, torch.backends.mkldnn.matmul  # type: ignore[attr-defined]
    own = [
        backend.fp32_precision for backend in backends
    ]  # "none" where it follows a wider setting
    try:
        before = torch.get_float32_matmul_precision()
    except (
        RuntimeError
    ):  # set through torch's newer interface, of which the older one will not speak
        before = "highest"
    torch.set_float32_matmul_precision("highest")
    try:
        yield
    finally:
        torch.set_float32_matmul_precision(before)
        for backend, precision in zip(backends, own, strict=True):
            backend.fp32_precision = precision
