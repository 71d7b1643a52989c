"""What a config that is refused has wrong, in one line: the key, what came, what to choose."""

from __future__ import annotations

from collections.abc import Iterator
from difflib import get_close_matches
from typing import Any, Literal, get_args, get_origin

from pydantic import ValidationError
from pydantic.fields import FieldInfo

from linfit.component import Frozen
from linfit.config import GROUPS, FitConfig
from linfit.errors import count_things, shorten
from linfit.synonyms import VALUE_HINTS

#: Most mistakes that one message names.
MAX_ERRORS = 10
#: Choices that are so few that none is suggested.
FEW_CHOICES = 3
#: Bounds of numbers, by their names in pydantic.
_SIGNS = {"gt": ">", "ge": "≥", "lt": "<", "le": "≤"}
_BOUND_ERRORS = ("greater_than", "greater_than_equal", "less_than", "less_than_equal")
_NUMBER_ERRORS = ("float_type", "int_type", "finite_number")
_PLAIN_CHOICES = {
    "bool_type": "choose true or false",
    "string_type": "choose a text",
    "tuple_type": "write a list, [A,B,…]",
}


def explain_validation_errors(error: ValidationError, model: type[Frozen] = FitConfig) -> str:
    """Return a line that names each mistake of what should be a `model`.

    It has the key, what came, and what to choose.
    """
    parts = error.errors(include_url=False)
    more = f"; and {len(parts) - MAX_ERRORS:,} more" if len(parts) > MAX_ERRORS else ""
    return "; ".join(_explain_part(part, model) for part in parts[:MAX_ERRORS]) + more


def _explain_part(part: Any, model: type[Frozen]) -> str:
    key = shorten(".".join(map(str, part["loc"])))
    message = part["msg"].removeprefix("Value error, ")
    if part["type"] in ("component", "value_error"):
        return f"{key}: {message}" if key else message
    if part["type"] == "missing":
        return describe_missing(part["loc"], model)
    fields = list(_find_fields(part["loc"], model))
    hint = f": {VALUE_HINTS[key]}" if key in VALUE_HINTS else ""
    return f"{key}: got {shorten(repr(part['input']))}, {_advise(part, fields, message)}{hint}"


def describe_missing(place: tuple[Any, ...], model: type[Frozen] = FitConfig) -> str:
    """Return what to give for a key that has no default, or for a number that a list lacks."""
    key = shorten(".".join(map(str, place)))
    if isinstance(place[-1], int):
        return f"{key} is required: the list is too short"
    known = _list_literals(list(_find_fields(place, model)))
    advice = f"choose one of {', '.join(known)}" if known else f"give {key}=…"
    return f"{key} is required: {advice}"


def _advise(part: Any, fields: list[FieldInfo], message: str) -> str:
    """Return what to choose in place of a value that is refused."""
    kind = part["type"]
    if kind in _PLAIN_CHOICES:
        return _PLAIN_CHOICES[kind]
    if kind == "literal_error":
        return _suggest(part, _list_literals(fields))
    if kind in _BOUND_ERRORS or kind in _NUMBER_ERRORS:
        return f"choose {_describe_number(part, fields)}{_spell_number(part)}"
    if kind in ("too_short", "string_too_short"):
        return f"give at least {_count_pieces(kind, part['ctx']['min_length'])}"
    if kind in ("too_long", "string_too_long"):
        return f"give at most {_count_pieces(kind, part['ctx']['max_length'])}"
    return f"{message[:1].lower()}{message[1:]}"


def _count_pieces(kind: str, count: int) -> str:
    return count_things(count, "character" if kind.startswith("string") else "item")


def _suggest(part: Any, known: list[str]) -> str:
    """Return the values that a key may have, and the one that is nearest to what came."""
    listed = ", ".join(known) or part["ctx"]["expected"]
    near = get_close_matches(str(part["input"]), known, n=1) if len(known) > FEW_CHOICES else []
    hint = f"did you mean {near[0]!r}? " if near else ""
    return f"{hint}choose one of {listed}"


def _describe_number(part: Any, fields: list[FieldInfo]) -> str:
    """Return which numbers are allowed: `a number > 0 and < 1`."""
    is_whole = part["type"] == "int_type" or all(_is_whole(field) for field in fields)
    noun = "a whole number" if is_whole and fields else "a number"
    if part["type"] == "finite_number":
        noun = "a finite number"
    ranges = {_describe_range(field) for field in fields}
    if len(ranges) == 1:
        return f"{noun}{ranges.pop()}"
    # Of components that differ the bound that was passed is what is known.
    bounds = part.get("ctx", {})
    return " ".join([noun, *(f"{_SIGNS[key]} {bounds[key]:g}" for key in bounds)])


def _is_whole(field: FieldInfo) -> bool:
    return int in _list_parts(field.annotation)


def _describe_range(field: FieldInfo) -> str:
    """Return the bounds of a number: ` > 0 and < 1`, empty if it has none."""
    bounds = {}
    for mark in _list_marks(field):
        for key, sign in _SIGNS.items():
            if (value := getattr(mark, key, None)) is not None:
                bounds[sign] = str(value) if isinstance(value, int) else f"{value:g}"
    words = " and ".join(f"{sign} {bounds[sign]}" for sign in _SIGNS.values() if sign in bounds)
    return f" {words}" if words else ""


def _spell_number(part: Any) -> str:
    """Return how to write a number that came as another type."""
    given = part["input"]
    if part["type"] == "int_type" and isinstance(given, float) and given.is_integer():
        return f": write {int(given)}"
    if isinstance(given, str) and given.lstrip("-").replace(".", "", 1).isdecimal():
        return f": write {given} without quotes"
    return ""


# ---- the fields that a place in a config may mean ----


def _find_fields(place: tuple[Any, ...], model: type[Frozen]) -> Iterator[FieldInfo]:
    """Yield the fields of that place: of a group, those of each component that has it."""
    names = [name for name in place if isinstance(name, str)]
    kinds = [model]
    if len(names) == 2:
        kinds = _list_kinds(names[0], model)
    for kind in kinds if len(names) < 3 else ():
        if names and names[-1] in kind.model_fields:
            yield kind.model_fields[names[-1]]


def _list_kinds(section: str, model: type[Frozen]) -> list[type[Frozen]]:
    """Return the classes that a section of a model may be of."""
    field = model.model_fields.get(section)
    if field is None:
        return []
    if section in GROUPS:
        return list(GROUPS[section].choices.values())
    kind = field.annotation
    return [kind] if isinstance(kind, type) and issubclass(kind, Frozen) else []


def _list_parts(annotation: Any) -> list[Any]:
    """Return a type and the types that it is made of."""
    if get_origin(annotation) is Literal:
        return [annotation]
    parts = [annotation]
    for inner in get_args(annotation):
        parts += _list_parts(inner)
    return parts


def _list_marks(field: FieldInfo) -> Iterator[Any]:
    """Yield the constraints of a field, and of the types that it is made of."""
    yield from field.metadata
    for part in _list_parts(field.annotation):
        yield from part.metadata if isinstance(part, FieldInfo) else [part]


def _list_literals(fields: list[FieldInfo]) -> list[str]:
    """Return the texts that fields may be, where these are listed."""
    found: list[str] = []
    for field in fields:
        for part in _list_parts(field.annotation):
            if get_origin(part) is Literal:
                found += map(str, get_args(part))
    return list(dict.fromkeys(found))
