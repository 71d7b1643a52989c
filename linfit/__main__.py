"""The program `linfit`, also as `python -m linfit`: Ctrl-C ends it without a traceback from its first moment to its last."""

from __future__ import annotations

import os
import signal
import sys
from typing import NoReturn


def main() -> NoReturn:
    """The command line. Before it listens there is nothing to put in order, and after it nothing but the interpreter's own end."""
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


if __name__ == "__main__":
    main()
