"""An override of the command line, taken apart: which key it is about, and the text of its value.

The values themselves are in Hydra's grammar, and Hydra's parser reads them.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from functools import lru_cache

_SIGN = re.compile(r"~|\+{0,2}")


@dataclass(frozen=True, slots=True)
class Override:
    """An argument such as `optimizer.lr=0.1`, `+note=x` or `~schedule`."""

    sign: str
    """`+` adds a key, `++` sets or adds it, `~` deletes it; empty where a key is changed."""
    key: str
    value: str | None
    """The text behind `=`; None if there is no `=`."""

    @staticmethod
    @lru_cache(4096)
    def read(text: str) -> Override:
        """Take an override apart; a key alone has no value."""
        key, equals, value = text.partition("=")
        [sign] = _SIGN.findall(key)[:1]
        return Override(sign, key.removeprefix(sign), value if equals else None)

    @property
    def text(self) -> str:
        """The argument as Hydra takes it."""
        value = "" if self.value is None else f"={self.value}"
        return f"{self.sign}{self.key}{value}"

    @property
    def deletes(self) -> bool:
        """True for `~KEY`, which deletes a key or a component."""
        return self.sign == "~"

    def with_value(self, value: str) -> Override:
        """Return the override with another text behind `=`."""
        return replace(self, value=value)
