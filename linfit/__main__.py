"""The program `linfit`, also as `python -m linfit`: Ctrl-C ends it without a traceback from its first moment to its last."""

from __future__ import annotations

import atexit
import gc
import os
import signal
import sys
from typing import NoReturn

#: How many more objects there are before Python looks for circles among the new ones. Importing torch and MLflow makes millions that
#: stay: with Python's own 700 it would spend a third of the time until the first fit on looking through them.
NEW_OBJECTS = 50_000


def main() -> NoReturn:
    """The command line. Before it listens there is nothing to put in order, and after it nothing but the interpreter's own end."""
    open_streams()
    gc.set_threshold(NEW_OBJECTS)
    atexit.register(gc.freeze)  # at its end the interpreter would look through all of them once more
    listening = signal.getsignal(signal.SIGINT) is signal.default_int_handler  # not where Ctrl-C is ignored, as under nohup
    if listening:
        signal.signal(signal.SIGINT, signal.SIG_DFL)
    from linfit import cli

    if listening:
        signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        cli.main()
    except SystemExit as end:
        if end.code in (cli.INTERRUPTED, cli.TERMINATED):  # the interpreter would wait for threads that may never end
            sys.stdout.flush()
            os._exit(end.code)
        raise
    finally:
        if listening:
            signal.signal(signal.SIGINT, signal.SIG_DFL)
        signal.signal(signal.SIGTERM, signal.SIG_DFL)


def open_streams() -> None:
    """Leads streams that are closed, as by `2>&-`, nowhere: the next file that is opened, or a pipe to another process, would have their number."""
    for name, mode in (("stdin", "r"), ("stdout", "w"), ("stderr", "w")):
        if getattr(sys, name) is None:
            setattr(sys, name, open(os.devnull, mode, encoding="utf-8"))  # noqa: SIM115, PTH123 - for good, and without pathlib


if __name__ == "__main__":
    main()
