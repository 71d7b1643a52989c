"""Text from users and stores, made safe for rich to print."""

from __future__ import annotations

from rich import markup

from linfit.errors import escape_unprintable


def escape_markup(text: str) -> str:
    """Return text in which neither rich nor the terminal finds commands."""
    return markup.escape(escape_unprintable(text))
