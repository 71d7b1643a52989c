"""Values behind names that say that they are secret, also in the lines below a name."""

from __future__ import annotations

import re

from linfit.tracking.secrets.secret_names import MASKED, find_innocent, is_secret_name

#: Parts of the names of secrets, for a first look at a whole text.
SECRET_NAME_PARTS = (
    "pass",
    "pw",
    "secret",
    "token",
    "key",
    "auth",
    "cred",
    "signature",
    "cookie",
    "bearer",
)
_SIGN = r"[ \t]{0,16}(?::=|=>|[:=](?![=:])|[ \t]value=)[ \t]{0,64}"
_PAIR = r"[\"'][ \t]{0,8},[ \t]{0,8}"
#: A name with the text between it and its value:
#: `PASSWORD=`, `"api_key": `, `--token `, `setenv("TOKEN", `, `<password>`.
_NAMED = re.compile(
    rf"(?<![\w.-])(?:(?P<flag>--?[A-Za-z][\w.-]*+)(?:{_SIGN}|{_PAIR}|[ \t]{{1,16}})"
    rf"|(?P<name>[\w.-]++)[\\\"'`\])]{{0,4}}{_SIGN}"
    rf"|(?<=[\w]\()[\"'](?P<argument>[\w.-]++){_PAIR}"
    r"|<(?P<element>[\w:.-]++)>"
    r"|(?:ENV|setx|setenv|set[ \t]-\w{1,4})[ \t]{1,8}(?P<variable>[\w.-]++)[ \t]{1,16})"
)
_NETRC = re.compile(
    r"^([ \t]*(?:[^\n]*\blogin[ \t]+\S+[ \t]+)?(?:password|passwd)[ \t]+)\S+(?=[ \t]*$|[ \t]+"
    r"(?:machine|account|default)\b)",
    re.M,
)
#: An entry of a list of variables: `name: TOKEN`, and in the next line `value: …`.
_ENTRY = re.compile(
    r"(\b(?:name|key)[\"']?[ \t]{0,8}[:=][ \t]{0,8}[\"']?([\w.-]{1,128})[\"']?,?[ \t]*\n[ \t]*"
    r"[\"']?value[\"']?[ \t]{0,8}[:=][ \t]*)([^\s*][^\n]*)",
    re.I,
)
_QUOTE = re.compile(r"[rbfuRBFU]{0,2}(\\{0,3}(?:\"\"\"|\'\'\'|[\"'`]))")
#: The rest of a quoted text by its quotes; other quotes end at their next occurrence.
_QUOTED = {quote: re.compile(rf"(?:[^\\{quote}]|\\.)*{quote}") for quote in "\"'`"}
#: A text that continues the one before it.
_CONTINUED = re.compile(r"[ \t]*(?:[+\\%]|[rbfuRBFU]?[\"'])")
_TYPE = re.compile(
    r"(?:str|int|float|bool|bytes|Any|object|list|dict|tuple|set|Optional|Union|Sequence|Iterable"
    r"|Mapping|Callable|Path|SecretStr|Tensor"
    r"|torch\.Tensor|np\.ndarray)\b(?:\[[^\]\n]{0,80}\]{1,4})?(?:[ \t]{0,4}\|[ \t]{0,4}"
    r"[\w.]{1,40}){0,4}"
    r"[ \t]{0,8}(?:(=)(?!=)[ \t]{0,8}|(?=[,)]|->|$))"
)
#: The opening of a value in the lines below: nothing, a block of YAML, a bracket, a continued line.
_OPENING = re.compile(
    r"(?:[!&][\w!-]{0,40}[ \t]{1,8}){0,2}(?:([|>])[-+\d]{0,2}|[\w.]{0,40}([(\[{])|(\\))?"
    r"[ \t]{0,64}(?:[ \t]#.*)?$"
)
_SENTENCE = re.compile(r"[A-Za-z]{1,40}(?: [a-z]{1,40}){2}")
#: Statements of Python that end with a colon.
_STATEMENT = re.compile(
    r"[ \t]*(?:async|case|class|def|elif|else|except|for|if|match|try|while|with)\b"
)
_CLOSING = {"(": ")", "[": "]", "{": "}"}
#: Lines below a name that are searched for the end of its value.
_FARTHEST = 200
#: Parts of a line beyond which its rest is replaced.
MOST_PARTS = 20_000


def mask_named_values(text: str) -> str:
    """Replace values behind names of secrets, also in the lines below that belong to a value."""
    lower = text.lower()
    if not any(part in lower for part in SECRET_NAME_PARTS):
        return text
    text = _NETRC.sub(rf"\1{MASKED}", text)
    text = _ENTRY.sub(_mask_listed, text)
    lines = text.split("\n")
    place = 0
    while place < len(lines):
        lines[place], opened = _mask_line(lines[place])
        place += 1
        if opened is None:
            continue
        end = _find_end(lines, place, opened)
        for number in range(place, end):
            if lines[number].strip():
                lines[number] = _indent(lines[number]) + MASKED
        place = end
    return "\n".join(lines)


def _mask_listed(found: re.Match[str]) -> str:
    if is_secret_name(found[2]):
        return f"{found[1]}{MASKED}"
    return found[0]


def _mask_line(line: str) -> tuple[str, str | None]:
    """Return a line without secrets, and the opening of a value that continues below it."""
    parts: list[str] = []
    place = 0
    opened = None
    while opened is None and (found := _NAMED.search(line, place)) is not None:
        parts.append(line[place : found.end()])
        place = found.end()
        name = found[found.lastgroup or "name"]
        if is_secret_name(name) and not _is_mentioned(line, found):
            hidden, place, opened = _mask_value(line, name, place)
            parts.append(hidden)
        if len(parts) > MOST_PARTS:
            return "".join([*parts, MASKED]), None
    return "".join([*parts, line[place:]]), opened


def _is_mentioned(line: str, found: re.Match[str]) -> bool:
    """Return True where a sentence mentions a name.

    `no key 'token': did you mean …`, `optimizer.token: it must be …`
    """
    if not found["name"]:
        return False
    behind = line[found.end("name") : found.end()]
    if ":" not in behind or "=" in behind:
        return False
    if behind[0] not in "'\"`":
        return "." in found["name"] and _SENTENCE.match(line, found.end()) is not None
    before = line[max(0, found.start() - 16) : found.start()]
    return before[-1:] == behind[0] and before[:-1].rstrip()[-1:].isalpha()


def _mask_value(line: str, name: str, start: int) -> tuple[str, int, str | None]:
    """Return the replacement of the value that begins at `start`, its end, and an opening.

    The opening is that of its rest in the lines below, None if it has none.
    """
    opening = _OPENING.match(line, start)
    if opening is not None:
        if opening.end() == start and _STATEMENT.match(line) is not None:
            return line[start:], len(line), None
        return line[start:], len(line), opening[1] or opening[2] or opening[3] or ""
    kind = _TYPE.match(line, start)
    if kind is not None:
        if kind[1] is None:
            return "", start, None
        hidden, end, opened = _mask_value(line, name, kind.end())
        return line[start : kind.end()] + hidden, end, opened
    if find_innocent(name, line, start) is not None:
        return "", start, None
    quote = _QUOTE.match(line, start)
    if quote is None:
        return MASKED, len(line), None
    return _mask_quoted(line, quote)


def _mask_quoted(line: str, quote: re.Match[str]) -> tuple[str, int, str | None]:
    """Like `_mask_value`, for a value in quotes."""
    sign = quote[1]
    end = -1
    if sign in _QUOTED:
        closed = _QUOTED[sign].match(line, quote.end())
        if closed:
            end = closed.end()
    else:
        found = line.find(sign, quote.end())
        if found >= 0:
            end = found + len(sign)
    if end < 0:
        return quote[0] + MASKED, len(line), sign
    if _CONTINUED.match(line, end):
        return MASKED, len(line), None
    return f"{quote[0]}{MASKED}{sign}", end, None


def _find_end(lines: list[str], first: int, opened: str) -> int:
    """Return the first line after the value that was opened above line `first`."""
    own = len(_indent(lines[first - 1]))
    last = min(len(lines), first + _FARTHEST)
    if opened in ("", "|", ">"):
        return _find_dedent(lines, first, own)
    for place in range(first, last):
        line = lines[place]
        if opened == "\\":
            if not line.rstrip().endswith(opened):
                return place + 1
        elif opened in _CLOSING:
            if _closes(line, _CLOSING[opened], own):
                return place
        elif opened in line:  # quotes
            return place + 1
    if opened == "\\" or opened in _CLOSING:
        return last
    return first


def _closes(line: str, sign: str, own: int) -> bool:
    """Return True for a line that begins with the closing bracket, or is less indented."""
    text = line.strip()
    indent = len(_indent(line))
    return bool(text) and (indent < own or (indent == own and text.startswith(sign)))


def _find_dedent(lines: list[str], first: int, own: int) -> int:
    """Return the first line that is indented no deeper than the name, `own`.

    A text or a list of the name's own depth belongs to the value too.
    """
    place = first
    while place < len(lines) and (not lines[place].strip() or len(_indent(lines[place])) > own):
        place += 1
    deeper = any(map(str.strip, lines[first:place]))
    if deeper or place == len(lines):
        return place
    while place < len(lines) and _continues(lines[place], own):
        place += 1
    return place


def _continues(line: str, own: int) -> bool:
    return len(_indent(line)) == own and line.strip().startswith(('"', "'", "- "))


def _indent(line: str) -> str:
    return line[: len(line) - len(line.lstrip())]
