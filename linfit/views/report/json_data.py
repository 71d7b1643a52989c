"""Plain data as JSON can hold them."""

from __future__ import annotations

import json
import math
from typing import Any

from linfit.system.output import print_data


def print_json(value: Any, indent: int | None = None) -> None:
    """Print plain data to stdout as JSON, None for NaN and infinity."""
    print_data(json.dumps(replace_infinities(value), indent=indent, ensure_ascii=indent is None))


def replace_infinities(value: Any) -> Any:
    """Return plain data with None for NaN and infinity, which JSON does not have."""
    if isinstance(value, dict):
        return {key: replace_infinities(part) for key, part in value.items()}
    if isinstance(value, list | tuple):
        return [replace_infinities(part) for part in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
