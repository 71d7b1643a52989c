"""Run linfit's own command line, and list the modules that it has imported.

python -m benchmarks.peers.imported LISTING run …

LISTING gets the names of all modules but linfit's own, in the order in which their imports began,
one a line.
"""

from __future__ import annotations

import atexit
import sys
from pathlib import Path

OWN = ("linfit", "hydra_plugins.linfit", "benchmarks", "__main__", "__mp_main__")


def write_names(listing: str) -> None:
    """Write the names of the modules that are not linfit's own."""
    names = [
        name for name in sys.modules if not (name + ".").startswith(tuple(f"{own}." for own in OWN))
    ]
    Path(listing).write_text("\n".join(names), encoding="utf-8")


def main(listing: str, *arguments: str) -> None:
    """Run linfit with `arguments`, and write the names when it has ended."""
    atexit.register(write_names, str(Path(listing).absolute()))
    sys.argv = ["linfit", *arguments]
    from linfit.__main__ import main as run_linfit

    run_linfit()


if __name__ == "__main__":
    main(*sys.argv[1:])
