"""Which process a run that is RUNNING belongs to, and whether that process is still there."""

from __future__ import annotations

import os
import socket
from pathlib import Path

PROC = Path("/proc")


def owner() -> str:
    """This process: where it runs, its number, and when it began, because numbers are used again."""
    return f"{_place()} {os.getpid()} {_began(os.getpid())}"


def is_dead(process: str) -> bool:
    """Whether the process that `owner` named is surely gone: it ran here, since the last boot, and is not there any more."""
    place, _, ended = process.rpartition(" ")[0].rpartition(" ")
    began = process.rpartition(" ")[2]
    return place == _place() and ended.isdecimal() and bool(began) and began != "?" and _began(int(ended)) != began


def _place() -> str:
    """This boot of this machine, as far as its processes see each other; two containers are two places."""
    try:
        boot = (PROC / "sys/kernel/random/boot_id").read_text().strip()
        return f"{socket.gethostname()} {boot} {(PROC / 'self/ns/pid').readlink()}"
    except OSError:
        return socket.gethostname()


def _began(process: int) -> str:
    """When a process began, in ticks since the boot; empty if there is none, `?` where the system does not say."""
    if not (PROC / "self/stat").exists():
        return "?"
    try:
        fields = (PROC / str(process) / "stat").read_text().rpartition(")")[2].split()
    except OSError:
        return ""
    return "" if fields[0] in "ZX" else fields[19]
