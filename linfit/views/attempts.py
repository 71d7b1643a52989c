"""What is made of a run that is recorded already: where it cannot be made, one line says so, and nothing fails with it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

from linfit.output import tell
from linfit.tracking.masking import mask

T = TypeVar("T")


def attempt(what: str, make: Callable[..., T], *arguments: Any) -> T | None:
    """What `make` makes, or None and one line on stderr where it raises: the run is recorded already."""
    try:
        return make(*arguments)
    except Exception as error:
        first = (str(error).strip().splitlines() or [""])[0]
        tell(
            mask(
                f"linfit: {what} could not be made ({type(error).__name__}: {first}); the run is whole without it"
            )
        )
        return None
