"""Kill a process of linfit, or some of its family, at a chosen moment; find who outlives it."""

from __future__ import annotations

import os
import signal
import sys
import time
from contextlib import suppress
from fnmatch import fnmatch
from itertools import count
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

import psutil

#: Who can be killed: the process itself, one that helps it, its process group, or its whole family.
VICTIMS = ("main", "helper", "worker", "group", "all")
#: What the command lines of helpers and workers have in them.
MARKS = {"helper": ("linfit.tracking.write.background.server",), "worker": ("popen_loky",)}
#: Calls that touch a file, before they do: their first argument is its path.
TOUCHES = {"open", "os.link", "os.mkdir", "os.remove", "os.rename", "os.rmdir", "sqlite3.connect"}
#: Seconds after which nobody may be left of a family whose main process was killed.
PATIENCE = 2.0


def kill(process: int, victim: str) -> bool:
    """Send SIGKILL to the `victim` of a process; return False where it has none."""
    if victim == "main":
        os.kill(process, signal.SIGKILL)
        return True
    if victim == "group":
        os.killpg(process, signal.SIGKILL)
        return True
    family = psutil.Process(process).children(recursive=True)
    chosen = family if victim == "all" else [one for one in family if _is(one, victim)][:1]
    for one in chosen:
        with suppress(psutil.NoSuchProcess):
            one.kill()
    if victim == "all":
        os.kill(process, signal.SIGKILL)
    return bool(chosen) or victim == "all"


def _is(process: psutil.Process, victim: str) -> bool:
    with suppress(psutil.Error):
        words = " ".join(process.cmdline())
        return any(mark in words for mark in MARKS[victim])
    return False


def kill_when_there(process: BaseProcess, victim: str) -> bool:
    """Kill the victim of a process as soon as there is one.

    Return False if the process ended well before.
    """
    assert process.pid is not None
    while process.exitcode is None:
        with suppress(psutil.NoSuchProcess, ProcessLookupError):
            if kill(process.pid, victim):
                return victim in MARKS or _was_alive(process)
        time.sleep(0.005)
    return False


def _was_alive(process: BaseProcess) -> bool:
    """Return whether a process that was sent SIGKILL had not ended well by then.

    A zombie takes every signal.
    """
    process.join(PATIENCE)
    return process.exitcode != 0


def arrange(victim: str, moment: int | str, workdir: str) -> None:
    """Kill the victim of this process before a file below `workdir` is touched.

    `moment` is a number n, for the n-th time, or a pattern, for the first call that fits it. It is
    the same moment in every repetition, as far as threads are.
    """
    touched, killed = count(1), False

    def hear(event: str, arguments: tuple[Any, ...]) -> None:
        nonlocal killed
        if killed or event not in TOUCHES or not _is_below(arguments[0], workdir):
            return
        if (
            next(touched) >= moment
            if isinstance(moment, int)
            else fnmatch(f"{event} {arguments[0]}", moment)
        ):
            killed = kill(os.getpid(), victim)

    sys.addaudithook(hear)


def _is_below(path: object, folder: str) -> bool:
    if not isinstance(path, (str, bytes, os.PathLike)):
        return False
    return os.path.abspath(os.fsdecode(path).removeprefix("file:")).startswith(folder)  # noqa: PTH100  a hook must be quick


def find_survivors(scratch: Path, patience: float = PATIENCE) -> list[str]:
    """Return the command lines of processes whose TMPDIR is `scratch`.

    Only those count that have not ended in time; they are killed.
    """
    deadline = time.monotonic() + patience
    while (found := _started_with(scratch)) and time.monotonic() < deadline:
        time.sleep(0.05)
    for process in found:
        with suppress(psutil.NoSuchProcess):
            process.kill()
    return [words for _, words in found.items()]


def _started_with(scratch: Path) -> dict[psutil.Process, str]:
    found = {}
    for process in psutil.process_iter():
        with suppress(psutil.Error):
            if (
                process.environ().get("TMPDIR") == str(scratch)
                and process.status() != psutil.STATUS_ZOMBIE
            ):
                found[process] = " ".join(process.cmdline())
    return found
