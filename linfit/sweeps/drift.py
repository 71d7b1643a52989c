"""What decides bits and is no longer as it was when a sweep began, or when changes were last allowed: code, environment, data."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from linfit.config import FitConfig
from linfit.errors import LinfitError
from linfit.sweeps.planned import Asked, configs_of, planned
from linfit.tracking import environment, layout

#: What of the environment decides bits.
DECISIVE = ("torch", "threads", "cpu_capability", "numpy_blas_kernel")

Changes = dict[str, tuple[str, str]]
"""What changed, from what to what."""


def changes(path: Path, tags: Mapping[str, str] | None, config: FitConfig) -> Changes:
    """Of code and environment, since `tags` were given to the sweep's run; where it has none, since `environment.json` was written."""
    now = environment.tags(config)
    after = {"code": now[layout.CODE], **_decisive(json.loads(now[layout.ENVIRONMENT]))}
    before = _written(path) if tags is None else _tagged(tags)
    before |= {key: last for key, (_, last) in allowed(tags).items() if key in after}
    return {key: (was, after.get(key, "")) for key, was in before.items() if was != after.get(key)}


def _tagged(tags: Mapping[str, str]) -> dict[str, str]:
    machine = environment.tagged(tags)
    return {
        "code": tags.get(layout.CODE, ""),
        **({"environment": "unknown"} if machine is None else _decisive(machine)),
    }


def _written(path: Path) -> dict[str, str]:
    try:
        found = environment.read(path / layout.ENVIRONMENT_FILE)
        return {"code": str(found["code"]["digest"]), **_decisive(found["machine"])}
    except (LinfitError, KeyError, TypeError):
        return {"code": "unknown"}


def _decisive(machine: Mapping[str, Any]) -> dict[str, str]:
    return {key: str(machine[key]) for key in DECISIVE if key in machine}


def changed_data(
    path: Path,
    rows: Sequence[int],
    configs: Sequence[FitConfig],
    asked: Asked,
    tags: Mapping[str, str] | None,
) -> Changes:
    """The data, or what else decides numbers, where a config no longer has the fingerprint that it was planned with."""
    found: Changes = {}
    for config, before in zip(configs, planned(path, "fingerprint", rows), strict=True):
        if (after := config.fingerprint()) != before:
            files = ", ".join(str(file) for file in config.dataset.files())
            found.setdefault(f"data {files}" if files else "fingerprint", (before, after))
    known = allowed(tags)
    return {
        key: pair
        for key, pair in found.items()
        if key not in known or not _still(path, known[key], asked)
    }


def _still(path: Path, pair: tuple[str, str], asked: Asked) -> bool:
    """Whether the fit that was planned with the first fingerprint has the second one now."""
    before, after = pair
    rows = [
        row for row, fingerprint in enumerate(planned(path, "fingerprint")) if fingerprint == before
    ][:1]
    return any(config.fingerprint() == after for config in configs_of(path, rows, asked))


def allowed(tags: Mapping[str, str] | None) -> Changes:
    """The changes with which the sweep went on before; of several of a kind the last."""
    return {key: (was, now) for some in past(tags) for key, (was, now) in some.items()}


def past(tags: Mapping[str, str] | None) -> list[dict[str, list[str]]]:
    """The same, one after the other."""
    try:
        found = json.loads((tags or {}).get(layout.CHANGES, "[]"))
    except (ValueError, RecursionError):  # too many for a tag
        return []
    sound = isinstance(found, list) and all(
        isinstance(some, dict) and all(map(_is_pair, some.values())) for some in found
    )
    return found if sound else []


def _is_pair(value: object) -> bool:
    return (
        isinstance(value, list) and len(value) == 2 and all(isinstance(part, str) for part in value)
    )


def told(changes: Changes) -> str:
    """Changes as a sentence; of digests the beginning."""
    return "since the sweep began " + "; ".join(
        f"{key} changed from {was[:12]} to {now[:12]}" for key, (was, now) in changes.items()
    )
