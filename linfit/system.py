"""What differs between Linux, macOS and Windows: processes and their ends, processors, folders, and how a shell wants its words.

Windows has neither sessions nor process groups that a signal reaches, and a process there never learns that its parent is gone.
No other module uses what one of these systems lacks (tests/test_platforms.py).
"""

from __future__ import annotations

import errno
import os
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
from pathlib import Path
from typing import Any

#: Signs that mean nothing to cmd.exe, nor to PowerShell, where they stand in a word without quotes.
_PLAIN = re.compile(r"[\w.:/\\=+-]+", re.ASCII)
#: The option of prctl that names the signal for a process whose parent is gone.
_PR_SET_PDEATHSIG = 1
#: What a Windows program's own parser would read as the end of a quoted word, or as part of it.
_ENDS_QUOTES = re.compile(r'(\\*)("|\Z)')


def is_windows() -> bool:
    """Return True where neither POSIX signals nor sessions exist."""
    return sys.platform == "win32"


def count_cpus() -> int:
    """Return how many processors this process may use, as far as the system says."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def has_screen() -> bool:
    """Return True where windows can be opened."""
    return sys.platform in ("darwin", "win32") or any(
        map(os.environ.get, ("DISPLAY", "WAYLAND_DISPLAY"))
    )


# ---- what is run ----

#: With it, Python neither imports from the working directory nor from the folder of the program that it runs.
ISOLATED = {"PYTHONSAFEPATH": "1"}


def avoid_working_directory() -> None:
    """Have this process, and all that it starts, look for programs and Python modules in no working directory."""
    os.environ.update(ISOLATED)
    os.environ["NODEFAULTCURRENTDIRECTORYINEXEPATH"] = (
        "1"  # Windows, where case does not count, looks there first
    )
    if "PATH" in os.environ:
        os.environ["PATH"] = os.pathsep.join(program_folders())


def program_folders() -> list[str]:
    """Return the folders of PATH but for the working directory, however it is written there."""
    folders = os.environ.get("PATH", os.defpath).split(os.pathsep)
    here = os.path.realpath(os.curdir)
    return [
        folder
        for folder in folders
        if Path(folder).is_absolute() and os.path.realpath(folder) != here
    ]


def find_program(name: str) -> str | None:
    """Return the absolute path of a program, which is never one of the working directory; None if there is none."""
    found = shutil.which(name, path=os.pathsep.join(program_folders()))
    return found if found is not None and Path(found).is_absolute() else None


@contextmanager
def isolated_children() -> Iterator[None]:
    """Have Python processes that are started meanwhile, by whatever library, import nothing from the working directory."""
    before = {name: os.environ.get(name) for name in ISOLATED}
    os.environ.update(ISOLATED)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value


def start_trackers() -> None:
    """Start the processes that clean up after joblib's workers, which otherwise start with the first of them.

    Ctrl-C would not be held back from that worker any more.
    """
    from joblib.externals.loky.backend import resource_tracker

    resource_tracker.ensure_running()
    if sys.platform != "win32":
        from multiprocessing import resource_tracker as shared

        shared.ensure_running()


# ---- processes ----


def start_apart(program: Sequence[str], **options: Any) -> subprocess.Popen[bytes]:
    """Start a process that no Ctrl-C of this terminal reaches: in a session, or on Windows a process group, of its own."""
    if sys.platform == "win32":
        group = getattr(subprocess, "CREATE_NEW_PROCESS_GROUP", 0)
        return subprocess.Popen(program, creationflags=group, **options)
    return subprocess.Popen(program, start_new_session=True, **options)


def end_apart(process: subprocess.Popen[bytes], patience: float) -> None:
    """End a process of `start_apart` with all that it has started; what has not ended after `patience` seconds is killed."""
    if sys.platform == "win32":
        _end_descendants(process, patience)
        return
    for number in (signal.SIGTERM, signal.SIGKILL):
        with suppress(ProcessLookupError):
            os.killpg(process.pid, number)
        with suppress(subprocess.TimeoutExpired):
            process.wait(patience)


def wait_for_end_of_parent(parent: int, pause: float) -> None:
    """Return when the process `parent`, which has started this one, is gone; looked at every `pause` seconds."""
    if sys.platform == "win32":  # where this process keeps its parent's number whatever happens
        import psutil

        with suppress(psutil.NoSuchProcess):
            watched = psutil.Process(parent)
            if (
                watched.create_time() <= psutil.Process().create_time()
            ):  # else the number is another's already
                watched.wait()
        return
    while os.getppid() == parent:
        time.sleep(pause)


def exit_with_parent(parent: int, pause: float) -> None:
    """End this process as soon as `parent`, which has started it, is gone, in the middle of whatever it does.

    Linux itself kills it, also while no other Python thread can run. Elsewhere a thread looks every `pause` seconds.
    """
    if sys.platform == "linux":
        import ctypes

        with suppress(OSError, AttributeError):  # a system without it
            ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    threading.Thread(target=_exit_after, args=(parent, pause), daemon=True).start()


@contextmanager
def holding_interrupts_back() -> Iterator[None]:
    """Ctrl-C does not reach the processes that are started here until they `ignore_interrupts`: another thread of this one hears it."""
    if not hasattr(signal, "pthread_sigmask"):
        yield
        return
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def ignore_interrupts() -> None:
    """Ignore Ctrl-C, also one that was held back."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    if hasattr(signal, "pthread_sigmask"):
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGINT})


def _exit_after(parent: int, pause: float) -> None:
    wait_for_end_of_parent(parent, pause)
    os._exit(1)


def creation_time(process: int) -> str:
    """Return when a process began, in seconds since the epoch; empty if there is none, `?` where the system does not say."""
    import psutil

    try:
        found = psutil.Process(process)
        return "" if found.status() == psutil.STATUS_ZOMBIE else f"{found.create_time():.3f}"
    except psutil.NoSuchProcess:
        return ""
    except psutil.AccessDenied:
        return "?"


def _end_descendants(process: subprocess.Popen[bytes], patience: float) -> None:
    """End a process and its descendants, listed before the first ends: an orphan's ancestors are not known any more."""
    import psutil

    with suppress(psutil.Error):
        root = psutil.Process(process.pid)
        family = [*root.children(recursive=True), root]
        for end in ("terminate", "kill"):
            for one in family:
                with suppress(
                    psutil.Error
                ):  # it has ended, or is about to: Windows then denies access
                    getattr(one, end)()
            _, family = psutil.wait_procs(family, patience)
    with suppress(subprocess.TimeoutExpired):
        process.wait(patience)


# ---- folders ----


def flush_folder(folder: Path) -> None:
    """Have the names that stand in a folder on the disk, as far as this process may ask for it.

    Windows opens no folder, and its file system keeps a journal of names. Some file systems of Linux flush no folder: EINVAL.
    """
    if sys.platform == "win32":
        return
    try:
        opened = os.open(folder, os.O_RDONLY)
    except PermissionError:  # one may write into a folder that one may not read
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
    """Return a word as it is typed in the user's shell: sh's, or on Windows that of cmd.exe and PowerShell.

    Both know double quotes and not single ones. Where a word has double quotes itself, cmd.exe's way is taken.
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
    """Return True where commands are typed in cmd.exe or PowerShell, and not in a bash of MSYS, as git's for Windows is."""
    return is_windows() and "MSYSTEM" not in os.environ


# ---- files and memory ----


def open_at_once(path: str, flags: int) -> int:
    """Open a file without waiting for a writer, where it is a pipe by now; an `opener` of Python's `open`."""
    return os.open(path, flags | os.O_NONBLOCK if hasattr(os, "O_NONBLOCK") else flags)


def available_memory() -> int:
    """Return how many bytes this process may still take: of the machine, its control group, and its own limit."""
    import psutil

    free = [psutil.virtual_memory().available, *_left_in_group()]
    if hasattr(psutil, "RLIMIT_AS"):
        own = psutil.Process()
        limit = own.rlimit(psutil.RLIMIT_AS)[0]
        free += [limit - own.memory_info().vms] if limit != psutil.RLIM_INFINITY else []
    return max(0, int(min(free)))


def _left_in_group() -> list[int]:
    """Return the bytes left in the control group of a container, if one limits them; cached files count as free."""
    group = Path("/sys/fs/cgroup")
    with suppress(OSError, ValueError, IndexError):
        limit, used = (
            int((group / f"memory.{name}").read_text(encoding="utf-8"))
            for name in ("max", "current")
        )
        stat = (group / "memory.stat").read_text(encoding="utf-8").split()
        return [limit - used + int(stat[stat.index("inactive_file") + 1])]
    return []
