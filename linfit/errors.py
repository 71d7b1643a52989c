"""Errors that users can mend. A message is one line: what came, what is allowed, what to do."""


class LinfitError(Exception):
    """An error that the user can mend.

    It is printed without a traceback, with exit code 2.
    """


class ConfigError(LinfitError, ValueError):
    """A config that cannot be composed or fitted."""


class RecordingError(LinfitError):
    """A store that cannot be opened, read or written.

    The message contains no password.
    """


def escape_unprintable(text: str) -> str:
    """Return the text with control characters as escapes.

    Newlines and tabs stay.
    """
    if text.isascii() and text.isprintable():
        return text
    return "".join(
        letter if letter.isprintable() or letter in "\n\t" else repr(letter)[1:-1]
        for letter in text
    )


def shorten(text: str, most: int = 200) -> str:
    """Return the text, cut after `most` characters.

    A note then tells its length.
    """
    if len(text) <= most:
        return text
    return f"{text[:most]}… ({len(text):,} characters)"
