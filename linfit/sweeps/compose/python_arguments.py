"""A sweep asked for in Python, as arguments of the command line."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from linfit.errors import ConfigError, shorten
from linfit.problem.datasets.arrays import Arrays
from linfit.sweeps.config_files.quoting import quote_text

#: What one argument may be made of: quotes and brackets keep the blanks in them.
_OPENING = {"[": "]", "(": ")", "{": "}"}
#: Text that is one value on the command line, without quotes.
_PLAIN_TEXT = re.compile(r"[\w./:@+-][\w ./:@+-]*")
_WANTED = "a list of overrides, a text of them, or a dict of keys and values"


def list_sweep_arguments(given: Any) -> list[str]:
    """Return the arguments of a sweep that is given as a list, a text, or a dict.

    A text is split at its blanks. In a dict a text is what stands behind `=`, and any other
    sequence has the values that are swept.
    """
    if isinstance(given, str):
        return split_at_blanks(given)
    if isinstance(given, Mapping):
        return [argument for key, value in given.items() for argument in _write(key, value)]
    if not isinstance(given, Iterable):
        raise ConfigError(f"linfit.sweep takes {_WANTED}, got {shorten(repr(given))}")
    arguments = list(given)
    for argument in arguments:
        if not isinstance(argument, str):
            raise ConfigError(f"linfit.sweep takes {_WANTED}: {shorten(repr(argument))} is no text")
    return arguments


def split_at_blanks(text: str) -> list[str]:
    """Split a text at its blanks, except in quotes and brackets; ConfigError where one is open."""
    arguments = [""]
    closing: list[str] = []
    for letter in text:
        if closing and closing[-1] in "'\"":
            if letter == closing[-1]:
                closing.pop()
        elif closing and letter == closing[-1]:
            closing.pop()
        elif letter in "'\"":
            closing.append(letter)
        elif letter in _OPENING:
            closing.append(_OPENING[letter])
        elif letter.isspace() and not closing:
            arguments.append("")
            continue
        arguments[-1] += letter
    if closing:
        raise ConfigError(f"{shorten(text)!r}: {closing[-1]} is missing")
    return [argument for argument in arguments if argument]


def _write(key: Any, value: Any) -> Iterator[str]:
    if not isinstance(key, str):
        raise ConfigError(f"a key of a sweep is text such as 'optimizer.lr', got {key!r}")
    if isinstance(value, Arrays):
        yield from value.overrides
    elif isinstance(value, str):
        yield f"{key}={value}"
    elif isinstance(value, range) and value.step == 1 and len(value):
        yield f"{key}=range({value.start},{value.stop})"
    elif isinstance(value, Mapping) or not isinstance(value, Iterable):
        yield f"{key}={_write_value(key, value)}"
    else:
        yield f"{key}={_write_choices(key, value)}"


def _write_choices(key: str, values: Iterable[Any]) -> str:
    if isinstance(values, set | frozenset):
        raise ConfigError(f"{key}: a set has no order, give its values as a list")
    choices = [_write_value(key, value) for value in values]
    if not choices:
        raise ConfigError(f"{key}: there is no value to sweep, the list is empty")
    return ",".join(choices)


def _write_value(key: str, value: Any) -> str:
    """Return one value in Hydra's grammar; ConfigError where it has no words for it."""
    if hasattr(value, "item") and not getattr(value, "shape", ()):
        value = value.item()  # a number of numpy's
    if value is None:
        return "null"
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, int | float):
        return repr(value)
    if isinstance(value, str):
        return value if _PLAIN_TEXT.fullmatch(value) else quote_text(value)
    if isinstance(value, Mapping):
        parts = [f"{name}:{_write_value(key, part)}" for name, part in value.items()]
        return "{" + ",".join(parts) + "}"
    if isinstance(value, Iterable) and not isinstance(value, bytes | set | frozenset):
        return "[" + ",".join(_write_value(key, part) for part in value) + "]"
    raise ConfigError(
        f"{key}: got {shorten(repr(value))}, a number, a text, a truth value, None, a list or a "
        "dict of these is needed"
    )
