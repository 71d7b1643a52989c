"""Fits of the single engine, and what they are fitted to, for plain loops."""

from __future__ import annotations

from typing import Any

import torch

from linfit.config import FitConfig
from tests import helpers


def config(**parts: Any) -> FitConfig:
    """A fit config for the engine that is tested here, also where several are fitted."""
    return helpers.config(**{"engine": "single", **parts})


def tensors(fitted: FitConfig) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """X `[n, p]`, y `[n, q]` and the initial W `[p, q]` of a config."""
    data, dtype = fitted.dataset.load(fitted.seed), getattr(torch, fitted.dtype)
    start: torch.Tensor = fitted.init.draw(data.shape[1], data.shape[2], fitted.seed, dtype)
    return torch.tensor(data.X, dtype=dtype), torch.tensor(data.y, dtype=dtype), start
