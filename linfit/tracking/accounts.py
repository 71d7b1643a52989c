"""What is recorded of a fit config: its whole text with a hash, its fingerprint, its params, and what a sweep varies of it."""

from __future__ import annotations

import hashlib
import json
import re
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from linfit.config import GROUPS, FitConfig, canonical, digest, flatten
from linfit.conventions import SCHEMA
from linfit.override import Override
from linfit.problem.files import Table
from linfit.tracking import limits
from linfit.tracking.masking import masked

#: What says the same as `json.dumps`, several times as fast.
_FAST: dict[type, Callable[[Any], str]] = {
    int: repr,
    float: repr,
    bool: {True: "true", False: "false"}.__getitem__,
}
#: What names a component on the command line.
OPTION = re.compile(r"[\w./-]+")
#: Keys that say nothing of a run that its name should say.
UNNAMED = ("name", "plugins", "pictures", "tracking")


@dataclass(frozen=True, slots=True)
class Account:
    """All of it, worked out once: a sweep has thousands of configs, and each is written to the manifest and to the store."""

    label: str
    """What the sweep varies, in this fit; empty where it varies nothing."""
    text: str
    fingerprint: str
    params: dict[str, str]
    """Every key that decides the numbers, flattened: `optimizer` is its name, `optimizer.lr` its learning rate."""
    swept: dict[str, float]
    """What the sweep varies and is a number."""

    def name(self, place: int) -> str:
        """What the fit is called in its sweep."""
        return self.label or _unnamed(place)


def account(
    config: FitConfig, varying: Sequence[str] = (), overrides: Sequence[str] = ()
) -> Account:
    data = config.as_dict()
    numbers = config.numbers(data)
    return Account(
        _label(data, varying, overrides),
        _stored(data),
        digest(numbers),
        _params(config, numbers),
        _swept(data, varying),
    )


def name_of(
    config: FitConfig, varying: Sequence[str], place: int, overrides: Sequence[str] = ()
) -> str:
    """What a fit is called in its sweep."""
    return label(config, varying, overrides) or _unnamed(place)


def label(config: FitConfig, varying: Sequence[str], overrides: Sequence[str] = ()) -> str:
    """What the sweep varies, in this fit: `adam lr=0.01 seed=3`. A component stands for itself; keys are as short as they are unambiguous.

    A component that one of the overrides chooses has the name by which it was chosen.
    """
    return _label(config.as_dict(), varying, overrides)


def swept_numbers(config: FitConfig, varying: Sequence[str]) -> dict[str, float]:
    return _swept(config.as_dict(), varying)


def described(
    text: str, varying: Sequence[str], place: int, overrides: Sequence[str]
) -> tuple[str, dict[str, float]]:
    """Return the name of the fit whose config is stored as `text`, and its varying numbers."""
    data = json.loads(text)["config"]
    return _label(data, varying, overrides) or _unnamed(place), _swept(data, varying)


def stored_text(config: FitConfig) -> str:
    """The whole config as canonical JSON, with the hash by which a reader knows that it is what was written."""
    return _stored(config.as_dict())


def stored_config(config: FitConfig) -> dict[str, Any]:
    """The same as plain data."""
    stored: dict[str, Any] = json.loads(stored_text(config))
    return stored


def _stored(data: dict[str, Any]) -> str:
    text = canonical(data)
    text = canonical(masked(data)) if "://" in text else text
    return f'{{"config":{text},"schema":{SCHEMA},"sha256":"{hashlib.sha256(text.encode()).hexdigest()}"}}'


def _params(config: FitConfig, numbers: dict[str, Any]) -> dict[str, str]:
    fields = flatten(numbers)
    if isinstance(config.dataset, Table):
        fields["dataset.path"] = config.dataset.path
    return {
        key: sys.intern(limits.shortened(_text(value), limits.PARAM))
        for key, value in fields.items()
    }  # most are the same in all fits of a sweep


def read_choice(override: str) -> tuple[str, str] | None:
    """Return the group and the name of the component that an override chooses; None where it chooses none."""
    given = Override.read(override)
    if given.deletes or given.key not in GROUPS:
        return None
    name = (given.value or "").strip("'\"")
    return (given.key, name) if OPTION.fullmatch(name) else None


def _label(data: dict[str, Any], varying: Sequence[str], overrides: Sequence[str]) -> str:
    groups = [key for key in varying if key in GROUPS]
    chosen = dict(filter(None, map(read_choice, overrides))) if groups else {}
    ends = [key.rsplit(".", 1)[-1] for key in varying]
    words = []
    for key, end in zip(varying, ends, strict=True):
        known, value = _found(data, key)
        if known and key.split(".")[0] not in UNNAMED:
            short = end if ends.count(end) == 1 else key
            value = chosen.get(key, value)
            words.append(_text(value) if isinstance(value, str) else f"{short}={_text(value)}")
    return " ".join(words)


def _swept(data: dict[str, Any], varying: Sequence[str]) -> dict[str, float]:
    numbers = {key: _found(data, key)[1] for key in varying}
    return {
        key: value
        for key, value in numbers.items()
        if isinstance(value, int | float) and not isinstance(value, bool)
    }


def _unnamed(place: int) -> str:
    return f"fit {place}"


def _found(data: dict[str, Any], key: str) -> tuple[bool, Any]:
    """Whether `flatten` has the key, and its value: without flattening all the others."""
    *groups, last = key.split(".")
    for group in groups:
        inner = data.get(group)
        if not isinstance(inner, dict) or last == "name":  # which stands under its group's own name
            return False, None
        data = inner
    value = data.get(last)
    if isinstance(value, dict):
        return "name" in value, value.get("name")
    return last in data, value


def _text(value: Any) -> str:
    """A string as it is, anything else as JSON."""
    if isinstance(value, str):
        return value
    return _FAST.get(type(value), json.dumps)(value)
