"""Differences between Linux, macOS and Windows: processes, processors, folders and shells.

Windows has neither sessions nor process groups that a signal reaches, and a process there is never
told that its parent is gone. No other module uses what one of these systems lacks
(tests/test_platforms.py).
"""

from __future__ import annotations

import errno
import os
import platform
import re
import shlex
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from functools import cache
from pathlib import Path
from typing import Any

CPU_INFO = Path("/proc/cpuinfo")
#: A word that neither cmd.exe nor PowerShell interprets without quotes.
_PLAIN = re.compile(r"[\w.:/\\=+-]+", re.ASCII)
#: Option of prctl: the signal that the kernel sends to a process whose parent is gone.
_PR_SET_PDEATHSIG = 1
#: Backslashes and a quote, which a Windows program would not read literally in a quoted word.
_ENDS_QUOTES = re.compile(r'(\\*)("|\Z)')


def is_windows() -> bool:
    """Return True on Windows, which has neither POSIX signals nor sessions."""
    return sys.platform == "win32"


def count_cpus() -> int:
    """Return how many processors this process may use, if known."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


@cache
def describe_cpu() -> str:
    """Return the processor's name, as the operating system has it."""
    return _read_cpu_info("model name") or platform.processor() or platform.machine()


@cache
def identify_cpu_model() -> str:
    """Return the numbers of the processor's model, empty where the system does not tell them.

    Virtual machines shorten the name: two generations with other kernels are both `AMD EPYC`.
    """
    keys = ("cpu family", "model", "stepping")
    numbers = [(key, _read_cpu_info(key)) for key in keys]
    return ", ".join(f"{key} {number}" for key, number in numbers if number)


def _read_cpu_info(key: str) -> str:
    """Return the first processor's value of a key, empty without one."""
    try:
        text = CPU_INFO.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""
    found = re.search(rf"^{key}\s*:\s*(.+)$", text, re.MULTILINE)
    return found[1] if found else ""


def has_screen() -> bool:
    """Return True if windows can be opened."""
    if sys.platform in ("darwin", "win32"):
        return True
    return any(map(os.environ.get, ("DISPLAY", "WAYLAND_DISPLAY")))


# ---- programs ----

#: Keeps Python from importing from the working directory, and from the folder of its program.
SAFE_PATH = {"PYTHONSAFEPATH": "1"}


def avoid_working_directory() -> None:
    """Keep this process from running files of the working directory.

    Its children are kept from it too.
    """
    os.environ.update(SAFE_PATH)
    # Windows searches the working directory first, unless this variable is set in any case.
    os.environ["NODEFAULTCURRENTDIRECTORYINEXEPATH"] = "1"
    if "PATH" in os.environ:
        os.environ["PATH"] = os.pathsep.join(list_program_folders())


def list_program_folders() -> list[str]:
    """Return the folders of PATH without the working directory.

    That one may be spelt in any way.
    """
    folders = os.environ.get("PATH", os.defpath).split(os.pathsep)
    here = os.path.realpath(os.curdir)
    return [
        folder
        for folder in folders
        if Path(folder).is_absolute() and os.path.realpath(folder) != here
    ]


def find_program(name: str) -> str | None:
    """Return the absolute path of a program outside the working directory.

    None if absent.
    """
    found = shutil.which(name, path=os.pathsep.join(list_program_folders()))
    if found is None or not Path(found).is_absolute():
        return None
    return found


@contextmanager
def isolate_children() -> Iterator[None]:
    """Keep child Python processes from importing the working directory.

    Any library may start them.
    """
    before = {name: os.environ.get(name) for name in SAFE_PATH}
    os.environ.update(SAFE_PATH)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value


def start_trackers() -> None:
    """Start the resource trackers of joblib's workers.

    Otherwise the first worker starts them, and Ctrl-C is no longer held back from that worker.
    """
    from joblib.externals.loky.backend import resource_tracker

    resource_tracker.ensure_running()
    if sys.platform != "win32":
        from multiprocessing import resource_tracker as shared

        shared.ensure_running()


# ---- processes ----


def start_detached(program: Sequence[str], **options: Any) -> subprocess.Popen[bytes]:
    """Start a process that no Ctrl-C of this terminal reaches.

    It runs in a session of its own, or on Windows in a process group of its own.
    """
    if sys.platform == "win32":
        group = getattr(subprocess, "CREATE_NEW_PROCESS_GROUP", 0)
        return subprocess.Popen(program, creationflags=group, **options)
    return subprocess.Popen(program, start_new_session=True, **options)


def end_detached(process: subprocess.Popen[bytes], patience: float) -> None:
    """End a process of `start_detached` and its children.

    Kill them after `patience` seconds.
    """
    if sys.platform == "win32":
        _end_descendants(process, patience)
        return
    for number in (signal.SIGTERM, signal.SIGKILL):
        with suppress(ProcessLookupError):
            os.killpg(process.pid, number)
        with suppress(subprocess.TimeoutExpired):
            process.wait(patience)


def wait_for_end_of_parent(parent: int, pause: float) -> None:
    """Return when this process's `parent` is gone; check every `pause` seconds."""
    if sys.platform == "win32":  # where a process keeps its parent's number for good
        import psutil

        with suppress(psutil.NoSuchProcess):
            watched = psutil.Process(parent)
            # A younger process has been given the number of the parent, which is gone.
            if watched.create_time() <= psutil.Process().create_time():
                watched.wait()
        return
    while os.getppid() == parent:
        time.sleep(pause)


def exit_with_parent(parent: int, pause: float, with_children: bool = False) -> None:
    """Exit this process as soon as its `parent` is gone.

    It exits whatever it is doing. Linux kills it, even while no other Python thread can run.
    Elsewhere, or if its children are to be killed first, a thread checks every `pause` seconds.
    """
    if sys.platform == "linux" and not with_children:
        import ctypes

        with suppress(OSError, AttributeError):  # a system without prctl
            ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    arguments = (parent, pause, with_children)
    threading.Thread(target=_exit_after, args=arguments, daemon=True).start()


def _exit_after(parent: int, pause: float, with_children: bool) -> None:
    if with_children:
        import psutil  # at once: later this process may be forbidden to open files
    wait_for_end_of_parent(parent, pause)
    if with_children:
        for child in psutil.Process().children(recursive=True):
            with suppress(psutil.Error):
                child.kill()
    os._exit(1)


@contextmanager
def hold_back_interrupts() -> Iterator[None]:
    """Hold Ctrl-C back from processes that are started here.

    It is held back until they `ignore_interrupts`. Another thread of this process receives it.
    """
    if not hasattr(signal, "pthread_sigmask"):
        yield
        return
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def ignore_interrupts() -> None:
    """Ignore Ctrl-C, including one that was held back."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    if hasattr(signal, "pthread_sigmask"):
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGINT})


def creation_time(process: int) -> str:
    """Return the start of a process, in seconds since the epoch.

    Empty if there is no such process, `?` if the system denies access.
    """
    import psutil

    try:
        found = psutil.Process(process)
        if found.status() == psutil.STATUS_ZOMBIE:
            return ""
        return f"{found.create_time():.3f}"
    except psutil.NoSuchProcess:
        return ""
    except psutil.AccessDenied:
        return "?"


def _end_descendants(process: subprocess.Popen[bytes], patience: float) -> None:
    """End a process and its descendants.

    They are listed before the first ends, since the ancestors of an orphan are unknown.
    """
    import psutil

    with suppress(psutil.Error):
        root = psutil.Process(process.pid)
        family = [*root.children(recursive=True), root]
        for end in ("terminate", "kill"):
            for one in family:
                with suppress(psutil.Error):  # of one that has ended, Windows denies access
                    getattr(one, end)()
            _, family = psutil.wait_procs(family, patience)
    with suppress(subprocess.TimeoutExpired):
        process.wait(patience)


# ---- folders ----


def flush_folder(folder: Path) -> None:
    """Flush a folder's names to the disk, if permitted.

    Windows cannot open a folder, and its file system keeps a journal of names. Some file systems of
    Linux cannot flush a folder, and raise EINVAL.
    """
    if sys.platform == "win32":
        return
    try:
        opened = os.open(folder, os.O_RDONLY)
    except PermissionError:  # a folder may be writable without being readable
        return
    try:
        os.fsync(opened)
    except OSError as error:
        if error.errno != errno.EINVAL:
            raise OSError(error.errno, error.strerror, str(folder)) from error
    finally:
        os.close(opened)


# ---- shells ----


def quote_word(word: str) -> str:
    """Return a word as it is typed in the user's shell.

    It is sh, or on Windows cmd.exe or PowerShell, which know double quotes only. Double quotes in
    the word are escaped as for cmd.exe.
    """
    if not has_windows_shell():
        return shlex.quote(word)
    if _PLAIN.fullmatch(word):
        return word
    escaped = _ENDS_QUOTES.sub(lambda found: 2 * found[1] + ('\\"' if found[2] else ""), word)
    return f'"{escaped}"'


def quote_words(words: Iterable[str]) -> str:
    """Return a command as it is typed in the user's shell."""
    return " ".join(map(quote_word, words))


def has_windows_shell() -> bool:
    """Return True if the shell is cmd.exe or PowerShell.

    git for Windows brings a bash of MSYS.
    """
    return is_windows() and "MSYSTEM" not in os.environ


# ---- files and memory ----


def open_without_waiting(path: str, flags: int) -> int:
    """Open a file as an `opener` of `open`, without waiting.

    If the file is a pipe by now, `open` would wait for a writer.
    """
    return os.open(path, flags | getattr(os, "O_NONBLOCK", 0))


def available_memory() -> int:
    """Return how many bytes this process may still take.

    It is the least of what the machine, the control group, and the process's own limit leave.
    """
    import psutil

    free = [psutil.virtual_memory().available, *_left_in_group()]
    if hasattr(psutil, "RLIMIT_AS"):
        own = psutil.Process()
        limit = own.rlimit(psutil.RLIMIT_AS)[0]
        if limit != psutil.RLIM_INFINITY:
            free.append(limit - own.memory_info().vms)
    return max(0, int(min(free)))


def _left_in_group() -> list[int]:
    """Return the bytes left in a container's control group, if it limits them.

    Cached files count as free.
    """
    group = Path("/sys/fs/cgroup")
    with suppress(OSError, ValueError, IndexError):
        limit = int((group / "memory.max").read_text(encoding="utf-8"))
        used = int((group / "memory.current").read_text(encoding="utf-8"))
        stat = (group / "memory.stat").read_text(encoding="utf-8").split()
        return [limit - used + int(stat[stat.index("inactive_file") + 1])]
    return []
