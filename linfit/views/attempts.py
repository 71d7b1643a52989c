"""Extras of a run that is recorded already: a failure is one line on stderr, and fails nothing."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

from linfit.output import tell
from linfit.tracking.masking import mask

T = TypeVar("T")


def attempt(what: str, make: Callable[..., T], *arguments: Any) -> T | None:
    """Return what `make` returns, or None and one line on stderr if it raises."""
    try:
        return make(*arguments)
    except Exception as error:
        first = (str(error).strip().splitlines() or [""])[0]
        cause = f"{type(error).__name__}: {first}"
        line = f"linfit: {what} could not be made ({cause}); the run is whole without it"
        tell(mask(line))
        return None
