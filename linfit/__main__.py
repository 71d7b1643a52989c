"""The program `linfit`, also as `python -m linfit`: Ctrl-C ends it without a traceback from its first moment to its last."""

from __future__ import annotations

import os
import sys

if __name__ == "__main__" and sys.path and sys.path[0] in ("", os.getcwd()):  # noqa: PTH109 - before any import
    # `python -m` looks for modules in the working directory first: it is left out, or where linfit itself lies there, comes last.
    _first = sys.path.pop(0)
    if os.path.dirname(os.path.dirname(os.path.abspath(__file__))) == os.path.abspath(_first):  # noqa: PTH100, PTH120 - before any import
        sys.path.append(_first)

import atexit
import gc
import signal
from typing import NoReturn

from linfit.output import open_streams
from linfit.system import avoid_working_directory

#: How many more objects there are before Python looks for circles among the new ones. Importing torch and MLflow makes millions that
#: stay: with Python's own 700 it would spend a third of the time until the first fit on looking through them.
NEW_OBJECTS = 50_000


def main() -> NoReturn:
    """The command line. Before it listens there is nothing to put in order, and after it nothing but the interpreter's own end."""
    try:
        _main()
    except KeyboardInterrupt as stop:  # between two of these
        from linfit.interrupts import exit_code

        os._exit(exit_code(stop))


def _main() -> NoReturn:
    avoid_working_directory()
    open_streams()
    gc.set_threshold(NEW_OBJECTS)
    atexit.register(
        gc.freeze
    )  # at its end the interpreter would look through all of them once more
    listening = (
        signal.getsignal(signal.SIGINT) is signal.default_int_handler
    )  # not where Ctrl-C is ignored, as under nohup
    if listening:
        signal.signal(signal.SIGINT, signal.SIG_DFL)
    from linfit import cli

    if listening:
        signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        cli.main()
    except SystemExit as end:
        if end.code in (
            cli.INTERRUPTED,
            cli.TERMINATED,
        ):  # the interpreter would wait for threads that may never end
            os._exit(end.code)
        raise
    finally:
        if listening:
            signal.signal(signal.SIGINT, signal.SIG_DFL)
        signal.signal(signal.SIGTERM, signal.SIG_DFL)


if __name__ == "__main__":
    main()
