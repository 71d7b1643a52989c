"""Text on the command line: names that look like numbers, and arguments as they are typed in a shell."""

from __future__ import annotations

import re

from hydra.core.override_parser.types import Quote, QuotedString

from linfit.errors import ConfigError
from linfit.system import has_windows_shell, quote_word

#: Keys whose values are names of columns.
NAMES = ("dataset.features", "dataset.target", "dataset.weight")

# Hydra's grammar, as far as it decides what is text
_QUOTED = r"""'(?:\\.|[^'\\])*'|"(?:\\.|[^"\\])*\""""
_DIGITS = r"[0-9](?:_?[0-9])*"
_INT = r"(?:0|[1-9](?:_?[0-9])*)"
_INTEGER = re.compile(rf"[+-]?{_INT}", re.ASCII)
_NO_TEXT = re.compile(
    rf"[+-]?(?:(?:{_INT}\.?|{_INT}?\.{_DIGITS})(?:[eE][+-]?{_DIGITS})?|inf|nan)|true|false",
    re.ASCII | re.IGNORECASE,
)
_PIECES = re.compile(rf"{_QUOTED}|[^\[\](){{}},:=\"']+|.", re.DOTALL)
_PARTS = re.compile(rf"(?:{_QUOTED}|[^,])+")
#: An integer that is written as a name of a column may be.
_PLAIN = re.compile(r"0|-?[1-9][0-9]*", re.ASCII)


def keep_names(override: str) -> str:
    """Return the override with quotes around the names that Hydra would read as another number.

    `1_0` is 10 to Hydra, and `+5` is 5. A fraction or a truth value, `1e3` or `true`, is refused: the name needs quotes.
    """
    key, _, value = override.partition("=")
    key = key.lstrip("+")
    if key == "dataset.separator" and len(value) == 1:
        return f"{override[:-1]}'{value}'"
    if key not in NAMES and key != "dataset":
        return override
    opens, closes = ("=,([{:", ",)]}") if key == "dataset" else ("=,([{", ",)]}")
    pieces = [*_PIECES.findall(override), ","]
    for place in range(1, len(pieces) - 1):
        word = pieces[place].strip()
        if (
            pieces[place - 1] not in opens
            or pieces[place + 1] not in closes
            or _PLAIN.fullmatch(word)
        ):
            continue  # a part of a longer text, or a number that is its own name
        if _INTEGER.fullmatch(word):
            pieces[place] = pieces[place].replace(word, f"'{word}'")
        elif key in NAMES and _NO_TEXT.fullmatch(word):
            raise ConfigError(
                f"{override}: {word} is no text; a name that looks so needs quotes: {corrected(override)}"
            )
    return "".join(pieces[:-1])


def corrected(override: str) -> str:
    """Return the override with its value as text, or as a list of texts, as it is typed in a shell."""
    key, _, value = override.partition("=")
    if value.startswith("[") and value.endswith("]"):
        return typed(
            key, f"[{','.join(quoted(part.strip()) for part in _PARTS.findall(value[1:-1]))}]"
        )
    return typed(key, quoted(value))


def typed(key: str, value: str) -> str:
    """Return the argument KEY=VALUE as it is typed in a shell."""
    return quote_word(f"{key}={value}")


def quoted(text: str) -> str:
    """Return text in quotes of Hydra's grammar that the user's shell leaves alone; text that has them already as it is."""
    if re.fullmatch(_QUOTED, text):
        return text
    quote = Quote.single if has_windows_shell() else Quote.double
    return QuotedString(text, quote).with_quotes()
