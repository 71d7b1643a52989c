"""Progress of fits, reported to a callback that the engines know nothing about."""

from __future__ import annotations

from collections.abc import Callable

ProgressCallback = Callable[[int, int], None]
"""Called with steps that fits have made, and steps that are spared because fits ended early."""


def ignore_progress(made: int, spared: int) -> None:
    """Ignore a progress report."""
