"""Try what a recorded run can do without: pictures, a report, a description.

A failure is one line on stderr, and fails nothing.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

from linfit.system.output import print_to_stderr
from linfit.tracking.secrets.masking import mask

Made = TypeVar("Made")


def try_to_make(what: str, make: Callable[..., Made], *arguments: Any) -> Made | None:
    """Return what `make` returns, or None and one line on stderr if it raises."""
    try:
        return make(*arguments)
    except Exception as error:
        first = (str(error).strip().splitlines() or [""])[0]
        cause = f"{type(error).__name__}: {first}"
        line = f"linfit: {what} could not be made ({cause}); the run is whole without it"
        print_to_stderr(mask(line))
        return None
