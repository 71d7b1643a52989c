"""Find what has changed since a run was recorded.

That is its config, schema, linfit and its code, packages, git and machine.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from linfit.config import FitConfig, flatten_config
from linfit.conventions import find_keys_without_effect
from linfit.tracking.provenance import environment
from linfit.tracking.provenance.environment import Provenance

ABSENT = "absent"
CHANGE_KINDS = ("config", "schema", "linfit", "code", "package", "git", "machine")
#: Keys of the machine that a fit's config decides.
KEYS_OF_CONFIG = ("threads", "device")


@dataclass(frozen=True)
class Change:
    """One change: its kind, its name, and both values.

    The kind is one of KINDS.
    """

    kind: str
    key: str
    then: str
    now: str


def list_changes(then: Provenance, now: Provenance) -> list[Change]:
    """Return the changes from one provenance to another, ordered by KINDS.

    Where the code or uncommitted files differ, the files that differ are named too.
    """
    before = _sections(then)
    after = _sections(now)
    complete = _complete_kinds(then) & _complete_kinds(now)
    # a provenance from tags has some packages and no code files: missing there means unknown
    partial = {"package", "code"} - complete
    found = []
    for place, value in before.items():
        current = after.get(place, ABSENT)
        if value != current and (place in after or place[0] not in partial):
            found.append(Change(*place, value, current))
    for place, value in after.items():
        if place not in before and place[0] in complete:
            found.append(Change(*place, ABSENT, value))
    machine = environment.compare_environments(
        _mapping(then.get("machine")), _mapping(now.get("machine"))
    )
    for key, values in machine.items():
        if key not in (*environment.RECORDED_PACKAGES, *KEYS_OF_CONFIG):
            found.append(Change("machine", key, *values))
    return sorted(found, key=lambda change: CHANGE_KINDS.index(change.kind))


def _complete_kinds(found: Provenance) -> set[str]:
    """Return the kinds that a provenance lists completely: what it lacks was absent."""
    kinds = set()
    if "packages" in found:
        kinds.add("package")
    if "files" in _mapping(found.get("code")):
        kinds.add("code")
    return kinds


def list_config_changes(then: FitConfig, now: FitConfig) -> list[Change]:
    """Return the keys of two configs that differ.

    Keys that change no number of either are left out.
    """
    before = flatten_config(then.as_dict())
    after = flatten_config(now.as_dict())
    found = []
    for key in sorted({*before, *after} - find_keys_without_effect(then, now)):
        old = json.dumps(before[key]) if key in before else ABSENT
        new = json.dumps(after[key]) if key in after else ABSENT
        if old != new:
            found.append(Change("config", key, old, new))
    return found


def _sections(found: Provenance) -> dict[tuple[str, str], str]:
    """Return (kind, key) → value, with each package once."""
    code = _mapping(found.get("code"))
    machine = _mapping(found.get("machine"))
    core = {name: machine[name] for name in environment.RECORDED_PACKAGES if name in machine}
    parts: list[tuple[str, Mapping[str, Any]]] = [
        ("code", _mapping(code.get("files"))),
        ("git", _mapping(found.get("git"))),
        ("package", {**_mapping(found.get("packages")), **core}),
    ]
    sections = {}
    if "schema" in found:
        sections["schema", "of the config"] = str(found["schema"])
    if found.get("linfit"):
        sections["linfit", "version"] = str(found["linfit"])
    if code.get("digest"):
        sections["code", "digest"] = str(code["digest"])[:16]
    for kind, part in parts:
        sections |= {(kind, str(key)): str(value) for key, value in part.items()}
    return sections


def _mapping(part: Any) -> Mapping[str, Any]:
    return part if isinstance(part, dict) else {}
