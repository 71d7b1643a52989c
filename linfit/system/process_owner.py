"""Identity of processes: which one owns a RUNNING run or a temporary folder, and does it live."""

from __future__ import annotations

import hashlib
import os
import socket
from pathlib import Path

from linfit.system.host import creation_time

PROC_FOLDER = Path("/proc")
#: Start of a process if the system does not tell.
UNKNOWN_START = "?"


def process_identity() -> str:
    """Return the identity of this process: machine, number and start.

    The start is part of it because process numbers are reused.
    """
    return f"{_machine()} {os.getpid()} {_start_of(os.getpid())}"


def is_process_gone(process: str) -> bool:
    """Return True if the process that `process_identity` named is surely gone.

    It must have run here, since the last boot, and its number must be free or another's now.
    """
    place_and_number, _, began = process.rpartition(" ")
    place, _, number = place_and_number.rpartition(" ")
    if place != _machine() or not number.isdecimal() or began in ("", UNKNOWN_START):
        return False
    return _start_of(int(number)) not in (began, UNKNOWN_START)


def short_identity() -> str:
    """Return this process's identity as part of a file's name."""
    return f"{_machine_digest()}-{os.getpid()}-{_start_of(os.getpid())}"


def parse_short_identity(name: str) -> str:
    """Return the identity of a `short_identity`.

    It is written as `process_identity` writes it. Empty if the process runs elsewhere, or if this
    is no short name.
    """
    place, _, rest = name.partition("-")
    number, _, began = rest.partition("-")
    if place != _machine_digest() or not number.isdecimal() or not began:
        return ""
    return f"{_machine()} {number} {began}"


def is_pid_free(process: int) -> bool:
    """Return True if no process has this number now."""
    return _start_of(process) == ""


def _machine_digest() -> str:
    return hashlib.sha256(_machine().encode()).hexdigest()[:8]


def _machine() -> str:
    """Return this boot of this machine; two containers are two places.

    Without /proc the machine is enough: no two of its processes share number and start second.
    """
    try:
        boot = (PROC_FOLDER / "sys/kernel/random/boot_id").read_text(encoding="utf-8").strip()
        return f"{socket.gethostname()} {boot} {(PROC_FOLDER / 'self/ns/pid').readlink()}"
    except OSError:
        return socket.gethostname()


def _start_of(process: int) -> str:
    """Return the start of a process.

    Empty if there is none, or if it is a zombie.

    In ticks since the boot, or without /proc in seconds since the epoch.
    """
    if not (PROC_FOLDER / "self/stat").exists():
        return creation_time(process)
    try:
        stat = (PROC_FOLDER / str(process) / "stat").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""
    fields = stat.rpartition(")")[2].split()  # the name in brackets may contain spaces
    return "" if fields[0] in "ZX" else fields[19]
