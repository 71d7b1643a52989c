"""Plain data as JSON can hold them."""

from __future__ import annotations

import math
from typing import Any


def replace_infinities(value: Any) -> Any:
    """Return plain data with None for NaN and infinity, which JSON does not have."""
    if isinstance(value, dict):
        return {key: replace_infinities(part) for key, part in value.items()}
    if isinstance(value, list | tuple):
        return [replace_infinities(part) for part in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
