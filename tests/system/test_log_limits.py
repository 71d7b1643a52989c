"""Messages of other libraries that are hidden for a while."""

from __future__ import annotations

import logging
import sys
import threading
from collections.abc import Iterator

import pytest

from linfit.system.log_limits import limit_logging


@pytest.fixture
def messages() -> Iterator[list[str]]:
    """What the loggers "lib" and "library" print, each in a handler of its own."""
    printed: list[str] = []
    handler = logging.Handler()
    handler.emit = lambda record: printed.append(record.getMessage())  # type: ignore[method-assign]
    loggers = [logging.getLogger("lib"), logging.getLogger("library")]
    for logger in loggers:
        logger.addHandler(handler)
    yield printed
    for logger in loggers:
        logger.removeHandler(handler)


@pytest.mark.parametrize(
    ("logger", "level", "is_hidden"),
    [
        ("lib", logging.WARNING, True),
        ("lib.part", logging.WARNING, True),
        ("lib.part", logging.ERROR, False),
        ("library", logging.WARNING, False),
    ],
)
def test_messages_below_a_level_are_hidden(
    logger: str, level: int, is_hidden: bool, messages: list[str]
) -> None:
    with limit_logging("lib"):
        logging.getLogger(logger).log(level, "within")
    logging.getLogger(logger).log(level, "after")
    assert messages == (["after"] if is_hidden else ["within", "after"])


def test_limits_of_two_threads_overlap(messages: list[str]) -> None:
    first = limit_logging("lib")
    second = limit_logging("lib", least=logging.CRITICAL)
    first.__enter__()
    second.__enter__()
    first.__exit__(None, None, None)
    logging.getLogger("lib").error("within")
    second.__exit__(None, None, None)
    logging.getLogger("lib").warning("after")
    assert messages == ["after"]


def test_an_interrupt_leaves_no_lock_behind(messages: list[str]) -> None:
    """Wherever Ctrl-C meets the main thread, other threads can log."""
    with limit_logging("lib"):
        pass  # the logger is known from here on
    moment, interrupted = 0, True
    while interrupted:
        interrupted = _interrupt(moment)
        thread = threading.Thread(target=logging.getLogger("lib").error, args=(str(moment),))
        thread.start()
        thread.join(5)
        assert messages[-1:] == [str(moment)]
        moment += 1
    assert moment > 5


def _interrupt(moment: int) -> bool:
    """Raise KeyboardInterrupt at a call within the limit, as a signal does; return if it was."""
    left = moment

    def count(frame: object, event: str, argument: object) -> None:
        nonlocal left
        left -= 1
        if left < 0:
            sys.setprofile(None)
            raise KeyboardInterrupt

    try:
        sys.setprofile(count)
        with limit_logging("lib"):
            pass
        sys.setprofile(None)
    except KeyboardInterrupt:
        return True
    return False
