"""Which process a run that is RUNNING, or a temporary folder, belongs to, and whether that process is still there."""

from __future__ import annotations

import hashlib
import os
import socket
from pathlib import Path

from linfit.system import creation_time

PROC = Path("/proc")
#: When a process began whose beginning the system does not say.
UNKNOWN = "?"


def owner() -> str:
    """This process: where it runs, its number, and when it began, because numbers are used again."""
    return f"{_place()} {os.getpid()} {_began(os.getpid())}"


def is_dead(process: str) -> bool:
    """Whether the process that `owner` named is surely gone: it ran here, since the last boot, and is not there any more."""
    place, _, ended = process.rpartition(" ")[0].rpartition(" ")
    began = process.rpartition(" ")[2]
    if place != _place() or not ended.isdecimal() or began in ("", UNKNOWN):
        return False
    return _began(int(ended)) not in (began, UNKNOWN)


def short_name() -> str:
    """Return this process as a part of a file's name."""
    return f"{_digest()}-{os.getpid()}-{_began(os.getpid())}"


def read_short_name(name: str) -> str:
    """Return the process of a `short_name` as `owner` names it; empty if it runs elsewhere, or the name is none."""
    place, _, rest = name.partition("-")
    number, _, began = rest.partition("-")
    return (
        f"{_place()} {number} {began}"
        if place == _digest() and number.isdecimal() and began
        else ""
    )


def is_number_free(process: int) -> bool:
    """Return True if no process has this number now."""
    return _began(process) == ""


def _digest() -> str:
    return hashlib.sha256(_place().encode()).hexdigest()[:8]


def _place() -> str:
    """This boot of this machine, as far as its processes see each other; two containers are two places.

    Without /proc the machine is enough: no two of its processes have both the number and the second of their beginning in common.
    """
    try:
        boot = (PROC / "sys/kernel/random/boot_id").read_text(encoding="utf-8").strip()
        return f"{socket.gethostname()} {boot} {(PROC / 'self/ns/pid').readlink()}"
    except OSError:
        return socket.gethostname()


def _began(process: int) -> str:
    """When a process began, in ticks since the boot, or without /proc in seconds since the epoch; empty if there is none."""
    if not (PROC / "self/stat").exists():
        return creation_time(process)
    try:
        fields = (
            (PROC / str(process) / "stat")
            .read_text(encoding="utf-8", errors="replace")
            .rpartition(")")[2]
            .split()
        )
    except OSError:
        return ""
    return "" if fields[0] in "ZX" else fields[19]
