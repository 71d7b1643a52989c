"""What a user can mend. Every message is one line: what came, what is allowed, what to do."""


class LinfitError(Exception):
    """Something that the user can mend; the command line prints it without a traceback and exits with 2."""


class ConfigError(LinfitError, ValueError):
    """A config that cannot be composed or fitted."""


class RecordingError(LinfitError):
    """A store that cannot be opened, read or written; no password stands in the message."""
