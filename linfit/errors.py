"""What a user can mend. Every message is one line: what came, what is allowed, what to do."""


class LinfitError(Exception):
    """Something that the user can mend; the command line prints it without a traceback and exits with 2."""


class ConfigError(LinfitError, ValueError):
    """A config that cannot be composed or fitted."""


class RecordingError(LinfitError):
    """A store that cannot be opened, read or written; no password stands in the message."""


def printable(text: str) -> str:
    """The text with everything that a terminal would obey, rather than show, as an escape sequence; lines and tabs stay."""
    if text.isascii() and text.isprintable():
        return text
    return "".join(
        letter if letter.isprintable() or letter in "\n\t" else repr(letter)[1:-1]
        for letter in text
    )


def brief(text: str, most: int = 200) -> str:
    """The text, or its beginning where it is longer than a message should be."""
    return text if len(text) <= most else f"{text[:most]}… ({len(text):,} characters)"
