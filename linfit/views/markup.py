"""What others wrote, as it may stand in what rich prints."""

from __future__ import annotations

from rich import markup

from linfit.errors import printable


def escape(text: str) -> str:
    """The text as it is: neither rich nor the terminal finds commands in it."""
    return markup.escape(printable(text))
