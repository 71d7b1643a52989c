"""Make the description of a built package of README.md, whose links and pictures are relative.

A package's page has no files beside it. Where `address` is set in pyproject.toml, pictures and
links lead there; without one, pictures are left out and links become their text.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.parse import urljoin, urlsplit

from hatchling.metadata.plugin.interface import MetadataHookInterface

#: What is no Markdown: blocks between fences, spans between backticks, comments.
VERBATIM = re.compile(
    r"^ *(?P<fence>`{3,}|~{3,}).*?^ *(?P=fence)[`~]*$"
    r"|(?P<ticks>`+)(?!`).+?(?<!`)(?P=ticks)(?!`)"
    r"|<!--.*?-->",
    re.DOTALL | re.MULTILINE,
)
TARGET = r"\(\s*<?(?P<target>[^()\s<>]*)>?(?P<title>\s+(?:\"[^\"]*\"|'[^']*'))?\s*\)"
PICTURE = re.compile(r"!\[(?P<text>[^\]]*)\]" + TARGET)
LINK = re.compile(r"(?<!!)\[(?P<text>(?:[^\[\]]|!?\[[^\]]*\](?:\([^)]*\))?)*)\]" + TARGET)
#: Other ways to name a target: definitions `[name]: target`, HTML, and links unknown to LINK.
OTHERS = re.compile(
    r"^ {0,3}\[[^\]]+\]:\s*<?(?P<defined>[^\s>]+)"
    r"|<[^<>]*\b(?:src|href)\s*=\s*[\"']?(?P<html>[^\"'\s>]+)"
    r"|\]\(\s*<?(?P<unknown>[^)>]*)",
    re.MULTILINE | re.IGNORECASE,
)


class Readme(MetadataHookInterface):
    """The metadata's `readme`, which pyproject.toml calls dynamic."""

    def update(self, metadata: dict[str, Any]) -> None:
        """Add the description."""
        text = Path(self.root, "README.md").read_text(encoding="utf-8")
        described = describe(text, self.config.get("address", ""))
        metadata["readme"] = {"content-type": "text/markdown", "text": described}


def describe(readme: str, address: str) -> str:
    """Return README's text with no relative link or picture.

    Raise ValueError for a link that is not known.
    """
    if address and not re.match(r"https?://[^/\s]+/", address):
        raise ValueError(f"address = {address!r} is none: give https://…/, or an empty text")
    verbatim: list[str] = []

    def hide(found: re.Match[str]) -> str:
        verbatim.append(found[0])
        return f"\0{len(verbatim) - 1}\0"

    text = VERBATIM.sub(hide, readme)
    text = PICTURE.sub(rewrite_to(picture_address(address)), text)
    text = LINK.sub(rewrite_to(address), text)
    refuse_others(text)
    text = re.sub(r"\n{3,}", "\n\n", text)
    return re.sub("\0(\\d+)\0", lambda found: verbatim[int(found[1])], text)


def picture_address(address: str) -> str:
    """Return the address of a picture's bytes.

    GitHub and GitLab show a page about a file at `/blob/`.
    """
    return address.replace("/blob/", "/raw/", 1)


def rewrite_to(address: str) -> Callable[[re.Match[str]], str]:
    """Return the function that lets a link or picture lead below `address`."""

    def rewrite(found: re.Match[str]) -> str:
        if not is_relative(found["target"]):
            return found[0]
        if not address:
            return "" if found[0].startswith("!") else found["text"]
        target = urljoin(f"{address.rstrip('/')}/README.md", found["target"])
        mark = "!" if found[0].startswith("!") else ""
        return f"{mark}[{found['text']}]({target}{found['title'] or ''})"

    return rewrite


def is_relative(target: str) -> bool:
    """True if a target has neither a scheme nor a host."""
    parts = urlsplit(target)
    return not parts.scheme and not parts.netloc


def refuse_others(text: str) -> None:
    """Raise ValueError for a relative target that is still there."""
    for found in OTHERS.finditer(text):
        target = next(name for name in found.groups() if name is not None)
        if is_relative(target):
            raise ValueError(f"README.md: {target!r} has no address: write it as [text](target)")
