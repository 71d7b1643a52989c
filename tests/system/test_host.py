"""Differences between systems: ends of processes and their children, dead parents, shell words."""

from __future__ import annotations

import re
import socket
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import psutil
import pytest

from linfit.problem.datasets.readers.tables import _require_separated
from linfit.sweeps.config_files.quoting import correct_quoting, quote_column_names
from linfit.sweeps.folder import sweep_folder as folders
from linfit.system import process_owner
from linfit.system.host import (
    creation_time,
    end_detached,
    quote_word,
    quote_words,
    start_detached,
    wait_for_end_of_parent,
)
from linfit.tracking.schema import descriptions
from linfit.tracking.store import store
from linfit.views.ui import server
from tests.helpers import started

# ---- processes ----

STARTS_ANOTHER = """
import subprocess, sys, time
child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"])
print(child.pid, flush=True)
time.sleep(60)
"""


@pytest.mark.parametrize("system", ["posix", "windows"])
def test_a_process_ends_with_what_it_has_started(
    system: str, request: pytest.FixtureRequest
) -> None:
    if system == "windows":
        request.getfixturevalue("windows")
    process = start_detached([sys.executable, "-c", STARTS_ANOTHER], stdout=subprocess.PIPE)
    assert process.stdout is not None
    with process.stdout:
        child = int(process.stdout.readline())
    try:
        end_detached(process, 5.0)
        assert process.poll() is not None
        assert is_gone(child)
        end_detached(process, 5.0)  # of one that has ended
    finally:
        for number in (process.pid, child):
            with suppress(psutil.NoSuchProcess):
                psutil.Process(number).terminate()
        process.wait()


def test_ctrl_c_does_not_reach_a_process_that_is_apart(monkeypatch: pytest.MonkeyPatch) -> None:
    given: list[dict[str, Any]] = []
    monkeypatch.setattr(subprocess, "Popen", lambda program, **options: given.append(options))
    monkeypatch.setattr(subprocess, "CREATE_NEW_PROCESS_GROUP", 0x200, raising=False)
    for platform in ("linux", "darwin", "win32"):
        monkeypatch.setattr(sys, "platform", platform)
        start_detached(["x"])
    assert given == [
        {"start_new_session": True},
        {"start_new_session": True},
        {"creationflags": 0x200},
    ]


LEAVES = """
import psutil, re, sys, time
from linfit.system.host import exit_with_parent
sys.platform = {platform!r}
exit_with_parent(int(sys.argv[1]), 0.05)
print("ready", flush=True)
{work}
"""
#: Work in which no other thread of Python's can run is ended where the system does it.
WORK = {"waits": "time.sleep(600)", "computes": "re.match('(a|a)*b', 'a' * 60)"}


@pytest.mark.parametrize(
    ("platform", "work"),
    [("linux", "waits"), ("linux", "computes"), ("darwin", "waits"), ("win32", "waits")],
)
def test_a_process_ends_when_its_parent_is_gone(platform: str, work: str) -> None:
    """A parent dies as by SIGKILL, with a child that has its pipe."""
    if work == "computes" and sys.platform != "linux":
        pytest.skip("Linux ends it")
    code = LEAVES.format(platform=platform, work=WORK[work])
    parents = "import os, subprocess, sys; "
    parents += f"command = [sys.executable, '-c', {code!r}, str(os.getpid())]; "
    parents += "child = subprocess.Popen(command, stdout=subprocess.PIPE); "
    parents += "child.stdout.readline(); print(child.pid, flush=True); sys.stdin.read()"
    with started(
        [sys.executable, "-c", parents], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as parent:
        assert parent.stdout is not None
        child = int(parent.stdout.readline())
        assert psutil.pid_exists(child)
        parent.kill()
        parent.communicate()
        assert is_gone(child)


def is_gone(process: int, patience: float = 20.0) -> bool:
    until = time.monotonic() + patience
    while creation_time(process) != "":
        if time.monotonic() > until:
            psutil.Process(process).terminate()
            return False
        time.sleep(0.02)
    return True


def test_a_parent_that_was_gone_before_is_not_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    with subprocess.Popen([sys.executable, "-c", ""]) as ended:
        pass
    for platform in ("linux", "win32"):
        monkeypatch.setattr(sys, "platform", platform)
        wait_for_end_of_parent(ended.pid, 0.01)


@pytest.mark.usefixtures("without_proc")
def test_a_dead_owner_is_known_without_proc(monkeypatch: pytest.MonkeyPatch) -> None:
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as other:
        living = f"{socket.gethostname()} {other.pid} {creation_time(other.pid)}"
        zombie_until_waited_for = living
        assert not process_owner.is_process_gone(living)
        assert not process_owner.is_process_gone(process_owner.process_identity())
        assert process_owner.is_process_gone(f"{living}9")  # the number is another process's now
        assert not process_owner.is_process_gone(f"elsewhere {living.partition(' ')[2]}")
        assert not process_owner.is_process_gone(
            f"{living.rpartition(' ')[0]} ?"
        )  # of an older linfit, which could not know
        assert other.stdin is not None
        other.stdin.close()
        until = time.monotonic() + 20
        while not process_owner.is_process_gone(zombie_until_waited_for):
            assert time.monotonic() < until
            time.sleep(0.02)
    assert process_owner.is_process_gone(living)
    monkeypatch.setattr(psutil, "Process", denied)
    assert not process_owner.is_process_gone(living)


def denied(process: int) -> None:
    raise psutil.AccessDenied(process)


def test_the_ui_is_interrupted_while_it_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    """Popen.wait is deaf to Ctrl-C on Windows: the server is looked at between two short sleeps."""

    def interrupted(seconds: float) -> None:
        assert seconds <= 1
        raise KeyboardInterrupt

    monkeypatch.setattr(time, "sleep", interrupted)
    with pytest.raises(KeyboardInterrupt):
        server._wait(SimpleNamespace(poll=lambda: None))  # type: ignore[arg-type]
    assert server._wait(SimpleNamespace(poll=lambda: 3)) == 3  # type: ignore[arg-type]


def test_a_sweep_that_cannot_begin_leaves_no_lock_on_windows(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Windows removes no file that is open."""
    held = folders.SweepFolder(tmp_path / "outputs" / "sweep")
    unlink = Path.unlink

    def refuses(self: Path, missing_ok: bool = False) -> None:
        if self.name == folders.LOCK_FILE and held._lock.is_locked:
            raise PermissionError(
                13, "The process cannot access the file because it is being used by another process"
            )
        unlink(self, missing_ok)

    monkeypatch.setattr(sys, "platform", "win32")
    monkeypatch.setattr(Path, "unlink", refuses)
    held.withdraw_plan()
    assert list(tmp_path.iterdir()) == []


# ---- what is to be typed ----

WORDS = [
    *(
        "plain",
        "optimizer=adam",
        "sqlite:///C:/x.db",
        r"C:\Users\me",
        "a b",
        "seed=0,1,2",
        "x=[1,2]",
        "a&b",
        "a|b",
        "a>b",
        "a;b",
        "(a)",
    ),
    *(
        "it's",
        'say "x"',
        r"C:\a b",
        "C:\\a b\\",
        r"\\host\a b",
        'a\\"b',
        "",
        "ü",
        "dataset.target='1e3'",
        "a^b",
        "{a: b}",
        "@x",
        "#x",
    ),
]


@pytest.mark.usefixtures("windows")
def test_words_are_quoted_as_windows_reads_them() -> None:
    for word in WORDS:
        typed = quote_word(word)
        assert words_of(typed) == [word], typed
        assert not typed.startswith("'")
        assert re.fullmatch(r'[\w.:/\\=+-]+|".*"', typed)
    assert words_of(quote_words(WORDS)) == WORDS


def words_of(line: str) -> list[str]:
    """Return the words of a Windows command line, by the rules of Microsoft's C runtime."""
    found, word, inside, begun = [], "", False, False
    for slashes, sign in re.findall(r'(\\*)("|[^\\]|\Z)', line):
        if sign == '"':
            word, begun = word + "\\" * (len(slashes) // 2), True
            if len(slashes) % 2:
                word += sign
            else:
                inside = not inside
        elif sign in ("", " ") and not inside:
            word += slashes
            if word or begun:
                found.append(word)
            word, begun = "", False
        else:
            word += slashes + sign
    return found


@pytest.mark.usefixtures("windows")
def test_what_is_to_be_typed_can_be_typed_on_windows(bare: Path) -> None:
    there = store.Store("sqlite:///C:/a b/x.db", None)
    assert store.format_store_command(there) == 'linfit ui --uri "sqlite:///C:/a b/x.db"'
    assert folders.quote_resume_command(Path("a sweep")) == 'linfit resume "a sweep"'
    assert descriptions.format_run_command(["seed=0,1", "-m"]) == 'linfit run "seed=0,1" -m'
    assert correct_quoting("dataset.target=[1e3,b]") == "\"dataset.target=['1e3','b']\""
    for override in ("dataset.target=1e3", "dataset.features=[1e3,b]"):
        [word] = words_of(correct_quoting(override))
        assert quote_column_names(word) == word
    with pytest.raises(ValueError, match=re.escape('dataset.separator=";" makes several')):
        _require_separated(["a;b"], "a", "x.csv")


def test_a_bash_on_windows_has_the_quotes_of_a_bash(
    windows: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MSYSTEM", "MINGW64")
    assert quote_words(["a b", "it's"]) == """'a b' 'it'"'"'s'"""
