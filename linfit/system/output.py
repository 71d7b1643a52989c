"""The streams of the command line, usable in any encoding, and if closed or full."""

from __future__ import annotations

import codecs
import io
import os
import select
import sys
import unicodedata
from contextlib import suppress
from typing import Any

#: ASCII text for characters that linfit prints. Greek letters are written by name.
ASCII_STAND_INS = {
    "·": "*",
    "×": "x",
    "÷": "/",
    "±": "+-",
    "−": "-",
    "–": "-",
    "—": "-",
    "…": "...",
    "‖": "||",
    "≤": "<=",
    "≥": ">=",
    "→": "->",
    "←": "<-",
    "↦": "->",
    "√": "sqrt ",
    "Σ": "sum ",
    "∂": "d",
    "∘": "o",
    "⁻": "-",
    "⁺": "+",
    "⟨": "<",
    "⟩": ">",
    "\u2018": "'",
    "\u2019": "'",
    "\u201c": '"',
    "\u201d": '"',
    "\ufffd": "?",
    "ŷ": "yhat",
}
#: Name of `replace_unencodable` among Python's encoding error handlers.
ENCODING_ERRORS = "linfit.readable"


def replace_character(letter: str) -> str:
    """Return an ASCII spelling of a character.

    That is its common spelling, or an escape.
    """
    if letter in ASCII_STAND_INS:
        return ASCII_STAND_INS[letter]
    kind, _, plain = unicodedata.decomposition(letter).partition(" ")
    if kind in ("<super>", "<sub>", "<fraction>"):
        text = "".join(chr(int(code, 16)) for code in plain.split())
        text = text.replace("\N{FRACTION SLASH}", "/")
        if text.isascii():
            return f"^{text}" if kind == "<super>" else text
    name = unicodedata.name(letter, "")
    if name.startswith("GREEK SMALL LETTER "):
        return name.rpartition(" ")[2].lower()
    return letter.encode("ascii", "backslashreplace").decode()


def replace_unencodable(error: UnicodeError) -> tuple[str, int]:
    """Handle an encoding error, as `codecs.register_error` asks: replace the characters."""
    if not isinstance(error, UnicodeEncodeError):
        raise error
    return "".join(map(replace_character, error.object[error.start : error.end])), error.end


codecs.register_error(ENCODING_ERRORS, replace_unencodable)


def replace_for_encoding(text: str, encoding: str | None) -> str:
    """Return the text as a stream of this encoding shows it."""
    if text.isascii() or encoding is None:
        return text
    return text.encode(encoding, ENCODING_ERRORS).decode(encoding)


class TolerantStream(io.RawIOBase):
    """Raw stream below stdout or stderr.

    After its first error it discards what is written.

    So no command fails halfway because its reader is gone.
    """

    def __init__(self, raw: Any) -> None:
        super().__init__()
        self.raw = raw
        self.error: OSError | None = None
        """The first error."""

    def writable(self) -> bool:
        return True

    def isatty(self) -> bool:
        return bool(self.raw.isatty())

    def fileno(self) -> int:
        return int(self.raw.fileno())

    def write(self, content: Any) -> int:
        """Write a part of the content; return that part's length."""
        while self.error is None:
            try:
                written = self.raw.write(content)
            except OSError as error:
                self.error = error
                break
            if written is not None:
                return int(written)
            # Another program has made the pipe or terminal non-blocking, and it is full.
            select.select([], [self.fileno()], [])
        return len(content)


def open_streams() -> None:
    """Make stdin, stdout and stderr usable in every encoding and state.

    A stream that is closed, as by `2>&-`, leads to the null device. Otherwise the next file that is
    opened, or a pipe to another process, would get its number. Child processes such as workers
    inherit it.
    """
    for number, (name, mode) in enumerate((("stdin", "r"), ("stdout", "w"), ("stderr", "w"))):
        stream = getattr(sys, name)
        if stream is None:
            # It stays open for good, and pathlib is not needed.
            nowhere = open(os.devnull, mode, encoding="utf-8")  # noqa: SIM115, PTH123
            if nowhere.fileno() == number:
                os.set_inheritable(number, True)
            setattr(sys, name, nowhere)
            continue
        is_own = stream is getattr(sys, f"__{name}__")  # else a caller has replaced it
        if mode == "w" and is_own and isinstance(stream, io.TextIOWrapper):
            setattr(sys, name, _tolerant_stream(stream))


def _tolerant_stream(stream: io.TextIOWrapper) -> io.TextIOWrapper:
    """Return a tolerant stream in place of another.

    It is line-buffered, so that an interrupted process has nothing left to write.
    """
    raw = TolerantStream(getattr(stream.buffer, "raw", stream.buffer))
    return io.TextIOWrapper(
        io.BufferedWriter(raw), stream.encoding, ENCODING_ERRORS, line_buffering=True
    )


def find_write_error() -> OSError | None:
    """Return the error that kept output from stdout.

    None if all was written, or if the reader has closed the pipe because it has seen enough.
    """
    with suppress(OSError, ValueError):
        sys.stdout.flush()
    raw = getattr(getattr(sys.stdout, "buffer", None), "raw", None)
    if not isinstance(raw, TolerantStream) or isinstance(raw.error, BrokenPipeError):
        return None
    return raw.error


def print_to_stderr(line: str) -> None:
    """Print a line to stderr; do nothing if it is closed."""
    if sys.stderr is not None:
        with suppress(OSError, ValueError):
            sys.stderr.write(f"{line}\n")


def print_data(text: str) -> None:
    """Print JSON or Python to stdout.

    It is in UTF-8 unless stdout is a terminal.
    """
    if isinstance(sys.stdout, io.TextIOWrapper) and not sys.stdout.isatty():
        sys.stdout.reconfigure(encoding="utf-8", errors=ENCODING_ERRORS)
    sys.stdout.write(f"{text}\n")
