"""Hide messages of other libraries' loggers for a while."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from itertools import chain


class _LevelFilter(logging.Filter):
    """Filter of handlers: drop the messages of some loggers below a level."""

    def __init__(self, names: tuple[str, ...], least: int) -> None:
        super().__init__()
        self._prefixes = tuple(f"{name}." for name in names)
        self._least = least

    def filter(self, record: logging.LogRecord) -> bool:
        return record.levelno >= self._least or not f"{record.name}.".startswith(self._prefixes)


@contextmanager
def limit_logging(*loggers: str, least: int = logging.ERROR) -> Iterator[None]:
    """Hide messages below `least` of these loggers and their children.

    The loggers' levels stay: to set one locks all loggers while their caches are emptied, an
    interrupt in between would leave the lock to nobody, and two threads would restore each other's.
    """
    limit = _LevelFilter(loggers, least)
    handlers = set(chain.from_iterable(map(_find_handlers, loggers)))
    try:
        for handler in handlers:
            handler.addFilter(limit)
        yield
    finally:
        for handler in handlers:
            handler.removeFilter(limit)


def _find_handlers(name: str) -> Iterator[logging.Handler]:
    """Return the handlers that get a logger's messages."""
    if logging.lastResort is not None:
        yield logging.lastResort
    logger: logging.Logger | None = _find_logger(name)
    while logger is not None:
        yield from logger.handlers
        if not logger.propagate:
            return
        logger = logger.parent


@cache
def _find_logger(name: str) -> logging.Logger:
    return logging.getLogger(name)
