"""Passwords and tokens in addresses."""

from __future__ import annotations

import re

from linfit.tracking.secrets.secret_names import MASKED, SECRET_ADDRESS_NAME

_REFERENCE = r"\$\{[^{}\s]*\}"
#: Values that stay: a reference to the environment that names no other value, or a masked value.
_KEPT = r"(?:\$\{[^{}\s,]*\}|\*{3})"

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


def mask_addresses(text: str) -> str:
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
