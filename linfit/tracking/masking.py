"""Passwords and other secrets in what is written and said: replaced, wherever they may stand."""

from __future__ import annotations

import re
from typing import Any

#: What in a name says that its value is secret.
SECRET = r"(?:passw(?:or)?d|pwd|passphrase|secret|token|api[_-]?key|access[_-]?key|account[_-]?key|authorization|credential|signature)"
_REFERENCE = r"\$\{[^{}\s]*\}"
#: What stays: a reference to the environment that names no other value, or what is masked.
_KEPT = r"(?:\$\{[^{}\s,]*\}|\*{3})"
#: `://user:password@`, up to the last `@` before the next URI: a password may hold any other sign, and `@` too.
_PASSWORD = re.compile(rf"(://(?:{_REFERENCE}|(?!{_REFERENCE})[^/:\n])*):(?!\d{{1,5}}(?:\s|$))(?!{_KEPT}@(?!(?:(?!://).)*@))(?:(?!://).)+@")
#: `?password=…&`, and `;PWD=…;` in `odbc_connect=…`, which may be encoded once more.
_KEY = re.compile(
    rf"((?:[?&]|(;|%3B|odbc_connect=))[\w-]{{0,64}}{SECRET}[\w-]{{0,64}}(?:=|%3D))(?!{_KEPT}(?:[&;\"'\s]|%3B|$))"
    r"(?(2)(?:\{[^}\n]*\}|%7B.{{0,4096}}?%7D|(?:(?!%3B)[^&;\n])+)|[^&\n]+)",
    re.I,
)


def mask(text: str) -> str:
    """The same text with the password of every URI in it replaced; a reference to the environment is none.

    Rather too much than too little: where it is unclear where a password ends, what follows in its line goes with it.
    """
    return text if "://" not in text else _KEY.sub(r"\1***", _PASSWORD.sub(r"\1:***@", text))


def masked(data: Any) -> Any:
    """Plain data with every string in it masked."""
    if isinstance(data, str):
        return mask(data)
    if isinstance(data, dict):
        return {key: masked(value) for key, value in data.items()}
    return [masked(value) for value in data] if isinstance(data, list) else data
