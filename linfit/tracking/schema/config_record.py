"""Decide what is recorded of a fit config.

That is its whole text with a hash, its fingerprint, its params, and what a sweep varies of it.
"""

from __future__ import annotations

import hashlib
import json
import re
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from pydantic_core import from_json

from linfit.config import GROUPS, FitConfig, canonical_json, flatten_config, hash_data
from linfit.conventions import CONFIG_SCHEMA
from linfit.override import Override
from linfit.problem.datasets.tabular_file import TabularFile
from linfit.tracking.schema import limits
from linfit.tracking.schema.grid_labels import find_label
from linfit.tracking.schema.short_names import name_fit_by_words, number_name, write_value
from linfit.tracking.secrets.masking import mask_data

#: Functions that write what `json.dumps` does, several times as fast.
_FAST: dict[type, Callable[[Any], str]] = {
    int: repr,
    float: repr,
    bool: {True: "true", False: "false"}.__getitem__,
}
#: The name of a component on the command line.
COMPONENT_NAME = re.compile(r"[\w./-]+")
#: Keys that a fit's name leaves out.
UNNAMED_KEYS = ("name", "plugins", "pictures", "theory", "tracking")


@dataclass(frozen=True, slots=True)
class ConfigRecord:
    """What is recorded of one config, computed once.

    A sweep has thousands of configs, and each is written to the manifest and to the store.
    """

    label: str
    """The values that the sweep varies; empty where it varies nothing."""
    text: str
    fingerprint: str
    params: dict[str, str]
    """Keys that decide the numbers, flattened: `optimizer` is a name, `optimizer.lr` a number."""
    swept: dict[str, float]
    """The numbers that the sweep varies."""

    def name_at(self, place: int) -> str:
        """Return the name of the fit in its sweep."""
        return number_name(self.label, place)


def record_config(
    config: FitConfig, varying: Sequence[str] = (), overrides: Sequence[str] = ()
) -> ConfigRecord:
    """Return what is recorded of a config.

    Its name and numbers are those of the `varying` keys.
    """
    data = config.as_dict()
    numbers = config.numbers(data)
    return ConfigRecord(
        _name(data, varying, overrides),
        _serialize(data),
        hash_data(numbers),
        _params(config, numbers),
        _swept(data, varying),
    )


def name_fit(
    config: FitConfig, varying: Sequence[str], place: int, overrides: Sequence[str] = ()
) -> str:
    """Return the name of a fit in its sweep."""
    return number_name(label_fit(config, varying, overrides), place)


def label_fit(config: FitConfig, varying: Sequence[str], overrides: Sequence[str] = ()) -> str:
    """Return the varying values of this fit: `adam lr=0.01 seed=3`.

    A component is its name alone, the one by which an override chose it. Keys are as short as they
    are unambiguous.
    """
    return name_fit_by_words(list_fit_words(config, varying, overrides))


def list_fit_words(
    config: FitConfig, varying: Sequence[str], overrides: Sequence[str] = ()
) -> list[str]:
    """Return the words of `label_fit`."""
    return _list_words(config.as_dict(), varying, overrides)


def select_swept_numbers(config: FitConfig, varying: Sequence[str]) -> dict[str, float]:
    """Return the numbers among the values that a sweep varies."""
    return _swept(config.as_dict(), varying)


def describe_stored_fit(
    text: str, varying: Sequence[str], place: int, overrides: Sequence[str]
) -> tuple[str, dict[str, float]]:
    """Return the name of a stored fit and its varying numbers.

    `text` is its config as stored.
    """
    data = json.loads(text)["config"]
    name = number_name(_name(data, varying, overrides), place)
    return name, _swept(data, varying)


def read_swept_values(
    text: str, varying: Sequence[str], overrides: Sequence[str]
) -> dict[str, Any]:
    """Return the values of the varying keys in the config that is stored as `text`.

    A component is the name by which an override chose it. A key that the config lacks is left out.
    """
    data = from_json(text)["config"]
    chosen = _read_choices(varying, overrides)
    found = {}
    for key in varying:
        is_known, value = _find(data, key)
        if is_known:
            found[key] = chosen.get(key, value)
    return found


def serialize_config(config: FitConfig) -> str:
    """Return the whole config as canonical JSON, with its hash.

    By the hash a reader checks it.
    """
    return _serialize(config.as_dict())


def dump_config(config: FitConfig) -> dict[str, Any]:
    """Return the content of `serialize_config` as plain data."""
    stored: dict[str, Any] = json.loads(serialize_config(config))
    return stored


def _serialize(data: dict[str, Any]) -> str:
    text = canonical_json(data)
    if "://" in text:
        text = canonical_json(mask_data(data))
    sha256 = hashlib.sha256(text.encode()).hexdigest()
    return f'{{"config":{text},"schema":{CONFIG_SCHEMA},"sha256":"{sha256}"}}'


def _params(config: FitConfig, numbers: dict[str, Any]) -> dict[str, str]:
    fields = flatten_config(numbers)
    if isinstance(config.dataset, TabularFile):
        fields["dataset.path"] = config.dataset.path
    params = {}
    for key, value in fields.items():
        text = limits.shorten_with_digest(_text(value), limits.MAX_PARAM)
        # most values are the same in all fits of a sweep
        params[key] = sys.intern(text)
    return params


def parse_choice(override: str) -> tuple[str, str] | None:
    """Return the group and component that an override chooses, or None."""
    given = Override.read(override)
    if given.deletes or given.key not in GROUPS:
        return None
    name = (given.value or "").strip("'\"")
    if COMPONENT_NAME.fullmatch(name):
        return given.key, name
    return None


def _name(data: dict[str, Any], varying: Sequence[str], overrides: Sequence[str]) -> str:
    return name_fit_by_words(_list_words(data, varying, overrides))


def _list_words(
    data: dict[str, Any], varying: Sequence[str], overrides: Sequence[str]
) -> list[str]:
    """Return the words for the values of a fit, with its grid's label for those it stands for."""
    chosen = _read_choices(varying, overrides)
    label = find_label(overrides)
    words = [] if label is None else [label.text]
    ends = [key.rsplit(".", 1)[-1] for key in varying]
    for key, end in zip(varying, ends, strict=True):
        is_known, value = _find(data, key)
        if not is_known or key.split(".")[0] in UNNAMED_KEYS:
            continue
        if label is not None and label.stands_for(key):
            continue
        value = chosen.get(key, value)
        if isinstance(value, str):
            words.append(value)
        else:
            short = end if ends.count(end) == 1 else key
            words.append(f"{short}={_FAST.get(type(value), write_value)(value)}")
    return words


def _read_choices(varying: Sequence[str], overrides: Sequence[str]) -> dict[str, str]:
    """Return the names by which overrides chose components, if a group varies."""
    if not any(key in GROUPS for key in varying):
        return {}
    return dict(filter(None, map(parse_choice, overrides)))


def _swept(data: dict[str, Any], varying: Sequence[str]) -> dict[str, float]:
    numbers = {}
    for key in varying:
        value = _find(data, key)[1]
        if isinstance(value, int | float) and not isinstance(value, bool):
            numbers[key] = value
    return numbers


def _find(data: dict[str, Any], key: str) -> tuple[bool, Any]:
    """Return True and the value if `flatten_config(data)` has the key.

    The rest is not flattened.
    """
    *groups, last = key.split(".")
    for group in groups:
        inner = data.get(group)
        if not isinstance(inner, dict) or last == "name":  # a name is under its group's own key
            return False, None
        data = inner
    value = data.get(last)
    if isinstance(value, dict):
        return "name" in value, value.get("name")
    return last in data, value


def _text(value: Any) -> str:
    """Return a string as it is, and anything else as JSON."""
    if isinstance(value, str):
        return value
    return _FAST.get(type(value), json.dumps)(value)
