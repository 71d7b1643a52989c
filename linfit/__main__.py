"""The program `linfit`, also as `python -m linfit`. Ctrl-C never prints a traceback."""

from __future__ import annotations

import os
import sys

# `python -m` searches the working directory first. It is removed, or if linfit itself lies there,
# searched last. Until then nothing else is imported, not even pathlib.
if __name__ == "__main__" and sys.path and sys.path[0] in ("", os.getcwd()):  # noqa: PTH109
    _first = sys.path.pop(0)
    _home = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))  # noqa: PTH100, PTH120
    if _home == os.path.abspath(_first):  # noqa: PTH100
        sys.path.append(_first)

import atexit
import gc
import signal
from typing import NoReturn

from linfit.system.host import avoid_working_directory
from linfit.system.output import open_streams

#: New objects after which Python collects garbage cycles. Importing torch and MLflow creates
#: millions of lasting objects: with Python's default of 700, collections would take a third of the
#: time until the first fit.
GC_THRESHOLD = 50_000


def main() -> NoReturn:
    """Run the command line; an interrupt outside exits at once.

    There is nothing to clean up before the command line handles signals, nor after it has ended.
    """
    try:
        _main()
    except KeyboardInterrupt as stop:
        from linfit.system.signals import exit_code

        os._exit(exit_code(stop))


def _main() -> NoReturn:
    avoid_working_directory()
    open_streams()
    gc.set_threshold(GC_THRESHOLD)
    atexit.register(gc.freeze)  # the interpreter would collect once more at its end
    # Not if Ctrl-C is ignored, as under nohup.
    hears_interrupts = signal.getsignal(signal.SIGINT) is signal.default_int_handler
    if hears_interrupts:
        signal.signal(signal.SIGINT, signal.SIG_DFL)
    from linfit import cli

    if hears_interrupts:
        signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        cli.main()
    except SystemExit as end:
        if end.code in (cli.EXIT_INTERRUPTED, cli.EXIT_TERMINATED):
            os._exit(end.code)  # the interpreter would wait for threads that may never end
        raise
    finally:
        if hears_interrupts:
            signal.signal(signal.SIGINT, signal.SIG_DFL)
        signal.signal(signal.SIGTERM, signal.SIG_DFL)


if __name__ == "__main__":
    main()
