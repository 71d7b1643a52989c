"""Names that people read: of runs, from the values of a config, in at most 60 characters.

A name tells runs apart for a reader. Nothing is identified by it: rows and run ids do that.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Mapping, Sequence
from typing import Any

#: Characters of a run's name at most; MLflow's own limit is 250.
MAX_RUN_NAME = 60
#: Mark of what was left out.
CUT = "…"
#: Characters of a word that is cut at least: fewer tell nothing.
_MIN_WORD = 12
#: Room for the row of a sweep, of which the largest is 999,999.
_ROW_SUFFIX = len(" #999999")
#: Invisible characters that join the letters and emojis around them.
_JOINERS = "\u200c\u200d"
#: Characters that MLflow refuses in a model's name, and those that end an address `runs:/RUN/NAME`.
_NOT_IN_MODELS = "/:.%\"'?#;\\"
_CONSTANTS = {None: "null", True: "true", False: "false"}


def write_value(value: Any) -> str:
    """Write a value for a reader: text without quotes and escapes, a list as `[a,b]`."""
    if isinstance(value, str):
        return value
    if value is None or isinstance(value, bool):
        return _CONSTANTS[value]
    if isinstance(value, Mapping):
        return "{" + ",".join(f"{key}:{write_value(part)}" for key, part in value.items()) + "}"
    if isinstance(value, Sequence):
        return "[" + ",".join(map(write_value, value)) + "]"
    return repr(value)


def name_by_words(words: Sequence[str], separator: str = " ", most: int = MAX_RUN_NAME) -> str:
    """Join words to a name of at most `most` characters.

    A name that would be longer has its long words cut in the middle, then lacks words before the
    last one, which is often the seed.
    """
    name = separator.join(map(write_on_one_line, words))
    if len(name) <= most:
        return name

    kept = list(map(write_on_one_line, words))
    while len(kept) > 2 and _find_cap(kept, separator, most) < _MIN_WORD:
        del kept[-2 if kept[-2] != CUT else -3]
        if CUT not in kept:
            kept.insert(-1, CUT)
    cap = max(_find_cap(kept, separator, most), 1)
    return cut_middle(separator.join(cut_middle(word, cap) for word in kept), most)


def name_fit_by_words(words: Sequence[str]) -> str:
    """Join the words of a fit in a sweep; a name that is cut leaves room for `number_name`."""
    whole = " ".join(map(write_on_one_line, words))
    if len(whole) <= MAX_RUN_NAME:
        return whole
    return name_by_words(words, most=MAX_RUN_NAME - _ROW_SUFFIX)


def number_name(name: str, row: int) -> str:
    """Return the name of the fit in a row: numbered if it has none, or if it was cut."""
    if not name:
        return f"fit {row}"
    numbered = f"{name} #{row}"
    return numbered if CUT in name and len(numbered) <= MAX_RUN_NAME else name


def name_model(name: str) -> str:
    """Return the name of a run's model: the run's own, as far as MLflow takes it."""
    return name.translate(dict.fromkeys(map(ord, _NOT_IN_MODELS), "_")) or "model"


def cut_middle(text: str, most: int) -> str:
    """Return the text in at most `most` characters: its beginning, `…` and its end.

    Characters that are drawn as one, such as a letter and its accent, stay together.
    """
    if len(text) <= most:
        return text
    start = most // 2
    end = len(text) - (most - start - len(CUT))
    while start and _continues(text, start):
        start -= 1
    while end < len(text) and _continues(text, end):
        end += 1
    return f"{text[:start]}{CUT}{text[end:]}"


def _find_cap(words: Sequence[str], separator: str, most: int) -> int:
    """Return the length to which the longest words have to be cut for all of them to fit."""
    room = most - len(separator) * (len(words) - 1)
    lengths = sorted(map(len, words))
    for index, length in enumerate(lengths):
        share = room // (len(lengths) - index)
        if length > share:
            return share
        room -= length
    return most


def _continues(text: str, place: int) -> bool:
    """Return True if the character at a place is drawn as one with the character before it."""
    letter = text[place]
    return (
        unicodedata.category(letter) in ("Mn", "Mc", "Me")  # accents and variation selectors
        or letter in _JOINERS
        or text[place - 1] in _JOINERS
        or 0x1F3FB <= ord(letter) <= 0x1F3FF  # tones of skin
    )


def write_on_one_line(text: str) -> str:
    """Return the text on one line, without characters that control how it is shown."""
    if text.isprintable():
        return text
    shown = (letter if letter.isprintable() or letter in _JOINERS else " " for letter in text)
    return " ".join("".join(shown).split())
