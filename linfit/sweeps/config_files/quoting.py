"""Text on the command line: names that look like numbers, and arguments typed in a shell."""

from __future__ import annotations

import re

from hydra.core.override_parser.types import Quote, QuotedString

from linfit.errors import ConfigError
from linfit.override import Override
from linfit.system.host import has_windows_shell, quote_word

#: Keys whose values are names of columns.
COLUMN_KEYS = ("dataset.features", "dataset.target", "dataset.weight")

#: Text in quotes, in Hydra's grammar.
QUOTED = r"""'(?:\\.|[^'\\])*'|"(?:\\.|[^"\\])*\""""
# Hydra's grammar, as far as it decides which values are text.
_DIGITS = r"[0-9](?:_?[0-9])*"
_INT = r"(?:0|[1-9](?:_?[0-9])*)"
_INTEGER = re.compile(rf"[+-]?{_INT}", re.ASCII)
_NO_TEXT = re.compile(
    rf"[+-]?(?:(?:{_INT}\.?|{_INT}?\.{_DIGITS})(?:[eE][+-]?{_DIGITS})?|inf|nan)|true|false",
    re.ASCII | re.IGNORECASE,
)
_PIECES = re.compile(rf"{QUOTED}|[^\[\](){{}},:=\"']+|.", re.DOTALL)
_PARTS = re.compile(rf"(?:{QUOTED}|[^,])+")
_BETWEEN_LISTS = re.compile(r"(?<=\]),(?=\[)")
#: An integer that is written as a name of a column may be.
_PLAIN = re.compile(r"0|-?[1-9][0-9]*", re.ASCII)


def quote_column_names(override: str) -> str:
    """Quote the column names that Hydra would read as another number.

    `1_0` is 10 to Hydra, and `+5` is 5. A fraction or a truth value, `1e3` or `true`, is refused:
    the user has to quote such a name.
    """
    given = Override.read(override)
    if given.deletes or given.value is None:
        return override
    if given.key in ("dataset.separator", "dataset.decimal") and len(given.value) == 1:
        return given.with_value(f"'{given.value}'").text
    if given.key not in COLUMN_KEYS and given.key != "dataset":
        return override

    pieces = [*_PIECES.findall(override), ","]
    whole = given.key == "dataset"
    opens = "=,([{"
    closes = ",)]"
    if whole:
        opens += ":"
        closes += "}"
    for index in range(1, len(pieces) - 1):
        if pieces[index - 1] not in opens or pieces[index + 1] not in closes:
            continue  # part of a longer text
        word = pieces[index].strip()
        if _PLAIN.fullmatch(word):
            continue  # a number that is its own name
        if _INTEGER.fullmatch(word):
            pieces[index] = pieces[index].replace(word, f"'{word}'")
        elif not whole and _NO_TEXT.fullmatch(word):
            raise ConfigError(
                f"{override}: {word} is no text; a name that looks so needs quotes: "
                f"{correct_quoting(override)}"
            )
    return "".join(pieces[:-1])


def correct_quoting(override: str) -> str:
    """Return the override, its value quoted as text for a shell."""
    given = Override.read(override)
    value = given.value or ""
    if value.startswith("[") and value.endswith("]"):
        value = ",".join(map(_quote_list, _BETWEEN_LISTS.split(value)))
    else:
        value = quote_text(value)
    return quote_word(given.with_value(value).text)


def _quote_list(written: str) -> str:
    """Quote each text in a list."""
    parts = (quote_text(part.strip()) for part in _PARTS.findall(written[1:-1]))
    return f"[{','.join(parts)}]"


def quote_text(text: str) -> str:
    """Quote text in Hydra's grammar, as a shell leaves it.

    Text that has quotes already stays as it is.
    """
    if re.fullmatch(QUOTED, text):
        return text
    quote = Quote.single if has_windows_shell() else Quote.double
    return QuotedString(text, quote).with_quotes()
