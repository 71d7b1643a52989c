"""Changes of what decides bits since a sweep began: its code, its environment, its data.

Changes that were allowed when the sweep was resumed before are no changes.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from linfit.config import FitConfig
from linfit.errors import LinfitError
from linfit.sweeps.folder.planned import ResumeOptions, read_manifest_column, read_planned_configs
from linfit.tracking.provenance import environment
from linfit.tracking.schema import mlflow_names

#: The keys of the environment that decide bits.
DECISIVE_KEYS = ("torch", "threads", "cpu_capability", "numpy_blas_kernel")

Changes = dict[str, tuple[str, str]]
"""What changed, as {what: (then, now)}."""


def find_environment_changes(
    path: Path, tags: Mapping[str, str] | None, config: FitConfig
) -> Changes:
    """Return the changes of code and environment since the sweep began.

    They are changes since its run got `tags`, or, if it has no run, since `environment.json` was
    written.
    """
    now = environment.collect_environment_tags(config)
    after = {
        "code": now[mlflow_names.CODE],
        **_select_decisive(json.loads(now[mlflow_names.ENVIRONMENT])),
    }
    before = _read_file(path) if tags is None else _read_tags(tags)
    for key, (_, last) in read_allowed_changes(tags).items():
        if key in after:
            before[key] = last
    return {key: (was, after.get(key, "")) for key, was in before.items() if was != after.get(key)}


def _read_tags(tags: Mapping[str, str]) -> dict[str, str]:
    code = {"code": tags.get(mlflow_names.CODE, "")}
    machine = environment.read_machine_tag(tags)
    if machine is None:
        return {**code, "environment": "unknown"}
    return {**code, **_select_decisive(machine)}


def _read_file(path: Path) -> dict[str, str]:
    try:
        found = environment.read_environment(path / mlflow_names.ENVIRONMENT_FILE)
        return {"code": str(found["code"]["digest"]), **_select_decisive(found["machine"])}
    except (LinfitError, KeyError, TypeError):
        return {"code": "unknown"}


def _select_decisive(machine: Mapping[str, Any]) -> dict[str, str]:
    return {key: str(machine[key]) for key in DECISIVE_KEYS if key in machine}


def find_data_changes(
    path: Path,
    rows: Sequence[int],
    configs: Sequence[FitConfig],
    asked: ResumeOptions,
    tags: Mapping[str, str] | None,
) -> Changes:
    """Return the data that have changed since the sweep was planned.

    They are those of configs that have another fingerprint than they were planned with.
    """
    found: Changes = {}
    for config, before in zip(
        configs, read_manifest_column(path, "fingerprint", rows), strict=True
    ):
        after = config.fingerprint()
        if after != before:
            files = ", ".join(map(str, config.dataset.list_files()))
            what = f"data {files}" if files else "fingerprint"
            found.setdefault(what, (before, after))
    for key, pair in read_allowed_changes(tags).items():
        if key in found and _holds_still(path, pair, asked):
            del found[key]
    return found


def _holds_still(path: Path, pair: tuple[str, str], asked: ResumeOptions) -> bool:
    """Return True if the fit that was planned with the first fingerprint now has the second."""
    before, after = pair
    fingerprints = read_manifest_column(path, "fingerprint")
    if before not in fingerprints:
        return False
    [config] = read_planned_configs(path, [fingerprints.index(before)], asked)
    return config.fingerprint() == after


def read_allowed_changes(tags: Mapping[str, str] | None) -> Changes:
    """Return the changes allowed before, the last of each key."""
    found: Changes = {}
    for some in read_past_changes(tags):
        for key, (was, now) in some.items():
            found[key] = (was, now)
    return found


def read_past_changes(tags: Mapping[str, str] | None) -> list[dict[str, list[str]]]:
    """Return the changes that were allowed, one dictionary for each resumption."""
    try:
        found = json.loads((tags or {}).get(mlflow_names.CHANGES, "[]"))
    except (ValueError, RecursionError):  # too many for a tag
        return []
    if not isinstance(found, list) or not all(map(_is_changes, found)):
        return []
    return found


def _is_changes(value: object) -> bool:
    return isinstance(value, dict) and all(map(_is_pair, value.values()))


def _is_pair(value: object) -> bool:
    return isinstance(value, list) and list(map(type, value)) == [str, str]


def describe_changes(changes: Changes) -> str:
    """Return changes as a sentence, with the beginnings of digests."""
    parts = [f"{key} changed from {was[:12]} to {now[:12]}" for key, (was, now) in changes.items()]
    return "since the sweep began " + "; ".join(parts)
