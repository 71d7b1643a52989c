"""Replace passwords and other secrets in texts that are written or printed.

    text → keys and tokens that are known by their shape
         → addresses
         → values behind names that say that they are secret

Where it is unclear where a secret ends, the rest of its line is replaced too.
"""

from __future__ import annotations

import os
import re
from itertools import pairwise
from typing import Any

from linfit.tracking.secrets.secret_names import SECRET_ADDRESS_NAME, find_innocent, is_secret_name

MASKED = "***"
#: Parts of the names of secrets, for a first look at a whole text.
_NAMING = ("pass", "pw", "secret", "token", "key", "auth", "cred", "signature", "cookie", "bearer")
_REFERENCE = r"\$\{[^{}\s]*\}"
#: Values that stay: a reference to the environment that names no other value, or a masked value.
_KEPT = r"(?:\$\{[^{}\s,]*\}|\*{3})"

# ---- shapes ----

_PRIVATE_KEY = re.compile(
    r"(-----BEGIN [A-Z0-9 ]{0,40}PRIVATE KEY[A-Z ]{0,10}-----).*?(-----END [A-Z0-9 ]{0,60}-----"
    r"|\Z)",
    re.DOTALL,
)
#: Beginnings of tokens to which services give a prefix, so that they can be found.
# fmt: off
_BEGINNINGS = (
    "akia", "asia", "abia", "acca", "ghp_", "gho_", "ghu_", "ghs_", "ghr_", "_pat_", "glpat-",
    "glrt-", "gldt-", "hf_", "npm_", "pypi-", "dapi", "glsa_", "gsk_", "r8_", "lin_api_", "_v1_",
    "shp", "sk-", "_live_", "_test_", "whsec_", "xox", "xapp-", "aiza", "gocspx-", "ya29.",
    "hvs.", "hvb.", "hvr.", "sg.", "age-secret", ":aa", "eyj",
)
# fmt: on
_TOKENS = re.compile(
    r"(?<![A-Za-z0-9_-])(?:"
    r"(?:AKIA|ASIA|ABIA|ACCA)[A-Z0-9]{12,}"  # AWS
    r"|(?:gh[pousr]_|github_pat_|glpat-|glrt-|gldt-|hf_|npm_|pypi-|dapi|dckr_pat_|glsa_|gsk_|r8_"
    r"|lin_api_|do[opr]_v1_|shp[a-z]{2}_)"
    r"[A-Za-z0-9_-]{16,}"
    # of language models, of payments
    r"|sk-[A-Za-z0-9_-]{12,}|[srp]k_(?:live|test)_[A-Za-z0-9]{8,}|whsec_[A-Za-z0-9+/=]{16,}"
    r"|xox[a-z]-[A-Za-z0-9-]{8,}|xapp-[A-Za-z0-9-]{8,}|AIza[A-Za-z0-9_-]{30,}|GOCSPX-"
    r"[A-Za-z0-9_-]{16,}|ya29\.[A-Za-z0-9_-]{16,}"
    r"|hv[sbr]\.[A-Za-z0-9_-]{16,}|SG\.[A-Za-z0-9_-]{10,}\.[A-Za-z0-9_-]{10,}|AGE-SECRET-KEY-"
    r"[A-Z0-9]{16,}|\d{8,10}:AA[A-Za-z0-9_-]{30,}"
    r"|eyJ[A-Za-z0-9_-]{6,}\.[A-Za-z0-9_-]{4,}(?:\.[A-Za-z0-9_-]*)?"  # JSON web tokens
    r")"
)
_WEBHOOK = re.compile(r"(hooks\.slack\.com/[a-z]{1,12}/|discord(?:app)?\.com/api/webhooks/)[\w/-]+")
_SCHEME = re.compile(
    r"(?<!\w)(Bearer[ \t]{1,8}|Authorization[\"']?[ \t]{0,8}[:=,][ \t]{0,8}[\"']?\w{1,16}"
    r"[ \t]{1,8})[\w.~+/=-]{8,}",
    re.I,
)
#: Characters of base64, enough for a key. `_is_random` tells a key by the order of its characters.
MIN_KEY_LENGTH = 32
_RUN = re.compile(
    rf"(?<![A-Za-z0-9+/_.-])[A-Za-z0-9+/_-]{{{MIN_KEY_LENGTH},}}={{0,2}}(?![A-Za-z0-9+/_.-])"
)

# ---- addresses ----

#: `://user:password@`, up to the last `@` before the next URI: a password may contain `@` too.
_PASSWORD = re.compile(
    rf"(://(?:{_REFERENCE}|(?!{_REFERENCE})[^/:\n])*):(?!\d{{1,5}}(?:\s|$))(?!{_KEPT}@(?!(?:"
    rf"(?!://).)*@))(?:(?!://).)+@"
)
#: `https://TOKEN@` and `https://TOKEN:x-oauth-basic@`, where the user name is the secret. With
#: other schemes it is a name.
_TOKEN_FIRST = re.compile(r"((?:https?)://)[^/\s@:'\"]+:(?:x-oauth-basic)?@", re.I)
_TOKEN_ALONE = re.compile(rf"((?:https?|wss?|ftps?)://)(?!{_KEPT}@|git@)[^/\s@:'\"]+(?=@)", re.I)
#: `user:password@host` without a scheme, and the lines of a `.pgpass`.
_BARE = re.compile(
    r"(?<![\w.:/@*{-])([A-Za-z][\w.-]{0,64}):(?!\*{3}@)[^\s:@/\"'*]{1,128}@(?!sha\d)(?=[A-Za-z]"
    r"[\w-]{0,63}[.:/])"
)
_PGPASS = re.compile(
    r"^((?:[A-Za-z][\w.-]{1,128}|\*):(?:\d{2,5}|\*):[^:\s]{1,128}:[A-Za-z*][^:\s]{0,128}:)\S+$",
    re.M,
)
#: `?password=…&`, and `;PWD=…;` in `odbc_connect=…`, which may be encoded once more.
_KEY = re.compile(
    rf"((?:[?&]|(;|%3B|odbc_connect=))[\w-]{{0,64}}{SECRET_ADDRESS_NAME}[\w-]{{0,64}}(?:=|%3D))"
    rf"(?!{_KEPT}(?:[&;\"'\s]|%3B|$))"
    r"(?(2)(?:\{[^}\n]*\}|%7B.{{0,4096}}?%7D|(?:(?!%3B)[^&;\n])+)|[^&\n]+)",
    re.I,
)

# ---- names ----

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
_LOGIN = re.compile(r"(?<![\w-])((?:-u|--user)[ \t=]{1,4}[\"']?[^\s:\"']{1,64}:)[^\s\"']+")
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

#: A quick look for a text that may have a secret.
_HINT = re.compile(
    "|".join(map(re.escape, (*_BEGINNINGS, *_NAMING, "@", "://", "odbc", "hook", "begin", "-u")))
    + r"|:\d{2,5}:"
)
_ENVIRONMENT = re.compile(r"\$\{oc\.env:([^,${}]+)[^${}]*\}")
#: A shorter value would be found in every other word.
MIN_VALUE_LENGTH = 4
#: Values from the environment, and the references that stand for them.
_FROM_ENVIRONMENT: dict[str, str] = {}


def mask(text: str) -> str:
    """Return the text with every secret replaced.

    A reference to the environment is no secret.
    """
    # most overrides end here
    if len(text) < MIN_KEY_LENGTH and _HINT.search(text.lower()) is None:
        return text
    text = _mask_shapes(text)
    text = _mask_addresses(text)
    return _mask_values(text)


def mask_error(text: str) -> str:
    """Mask the text of an error.

    Values of the environment that a store was opened with become references again.
    """
    for value, reference in _FROM_ENVIRONMENT.items():
        text = text.replace(value, reference)
    return mask(text)


def hide_references(text: str) -> None:
    """Make `mask_error` replace the values of a text's references.

    They are references to the environment. A reference that is the whole text is an address, and is
    shown.
    """
    for found in _ENVIRONMENT.finditer(text):
        value = os.environ.get(found[1], "")
        if found[0] != text and len(value) >= MIN_VALUE_LENGTH:
            _FROM_ENVIRONMENT[value] = found[0]


def mask_data(data: Any) -> Any:
    """Return plain data with every string masked.

    Under the name of a secret, all of it is masked.
    """
    if isinstance(data, str):
        return mask(data)
    if isinstance(data, dict):
        return {key: _mask_entry(key, value) for key, value in data.items()}
    if isinstance(data, list):
        return list(map(mask_data, data))
    return data


def _mask_entry(key: Any, value: Any) -> Any:
    is_named = isinstance(key, str) and isinstance(value, str) and is_secret_name(key)
    if is_named and value and find_innocent(key, value, 0) is None:
        return MASKED
    return mask_data(value)


# ---- shapes ----


def _mask_shapes(text: str) -> str:
    """Replace secrets that are known by their shape."""
    lower = text.lower()
    if "-----begin" in lower:
        text = _PRIVATE_KEY.sub(rf"\1{MASKED}\2", text)
    if any(beginning in lower for beginning in _BEGINNINGS):
        text = _TOKENS.sub(MASKED, text)
    if "hook" in lower:
        text = _WEBHOOK.sub(rf"\1{MASKED}", text)
    if "bearer" in lower or "authorization" in lower:
        text = _SCHEME.sub(rf"\1{MASKED}", text)
    if "-u" in text:
        text = _LOGIN.sub(rf"\1{MASKED}", text)
    if len(text) < MIN_KEY_LENGTH:
        return text
    return _RUN.sub(lambda found: MASKED if _is_random(found[0]) else found[0], text)


def _is_random(run: str) -> bool:
    """Return True where characters follow each other as in no word, path, or digest."""
    kinds = list(map(_kind_of, run[:256]))
    turns = sum(one != other for one, other in pairwise(kinds))
    mixed = min(kinds.count("u"), kinds.count("l")) >= 2 and "d" in kinds
    separated = kinds.count("/") > 3 or kinds.count("-") + kinds.count("_") > 4
    has_words = "lllll" in "".join(kinds)
    return mixed and not separated and turns > (0.45 if has_words else 0.3) * len(kinds)


def _kind_of(sign: str) -> str:
    if sign.isdigit():
        return "d"
    if sign.isupper():
        return "u"
    if sign.islower():
        return "l"
    return sign


# ---- addresses ----


def _mask_addresses(text: str) -> str:
    """Replace passwords in addresses, and names that are tokens."""
    if "@" in text:
        text = _TOKEN_FIRST.sub(rf"\1{MASKED}@", text)
        text = _PASSWORD.sub(rf"\1:{MASKED}@", text)
        text = _TOKEN_ALONE.sub(rf"\1{MASKED}", text)
        text = _BARE.sub(rf"\1:{MASKED}@", text)
    if "://" in text or "odbc" in text:
        text = _KEY.sub(rf"\1{MASKED}", text)
    if text.count(":") >= 4:
        return _PGPASS.sub(rf"\1{MASKED}", text)
    return text


# ---- values behind names ----


def _mask_values(text: str) -> str:
    """Replace values behind names of secrets, also in the lines below that belong to a value."""
    lower = text.lower()
    if not any(part in lower for part in _NAMING):
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
