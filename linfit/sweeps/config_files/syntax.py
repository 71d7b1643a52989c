"""Overrides that Hydra's grammar rejects: what is wrong, and what to type instead, in one line."""

from __future__ import annotations

import re

from linfit.errors import shorten
from linfit.override import Override
from linfit.sweeps.config_files.quoting import QUOTED, correct_quoting
from linfit.system.host import quote_word

_KEY = re.compile(r"[\w$-]+([./][\w$-]+)*(@[\w$.:/-]*)?", re.ASCII)
_QUOTED_TEXT = re.compile(QUOTED)
#: Commas at the beginning, at the end, and twice.
_STRAY_COMMAS = re.compile(
    rf"({QUOTED})|(^\s*|[\[({{])[\s,]*,\s*|,[\s,]*(?=$|[\])}}])|,(?=\s*,)", re.DOTALL
)
_CLOSING = {"[": "]", "{": "}", "(": ")"}
#: What Hydra says of a function that it cannot call.
_CALL = re.compile(r"^\w+ while evaluating '(.+?)': (.+)", re.MULTILINE)


def explain_syntax(text: str, why: str) -> str:
    """Return one line for an override that Hydra's parser rejects, saying `why`."""
    given = Override.read(text)
    if not _KEY.fullmatch(given.key):
        return (
            f"{text!r} cannot be read: {given.key!r} is no key; an override is KEY=VALUE, without "
            "blanks around ="
        )
    came = f"{shorten(text)} cannot be read"
    value = given.value or ""
    fault = _find_unpaired(value)
    corrected = given.with_value(_drop_stray_commas(value).removeprefix("="))
    if not fault and corrected != given and corrected.value:
        surplus = "=" if value.startswith("=") else "a comma"
        return f"{came}: {surplus} is too many: write {quote_word(corrected.text)}"
    fault = fault or _describe_call(why) or _find_fault(value)
    return (
        f"{came}: {fault and f'{fault}; '}text with special characters stands in "
        f"quotes, {correct_quoting(text)}"
    )


def _find_unpaired(value: str) -> str:
    """Return which quote or bracket lacks the other; empty if none does."""
    opened: list[str] = []
    for letter in _QUOTED_TEXT.sub("", value):
        if letter in "\"'":
            return f"the quote {letter} is not closed"
        if letter in _CLOSING:
            opened.append(letter)
        elif letter in _CLOSING.values() and (not opened or _CLOSING[opened.pop()] != letter):
            return f"{letter} closes nothing"
    return f"{opened[-1]} is not closed" if opened else ""


def _drop_stray_commas(value: str) -> str:
    """Return the value without commas that separate nothing; those in quotes stay."""
    return _STRAY_COMMAS.sub(lambda found: (found[1] or "") + (found[2] or ""), value)


def _describe_call(why: str) -> str:
    """Return what Hydra says of a function that it cannot call; empty if it says nothing."""
    found = _CALL.search(why)
    return f"{found[1]}: {found[2]}" if found else ""


def _find_fault(value: str) -> str:
    """Return what is wrong with a value; empty if it is a special character."""
    bare = _QUOTED_TEXT.sub("", value)
    if re.search(r"(?<!\$)\{[^:{}]*\}", bare):
        return "{} holds KEY:VALUE"
    return "= stands in the value too" if "=" in bare else ""
