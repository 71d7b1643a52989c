"""Passwords and other secrets in what is written and said: replaced, wherever they may stand.

    text → keys and tokens that are known by their shape → addresses → values behind names that say that they are secret

Rather too much than too little: where it is unclear where a secret ends, what follows in its line goes with it.
"""

from __future__ import annotations

import os
import re
from itertools import pairwise
from typing import Any

from linfit.tracking.secret_names import ADDRESS_NAME, find_innocent, is_secret_name

HIDDEN = "***"
#: Parts of names behind which secrets stand, as far as a look at the whole text can say.
_NAMING = ("pass", "pw", "secret", "token", "key", "auth", "cred", "signature", "cookie", "bearer")
_REFERENCE = r"\$\{[^{}\s]*\}"
#: What stays: a reference to the environment that names no other value, or what is masked.
_KEPT = r"(?:\$\{[^{}\s,]*\}|\*{3})"

# ---- shapes ----

_PRIVATE_KEY = re.compile(
    r"(-----BEGIN [A-Z0-9 ]{0,40}PRIVATE KEY[A-Z ]{0,10}-----).*?(-----END [A-Z0-9 ]{0,60}-----|\Z)",
    re.DOTALL,
)
#: How tokens begin that services give signs of their own, so that they can be found.
_BEGINNINGS = (
    *(
        "akia",
        "asia",
        "abia",
        "acca",
        "ghp_",
        "gho_",
        "ghu_",
        "ghs_",
        "ghr_",
        "_pat_",
        "glpat-",
        "glrt-",
        "gldt-",
        "hf_",
        "npm_",
        "pypi-",
    ),
    *(
        "dapi",
        "glsa_",
        "gsk_",
        "r8_",
        "lin_api_",
        "_v1_",
        "shp",
        "sk-",
        "_live_",
        "_test_",
        "whsec_",
        "xox",
        "xapp-",
        "aiza",
        "gocspx-",
    ),
    *("ya29.", "hvs.", "hvb.", "hvr.", "sg.", "age-secret", ":aa", "eyj"),
)
_TOKENS = re.compile(
    r"(?<![A-Za-z0-9_-])(?:"
    r"(?:AKIA|ASIA|ABIA|ACCA)[A-Z0-9]{12,}"  # AWS
    r"|(?:gh[pousr]_|github_pat_|glpat-|glrt-|gldt-|hf_|npm_|pypi-|dapi|dckr_pat_|glsa_|gsk_|r8_|lin_api_|do[opr]_v1_|shp[a-z]{2}_)"
    r"[A-Za-z0-9_-]{16,}"
    r"|sk-[A-Za-z0-9_-]{12,}|[srp]k_(?:live|test)_[A-Za-z0-9]{8,}|whsec_[A-Za-z0-9+/=]{16,}"  # of language models, of payments
    r"|xox[a-z]-[A-Za-z0-9-]{8,}|xapp-[A-Za-z0-9-]{8,}|AIza[A-Za-z0-9_-]{30,}|GOCSPX-[A-Za-z0-9_-]{16,}|ya29\.[A-Za-z0-9_-]{16,}"
    r"|hv[sbr]\.[A-Za-z0-9_-]{16,}|SG\.[A-Za-z0-9_-]{10,}\.[A-Za-z0-9_-]{10,}|AGE-SECRET-KEY-[A-Z0-9]{16,}|\d{8,10}:AA[A-Za-z0-9_-]{30,}"
    r"|eyJ[A-Za-z0-9_-]{6,}\.[A-Za-z0-9_-]{4,}(?:\.[A-Za-z0-9_-]*)?"  # JSON web tokens
    r")"
)
_WEBHOOK = re.compile(r"(hooks\.slack\.com/[a-z]{1,12}/|discord(?:app)?\.com/api/webhooks/)[\w/-]+")
_SCHEME = re.compile(
    r"(?<!\w)(Bearer[ \t]{1,8}|Authorization[\"']?[ \t]{0,8}[:=,][ \t]{0,8}[\"']?\w{1,16}[ \t]{1,8})[\w.~+/=-]{8,}",
    re.I,
)
#: Signs of base64, many enough for a key; whether they are one is a matter of how they follow each other.
SHORTEST_RUN = 32
_RUN = re.compile(
    rf"(?<![A-Za-z0-9+/_.-])[A-Za-z0-9+/_-]{{{SHORTEST_RUN},}}={{0,2}}(?![A-Za-z0-9+/_.-])"
)

# ---- addresses ----

#: `://user:password@`, up to the last `@` before the next URI: a password may hold any other sign, and `@` too.
_PASSWORD = re.compile(
    rf"(://(?:{_REFERENCE}|(?!{_REFERENCE})[^/:\n])*):(?!\d{{1,5}}(?:\s|$))(?!{_KEPT}@(?!(?:(?!://).)*@))(?:(?!://).)+@"
)
#: `https://TOKEN@` and `https://TOKEN:x-oauth-basic@`, where the name is the secret. Of other schemes' addresses it is a name.
_TOKEN_FIRST = re.compile(r"((?:https?)://)[^/\s@:'\"]+:(?:x-oauth-basic)?@", re.I)
_TOKEN_ALONE = re.compile(rf"((?:https?|wss?|ftps?)://)(?!{_KEPT}@|git@)[^/\s@:'\"]+(?=@)", re.I)
#: `user:password@host` without a scheme, and the lines of a `.pgpass`.
_BARE = re.compile(
    r"(?<![\w.:/@*{-])([A-Za-z][\w.-]{0,64}):(?!\*{3}@)[^\s:@/\"'*]{1,128}@(?!sha\d)(?=[A-Za-z][\w-]{0,63}[.:/])"
)
_PGPASS = re.compile(
    r"^((?:[A-Za-z][\w.-]{1,128}|\*):(?:\d{2,5}|\*):[^:\s]{1,128}:[A-Za-z*][^:\s]{0,128}:)\S+$",
    re.M,
)
#: `?password=…&`, and `;PWD=…;` in `odbc_connect=…`, which may be encoded once more.
_KEY = re.compile(
    rf"((?:[?&]|(;|%3B|odbc_connect=))[\w-]{{0,64}}{ADDRESS_NAME}[\w-]{{0,64}}(?:=|%3D))(?!{_KEPT}(?:[&;\"'\s]|%3B|$))"
    r"(?(2)(?:\{[^}\n]*\}|%7B.{{0,4096}}?%7D|(?:(?!%3B)[^&;\n])+)|[^&\n]+)",
    re.I,
)

# ---- names ----

_SIGN = r"[ \t]{0,16}(?::=|=>|[:=](?![=:])|[ \t]value=)[ \t]{0,64}"
_PAIR = r"[\"'][ \t]{0,8},[ \t]{0,8}"
#: A name with what stands between it and its value: `PASSWORD=`, `"api_key": `, `--token `, `setenv("TOKEN", `, `<password>`.
_NAMED = re.compile(
    rf"(?<![\w.-])(?:(?P<flag>--?[A-Za-z][\w.-]*+)(?:{_SIGN}|{_PAIR}|[ \t]{{1,16}})"
    rf"|(?P<name>[\w.-]++)[\\\"'`\])]{{0,4}}{_SIGN}"
    rf"|(?<=[\w]\()[\"'](?P<argument>[\w.-]++){_PAIR}"
    r"|<(?P<element>[\w:.-]++)>"
    r"|(?:ENV|setx|setenv|set[ \t]-\w{1,4})[ \t]{1,8}(?P<variable>[\w.-]++)[ \t]{1,16})"
)
_NETRC = re.compile(
    r"^([ \t]*(?:[^\n]*\blogin[ \t]+\S+[ \t]+)?(?:password|passwd)[ \t]+)\S+(?=[ \t]*$|[ \t]+(?:machine|account|default)\b)",
    re.M,
)
#: An entry of a list of variables: `name: TOKEN`, and in the next line `value: …`.
_ENTRY = re.compile(
    r"(\b(?:name|key)[\"']?[ \t]{0,8}[:=][ \t]{0,8}[\"']?([\w.-]{1,128})[\"']?,?[ \t]*\n[ \t]*[\"']?value[\"']?[ \t]{0,8}[:=][ \t]*)([^\s*][^\n]*)",
    re.I,
)
_LOGIN = re.compile(r"(?<![\w-])((?:-u|--user)[ \t=]{1,4}[\"']?[^\s:\"']{1,64}:)[^\s\"']+")
_QUOTE = re.compile(r"[rbfuRBFU]{0,2}(\\{0,3}(?:\"\"\"|\'\'\'|[\"'`]))")
#: The rest of a quoted text up to its end, by its quotes; others end where they stand again.
_QUOTED = {quote: re.compile(rf"(?:[^\\{quote}]|\\.)*{quote}") for quote in "\"'`"}
#: Another text that continues the one before it.
_CONTINUED = re.compile(r"[ \t]*(?:[+\\%]|[rbfuRBFU]?[\"'])")
_TYPE = re.compile(
    r"(?:str|int|float|bool|bytes|Any|object|list|dict|tuple|set|Optional|Union|Sequence|Iterable|Mapping|Callable|Path|SecretStr|Tensor"
    r"|torch\.Tensor|np\.ndarray)\b(?:\[[^\]\n]{0,80}\]{1,4})?(?:[ \t]{0,4}\|[ \t]{0,4}[\w.]{1,40}){0,4}"
    r"[ \t]{0,8}(?:(=)(?!=)[ \t]{0,8}|(?=[,)]|->|$))"
)
#: What opens a value that stands in the lines below: nothing, a block of YAML, a bracket, a line that goes on.
_OPENING = re.compile(
    r"(?:[!&][\w!-]{0,40}[ \t]{1,8}){0,2}(?:([|>])[-+\d]{0,2}|[\w.]{0,40}([(\[{])|(\\))?[ \t]{0,64}(?:[ \t]#.*)?$"
)
_SENTENCE = re.compile(r"[A-Za-z]{1,40}(?: [a-z]{1,40}){2}")
#: Statements of Python that end with a colon.
_STATEMENT = re.compile(
    r"[ \t]*(?:async|case|class|def|elif|else|except|for|if|match|try|while|with)\b"
)
_CLOSING = {"(": ")", "[": "]", "{": "}"}
#: Lines below a name that are looked at for the end of its value; parts of a line beyond which the rest goes whole.
_FARTHEST, MOST_PARTS = 200, 20_000

#: What a text has in it that is masked, as far as a quick look can say.
_HINT = re.compile(
    "|".join(map(re.escape, (*_BEGINNINGS, *_NAMING, "@", "://", "odbc", "hook", "begin", "-u")))
    + r"|:\d{2,5}:"
)
_ENVIRONMENT = re.compile(r"\$\{oc\.env:([^,${}]+)[^${}]*\}")
#: A shorter value would be found in every other word.
SHORTEST = 4
#: Values from the environment, and the references that stand for them.
_FROM_ENVIRONMENT: dict[str, str] = {}


def mask(text: str) -> str:
    """Return the text with every secret in it replaced; a reference to the environment is none."""
    if len(text) < SHORTEST_RUN and _HINT.search(text.lower()) is None:  # as most overrides are
        return text
    text = _mask_shapes(text)
    text = _mask_addresses(text)
    return _mask_values(text)


def mask_error(text: str) -> str:
    """Mask an error's text, and put references back for what was read from the environment to open a store."""
    for value, reference in _FROM_ENVIRONMENT.items():
        text = text.replace(value, reference)
    return mask(text)


def hide_references(text: str) -> None:
    """From now on have `mask_error` replace the values of references to the environment that stand within a text.

    A reference that is the whole text is an address, and is shown.
    """
    for found in _ENVIRONMENT.finditer(text):
        value = os.environ.get(found[1], "")
        if found[0] != text and len(value) >= SHORTEST:
            _FROM_ENVIRONMENT[value] = found[0]


def masked(data: Any) -> Any:
    """Return plain data with every string in it masked, and whole where it has a secret's name."""
    if isinstance(data, str):
        return mask(data)
    if isinstance(data, dict):
        return {key: _mask_entry(key, value) for key, value in data.items()}
    return [masked(value) for value in data] if isinstance(data, list) else data


def _mask_entry(key: Any, value: Any) -> Any:
    secret = isinstance(key, str) and isinstance(value, str) and is_secret_name(key)
    return HIDDEN if secret and value and find_innocent(key, value, 0) is None else masked(value)


# ---- shapes ----


def _mask_shapes(text: str) -> str:
    """Replace what is known by its shape."""
    lower = text.lower()
    if "-----begin" in lower:
        text = _PRIVATE_KEY.sub(rf"\1{HIDDEN}\2", text)
    if any(beginning in lower for beginning in _BEGINNINGS):
        text = _TOKENS.sub(HIDDEN, text)
    if "hook" in lower:
        text = _WEBHOOK.sub(rf"\1{HIDDEN}", text)
    if "bearer" in lower or "authorization" in lower:
        text = _SCHEME.sub(rf"\1{HIDDEN}", text)
    if "-u" in text:
        text = _LOGIN.sub(rf"\1{HIDDEN}", text)
    if len(text) < SHORTEST_RUN:
        return text
    return _RUN.sub(lambda found: HIDDEN if _is_random(found[0]) else found[0], text)


def _is_random(run: str) -> bool:
    """Return True where letters, capitals and digits follow each other as in no word, path, or digest."""
    kinds = [
        "d" if sign.isdigit() else "u" if sign.isupper() else "l" if sign.islower() else sign
        for sign in run[:256]
    ]
    turns = sum(one != other for one, other in pairwise(kinds))
    mixed = min(kinds.count("u"), kinds.count("l")) >= 2 and "d" in kinds
    separated = kinds.count("/") > 3 or kinds.count("-") + kinds.count("_") > 4
    has_words = "lllll" in "".join(kinds)
    return mixed and not separated and turns > (0.45 if has_words else 0.3) * len(kinds)


# ---- addresses ----


def _mask_addresses(text: str) -> str:
    """Replace passwords in addresses, and names that are tokens."""
    if "@" in text:
        text = _TOKEN_FIRST.sub(rf"\1{HIDDEN}@", text)
        text = _PASSWORD.sub(rf"\1:{HIDDEN}@", text)
        text = _TOKEN_ALONE.sub(rf"\1{HIDDEN}", text)
        text = _BARE.sub(rf"\1:{HIDDEN}@", text)
    if "://" in text or "odbc" in text:
        text = _KEY.sub(rf"\1{HIDDEN}", text)
    return _PGPASS.sub(rf"\1{HIDDEN}", text) if text.count(":") >= 4 else text


# ---- values behind names ----


def _mask_values(text: str) -> str:
    """Replace what stands behind names that say that it is secret, in their line and in those below that belong to it."""
    lower = text.lower()
    if not any(part in lower for part in _NAMING):
        return text
    text = _NETRC.sub(rf"\1{HIDDEN}", text)
    text = _ENTRY.sub(_mask_listed, text)
    lines = text.split("\n")
    place = 0
    while place < len(lines):
        lines[place], opened = _mask_line(lines[place])
        place += 1
        if opened is None:
            continue
        end = _find_end(lines, place, opened)
        lines[place:end] = [
            _indent(line) + HIDDEN if line.strip() else line for line in lines[place:end]
        ]
        place = end
    return "\n".join(lines)


def _mask_listed(found: re.Match[str]) -> str:
    return f"{found[1]}{HIDDEN}" if is_secret_name(found[2]) else found[0]


def _mask_line(line: str) -> tuple[str, str | None]:
    """Return a line without its secrets, and what opens a value that goes on below it, None if none does."""
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
            return "".join([*parts, HIDDEN]), None
    return "".join([*parts, line[place:]]), opened


def _is_mentioned(line: str, found: re.Match[str]) -> bool:
    """Return True where a sentence speaks of a name: `no key 'token': did you mean …`, `optimizer.token: it must be …`."""
    behind = line[found.end("name") : found.end()] if found["name"] else ""
    if ":" not in behind or "=" in behind:
        return False
    if behind[0] not in "'\"`":
        return "." in found["name"] and _SENTENCE.match(line, found.end()) is not None
    before = line[max(0, found.start() - 16) : found.start()]
    return before[-1:] == behind[0] and before[:-1].rstrip()[-1:].isalpha()


def _mask_value(line: str, name: str, start: int) -> tuple[str, int, str | None]:
    """Return what stands instead of the value that begins at `start`, where it ends, and what opens its rest in the lines below."""
    if (opening := _OPENING.match(line, start)) is not None:
        statement = opening.end() == start and _STATEMENT.match(line) is not None
        return (
            line[start:],
            len(line),
            None if statement else opening[1] or opening[2] or opening[3] or "",
        )
    if (kind := _TYPE.match(line, start)) is not None:
        if kind[1] is None:
            return "", start, None
        hidden, end, opened = _mask_value(line, name, kind.end())
        return line[start : kind.end()] + hidden, end, opened
    if find_innocent(name, line, start) is not None:
        return "", start, None
    if (quote := _QUOTE.match(line, start)) is not None:
        return _mask_quoted(line, quote)
    return HIDDEN, len(line), None


def _mask_quoted(line: str, quote: re.Match[str]) -> tuple[str, int, str | None]:
    """Like `_mask_value`, of a value in quotes."""
    sign = quote[1]
    if sign in _QUOTED:
        closed = _QUOTED[sign].match(line, quote.end())
        end = closed.end() if closed else -1
    else:
        found = line.find(sign, quote.end())
        end = found + len(sign) if found >= 0 else -1
    if end < 0:
        return quote[0] + HIDDEN, len(line), sign
    if _CONTINUED.match(line, end):
        return HIDDEN, len(line), None
    return f"{quote[0]}{HIDDEN}{sign}", end, None


def _find_end(lines: list[str], first: int, opened: str) -> int:
    """Return the first line that no longer belongs to the value that was opened above line `first`."""
    own = len(_indent(lines[first - 1]))
    last = min(len(lines), first + _FARTHEST)
    if opened == "\\":
        return next(
            (
                place + 1
                for place in range(first, last)
                if not lines[place].rstrip().endswith(opened)
            ),
            last,
        )
    if opened in _CLOSING:
        closed = (
            place for place in range(first, last) if _closes(lines[place], _CLOSING[opened], own)
        )
        return next(closed, last)
    if opened not in ("", "|", ">"):  # quotes
        return next((place + 1 for place in range(first, last) if opened in lines[place]), first)
    return _find_dedent(lines, first, own)


def _closes(line: str, sign: str, own: int) -> bool:
    """Return True for a line that begins with a bracket's end, or stands further left than where it began."""
    indent = len(_indent(line))
    return bool(line.strip()) and (
        indent < own or (indent == own and line.strip().startswith(sign))
    )


def _find_dedent(lines: list[str], first: int, own: int) -> int:
    """Return the first line that is not deeper than the name's, `own`; a text or a list of the same depth belongs to it too."""
    place = first
    while place < len(lines) and (not lines[place].strip() or len(_indent(lines[place])) > own):
        place += 1
    deeper = any(line.strip() for line in lines[first:place])
    if deeper or place == len(lines):
        return place
    while place < len(lines) and _continues(lines[place], own):
        place += 1
    return place if place > first else first


def _continues(line: str, own: int) -> bool:
    text = line.strip()
    same = bool(text) and len(_indent(line)) == own
    return same and (text.startswith(('"', "'", "- ")) and ":" not in text.partition(text[0])[0])


def _indent(line: str) -> str:
    return line[: len(line) - len(line.lstrip())]
