"""The streams that the command line prints to: whatever their encoding, and also where they are closed or full."""

from __future__ import annotations

import codecs
import io
import os
import select
import sys
import unicodedata
from contextlib import suppress
from typing import Any

#: Text for signs of linfit's own that an encoding may lack. Greek letters go by their names.
STAND_INS = {
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
#: The name under which Python's encoders know `replace_unencodable`.
REPLACE = "linfit.readable"


def stand_in(letter: str) -> str:
    """Return ASCII text for a character: readable where there is a common way to write it, else its escape sequence."""
    if letter in STAND_INS:
        return STAND_INS[letter]
    kind, _, plain = unicodedata.decomposition(letter).partition(" ")
    if kind in ("<super>", "<sub>", "<fraction>"):
        text = "".join(chr(int(code, 16)) for code in plain.split()).replace(
            "\N{FRACTION SLASH}", "/"
        )
        if text.isascii():
            return f"^{text}" if kind == "<super>" else text
    name = unicodedata.name(letter, "")
    if name.startswith("GREEK SMALL LETTER "):
        return name.rpartition(" ")[2].lower()
    return letter.encode("ascii", "backslashreplace").decode()


def replace_unencodable(error: UnicodeError) -> tuple[str, int]:
    """Return what is written in place of the characters that an encoder refused, as `codecs.register_error` asks."""
    if not isinstance(error, UnicodeEncodeError):
        raise error
    return "".join(map(stand_in, error.object[error.start : error.end])), error.end


codecs.register_error(REPLACE, replace_unencodable)


def encodable(text: str, encoding: str | None) -> str:
    """Return the text as a stream of this encoding shows it, so that it can be measured before it is printed."""
    if text.isascii() or encoding is None:
        return text
    return text.encode(encoding, REPLACE).decode(encoding)


class Output(io.RawIOBase):
    """What stdout or stderr writes to. After the first error nothing more is written: no command fails in its middle."""

    def __init__(self, raw: Any) -> None:
        super().__init__()
        self.raw = raw
        self.error: OSError | None = None
        """Why something could not be written."""

    def writable(self) -> bool:
        return True

    def isatty(self) -> bool:
        return bool(self.raw.isatty())

    def fileno(self) -> int:
        return int(self.raw.fileno())

    def write(self, content: Any) -> int:
        """Write a part of the content, and return how long that part is."""
        while self.error is None:
            try:
                written = self.raw.write(content)
            except OSError as error:
                self.error = error
                break
            if written is not None:
                return int(written)
            select.select(
                [], [self.fileno()], []
            )  # another program has made the pipe or terminal non-blocking, and it is full
        return len(content)


def open_streams() -> None:
    """Make stdin, stdout and stderr usable in every encoding and state, before anything is read or printed.

    A stream that is closed, as by `2>&-`, leads nowhere: else the next file that is opened, or a pipe to another process,
    would have its number. So it does in the processes that are started, such as workers.
    """
    for number, (name, mode) in enumerate((("stdin", "r"), ("stdout", "w"), ("stderr", "w"))):
        stream = getattr(sys, name)
        if stream is None:
            nowhere = open(os.devnull, mode, encoding="utf-8")  # noqa: SIM115, PTH123 - for good, and without pathlib
            if nowhere.fileno() == number:
                os.set_inheritable(number, True)
            setattr(sys, name, nowhere)
        elif (
            mode == "w"
            and stream is getattr(sys, f"__{name}__")
            and isinstance(stream, io.TextIOWrapper)
        ):  # else it is a caller's
            setattr(sys, name, _tolerant(stream))


def _tolerant(stream: io.TextIOWrapper) -> io.TextIOWrapper:
    """Return a stream in the place of another. It writes line by line, so that an interrupted process has nothing left to write."""
    raw = Output(getattr(stream.buffer, "raw", stream.buffer))
    return io.TextIOWrapper(io.BufferedWriter(raw), stream.encoding, REPLACE, line_buffering=True)


def unwritten() -> OSError | None:
    """Return why not all of what was printed to stdout could be written; None if it was, or if its reader has seen enough."""
    with suppress(OSError, ValueError):
        sys.stdout.flush()
    raw = getattr(getattr(sys.stdout, "buffer", None), "raw", None)
    error = raw.error if isinstance(raw, Output) else None
    return None if isinstance(error, BrokenPipeError) else error


def tell(line: str) -> None:
    """Print a line to stderr, if there is one: nothing fails because nobody can be told."""
    if sys.stderr is not None:
        with suppress(OSError, ValueError):
            sys.stderr.write(f"{line}\n")


def print_data(text: str) -> None:
    """Print to stdout what a program reads, JSON or Python: in UTF-8 unless it is shown on a terminal."""
    if isinstance(sys.stdout, io.TextIOWrapper) and not sys.stdout.isatty():
        sys.stdout.reconfigure(encoding="utf-8", errors=REPLACE)
    sys.stdout.write(f"{text}\n")
