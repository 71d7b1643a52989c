"""What is not as it was when a run was recorded: schema, linfit and its code, packages, git, machine; and the config, where one asks for it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from linfit.config import FitConfig, flatten
from linfit.conventions import keys_without_effect
from linfit.errors import LinfitError
from linfit.tracking import environment, layout
from linfit.tracking.reading import Reader, Record

ABSENT = "absent"
KINDS = ("config", "schema", "linfit", "code", "package", "git", "machine")
#: What a fit's config decides and not the machine.
DECIDED = ("threads", "device")

Document = Mapping[str, Any]


@dataclass(frozen=True)
class Change:
    """One thing that is not as it was: its kind, one of KINDS, its name, both values."""

    kind: str
    key: str
    then: str
    now: str


def document_of(reader: Reader, record: Record) -> Document:
    """What was kept of where a run's numbers come from, of a sweep's child through its parent: from `environment.json`, else from tags.

    LinfitError where the file was changed after it was written.
    """
    record = reader.top(record)
    if layout.ENVIRONMENT_FILE in reader.artifacts(record):
        return environment.read(reader.file(record, layout.ENVIRONMENT_FILE, environment.MAX_BYTES))
    tags = record.tags
    machine = environment.tagged(tags)
    if machine is None:
        raise LinfitError(
            f"tag {layout.ENVIRONMENT} of run {record.run_id} cannot be read: it was changed after it was written"
        )
    git = {
        "commit": "mlflow.source.git.commit",
        "branch": "mlflow.source.git.branch",
        "dirty": layout.DIRTY,
    }
    return {
        "linfit": tags.get(layout.VERSION),
        "code": {"digest": tags.get(layout.CODE)},
        "machine": machine,
        "git": {key: tags[tag] for key, tag in git.items() if tag in tags},
    }


def changes(then: Document, now: Document) -> list[Change]:
    """What `now` has otherwise. Where code, or what is uncommitted, differs, the files that differ are named too."""
    before, after = _sections(then), _sections(now)
    listed = _listed(then) & _listed(now)
    part = {"package", "code"} - listed  # of which one of them, a tag, has some only
    found = [
        Change(*place, value, after.get(place, ABSENT))
        for place, value in before.items()
        if value != after.get(place, ABSENT) and (place in after or place[0] not in part)
    ]
    found += [
        Change(*place, ABSENT, value)
        for place, value in after.items()
        if place not in before and place[0] in listed
    ]
    found += [Change("machine", key, *values) for key, values in _machines(then, now).items()]
    return sorted(found, key=lambda change: KINDS.index(change.kind))


def _listed(found: Document) -> set[str]:
    """Return the kinds of which a document has everything, so that what it lacks was absent."""
    whole = {"package": "packages" in found, "code": "files" in _mapping(found.get("code"))}
    return {kind for kind, has in whole.items() if has}


def _machines(then: Document, now: Document) -> dict[str, tuple[str, str]]:
    """Return what of the machine differs, without packages and without what the config decides."""
    found = environment.differing(_mapping(then.get("machine")), _mapping(now.get("machine")))
    return {
        key: values for key, values in found.items() if key not in (*environment.PACKAGES, *DECIDED)
    }


def config_changes(then: FitConfig, now: FitConfig) -> list[Change]:
    """The keys of a config that differ, but for conventions that change no number of either fit."""
    one, other = (flatten(config.as_dict()) for config in (then, now))
    keys = sorted({*one, *other} - keys_without_effect(then, now))
    texts = (
        (key, *(json.dumps(part[key]) if key in part else ABSENT for part in (one, other)))
        for key in keys
    )
    return [Change("config", key, before, after) for key, before, after in texts if before != after]


def _sections(found: Document) -> dict[tuple[str, str], str]:
    """(kind, key) → value. A package that the machine's part has already is left out of the others."""
    code, machine = _mapping(found.get("code")), _mapping(found.get("machine"))
    core = {name: machine[name] for name in environment.PACKAGES if name in machine}
    parts: list[tuple[str, Mapping[str, Any]]] = [
        ("schema", {"of the config": found["schema"]} if "schema" in found else {}),
        ("linfit", {"version": found["linfit"]} if found.get("linfit") else {}),
        ("code", {"digest": str(code["digest"])[:16]} if code.get("digest") else {}),
        ("code", _mapping(code.get("files"))),
        ("git", _mapping(found.get("git"))),
        ("package", {**_mapping(found.get("packages")), **core}),
    ]
    return {(kind, str(key)): str(value) for kind, part in parts for key, value in part.items()}


def _mapping(part: Any) -> Mapping[str, Any]:
    return part if isinstance(part, dict) else {}
