"""How far fits are, for somebody outside who listens; the engines know nothing of who it is."""

from __future__ import annotations

from collections.abc import Callable

Report = Callable[[int, int], None]
"""Hears of steps that fits have made, and of steps that they will not make, because they ended before."""


def unheard(made: int, spared: int) -> None:
    """Nobody listens."""
