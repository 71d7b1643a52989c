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
    """Return the text with control characters as escape sequences, but for newlines and tabs.

    Characters that join the letters or emojis around them stay.
    """
    if text.isascii() and text.isprintable():
        return text
    kept = "\n\t\u200c\u200d"
    return "".join(
        letter if letter.isprintable() or letter in kept else repr(letter)[1:-1] for letter in text
    )


def count_things(count: int, thing: str) -> str:
    """Return a number of things in words: `1 fit`, `2,000 fits`."""
    return f"{count:,} {thing}" if count == 1 else f"{count:,} {thing}s"


def shorten(text: str, most: int = 200) -> str:
    """Return the text, cut after `most` characters.

    A note then tells its length.
    """
    if len(text) <= most:
        return text
    return f"{text[:most]}… ({len(text):,} characters)"
