"""Windows and macOS, simulated: features that they lack are removed, paths and shells are theirs.

What torch, MLflow and Hydra do there is not pretended.
"""

from __future__ import annotations

import ast
import re
import select
from collections.abc import Callable, Iterator
from pathlib import Path, PureWindowsPath

import pytest
import torch  # noqa: F401
from mlflow.utils.file_utils import local_file_uri_to_path

import linfit as package
from linfit.errors import RecordingError
from linfit.tracking.store import addresses, store
from linfit.tracking.write.background import prestart
from tests.conftest import Ran

ROOT = Path(package.__file__).parents[1]
FILES = sorted([*ROOT.glob("linfit/**/*.py"), *ROOT.glob("hydra_plugins/**/*.py")])
#: The module that may use what some system lacks.
HOME = ROOT / "linfit" / "system" / "host.py"
#: What Windows lacks, by module, and `sched_getaffinity` and the like, which macOS lacks too.
MISSING = {
    "os": {
        *(
            "chown",
            "chroot",
            "fchdir",
            "fchmod",
            "fchown",
            "fork",
            "forkpty",
            "getegid",
            "geteuid",
            "getgid",
            "getgroups",
            "getpgid",
        ),
        *(
            "getpgrp",
            "getpriority",
            "getsid",
            "getuid",
            "initgroups",
            "kill",
            "killpg",
            "lchown",
            "lockf",
            "mkfifo",
            "mknod",
            "nice",
        ),
        *(
            "openpty",
            "pathconf",
            "pidfd_open",
            "pipe2",
            "posix_fadvise",
            "posix_fallocate",
            "posix_spawn",
            "pread",
            "pwrite",
            "readv",
        ),
        *(
            "register_at_fork",
            "sched_getaffinity",
            "sched_setaffinity",
            "sched_yield",
            "sendfile",
            "setegid",
            "seteuid",
            "setgid",
        ),
        *(
            "setpgid",
            "setpriority",
            "setsid",
            "setuid",
            "set_blocking",
            "statvfs",
            "sync",
            "sysconf",
            "tcsetpgrp",
            "uname",
            "wait",
        ),
        *(
            "wait3",
            "wait4",
            "WEXITSTATUS",
            "WNOHANG",
            "writev",
            "O_CLOEXEC",
            "O_DIRECTORY",
            "O_DSYNC",
            "O_NOFOLLOW",
            "O_NONBLOCK",
        ),
        *(
            "O_SYNC",
            "ctermid",
            "confstr",
            "getloadavg",
            "symlink",
            "link",
        ),  # links need a privilege there
    },
    "signal": {
        *(
            "SIGALRM",
            "SIGBUS",
            "SIGCHLD",
            "SIGCONT",
            "SIGHUP",
            "SIGKILL",
            "SIGPIPE",
            "SIGQUIT",
            "SIGSTOP",
            "SIGTSTP",
            "SIGUSR1",
            "SIGUSR2",
        ),
        *(
            "alarm",
            "pause",
            "pthread_kill",
            "pthread_sigmask",
            "setitimer",
            "siginterrupt",
            "sigpending",
            "sigwait",
            "sigtimedwait",
        ),
    },
    "select": {"poll", "epoll", "kqueue", "devpoll"},
    "socket": {"AF_UNIX", "socketpair_unix", "SO_REUSEPORT", "sethostname"},
    "time": {"tzset", "clock_gettime", "pthread_getcpuclockid"},
    "sys": {"platform"},
    "shlex": {"quote", "join"},
}
#: Modules of Unix, and Python's own kinds of starting processes there.
UNIX = {"fcntl", "grp", "pty", "pwd", "posix", "readline", "resource", "syslog", "termios", "tty"}
ARGUMENTS = {
    "preexec_fn",
    "start_new_session",
    "process_group",
    "pass_fds",
    "close_fds",
    "user",
    "umask",
    "creationflags",
}


# ---- what is used ----


def misuses(file: Path) -> Iterator[str]:
    """What a module uses that some system lacks, unless it asks by `hasattr` before."""
    tree = ast.parse(file.read_bytes())
    calls = [
        node
        for node in ast.walk(tree)
        if isinstance(node, ast.Call) and ast.unparse(node.func) == "hasattr"
    ]
    asked = {(ast.unparse(call.args[0]), ast.literal_eval(call.args[1])) for call in calls}
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name):
            used = node.value.id, node.attr
            if node.attr in MISSING.get(node.value.id, ()) and used not in asked:
                yield f"{file}:{node.lineno}: {'.'.join(used)}"
        elif isinstance(node, ast.Import) and UNIX & {alias.name for alias in node.names}:
            yield f"{file}:{node.lineno}: {ast.unparse(node)}"
        elif isinstance(node, ast.ImportFrom) and node.module is not None:
            names = {alias.name for alias in node.names}
            if node.module in UNIX or names & MISSING.get(node.module, set()):
                yield f"{file}:{node.lineno}: {ast.unparse(node)}"
        elif isinstance(node, ast.Call) and ast.unparse(node.func).rpartition(".")[2] in (
            "Popen",
            "run",
            "call",
            "check_output",
        ):
            yield from (
                f"{file}:{node.lineno}: {key.arg}" for key in node.keywords if key.arg in ARGUMENTS
            )


def used_at_import(tree: ast.AST) -> Iterator[str]:
    """Names that Windows lacks, used as a module is imported: in decorators, not in bodies."""
    for node in ast.iter_child_nodes(tree):
        if (
            isinstance(node, ast.Attribute)
            and ast.unparse(node.value) in MISSING
            and node.attr in MISSING[ast.unparse(node.value)] - {"platform"}
        ) or (isinstance(node, ast.Import) and UNIX & {alias.name for alias in node.names}):
            yield ast.unparse(node)
        elif isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            for part in (*node.decorator_list, node.args):
                yield from used_at_import(part)
        elif not isinstance(node, ast.Lambda):
            yield from used_at_import(node)


def undecoded(file: Path) -> Iterator[str]:
    """Where a module reads or writes text in an encoding that the system chooses."""
    for node in ast.walk(ast.parse(file.read_bytes())):
        if not isinstance(node, ast.Call) or not isinstance(node.func, ast.Attribute | ast.Name):
            continue
        name = node.func.attr if isinstance(node.func, ast.Attribute) else node.func.id
        words = [
            ast.unparse(argument)
            for argument in (*node.args, *(key.value for key in node.keywords))
        ]
        given = {key.arg for key in node.keywords}
        opens = (
            name == "open"
            and isinstance(node.func, ast.Name) | bool(words)
            and not re.search(r"'[rwax+]*b[rwax+]*'|O_\w+|http", " ".join(words))
        )
        if (
            opens
            or (name == "write_text" and len(node.args) < 2)
            or (name == "read_text" and isinstance(node.func, ast.Attribute) and not words)
        ) and ("encoding" not in given):
            yield f"{file}:{node.lineno}: {ast.unparse(node)}"


def test_no_module_but_one_uses_what_a_system_lacks() -> None:
    assert [found for file in FILES if file != HOME for found in misuses(file)] == []
    assert len(list(misuses(HOME))) >= 5


def test_every_test_can_be_collected_on_windows() -> None:
    files = sorted(ROOT.glob("tests/**/*.py"))
    assert [
        (file, used) for file in files for used in used_at_import(ast.parse(file.read_bytes()))
    ] == []
    assert list(
        used_at_import(ast.parse("@mark(signal.SIGKILL)\ndef f(x=os.fork): os.killpg"))
    ) == ["signal.SIGKILL", "os.fork"]


@pytest.mark.parametrize(
    "code",
    [
        *(
            "import os\nos.killpg(1, 2)",
            "import signal\nsignal.SIGKILL",
            "from os import fork",
            "import fcntl",
            "from pwd import getpwnam",
        ),
        "import subprocess\nsubprocess.Popen([], start_new_session=True)",
        "import os\nif hasattr(os, 'fork'): os.setsid()",
    ],
)
def test_the_rule_finds_what_it_forbids(code: str, tmp_path: Path) -> None:
    (tmp_path / "bad.py").write_text(code)
    assert len(list(misuses(tmp_path / "bad.py"))) == 1
    (tmp_path / "good.py").write_text("import os\nif hasattr(os, 'fork'): os.fork()")
    assert list(misuses(tmp_path / "good.py")) == []


def test_text_has_the_same_encoding_everywhere(tmp_path: Path) -> None:
    assert [found for file in FILES for found in undecoded(file)] == []
    for bad in (
        "open('x')",
        "path.open('w')",
        "path.read_text()",
        "path.write_text('x')",
        "path.write_text('x', errors='strict')",
    ):
        (tmp_path / "bad.py").write_text(bad)
        assert len(list(undecoded(tmp_path / "bad.py"))) == 1, bad
    for good in (
        "open('x', 'rb')",
        "path.open('rb+')",
        "path.read_text('utf-8')",
        "path.write_text('x', encoding='utf-8')",
    ):
        (tmp_path / "good.py").write_text(good)
        assert list(undecoded(tmp_path / "good.py")) == [], good


# ---- a whole sweep without it ----


@pytest.mark.usefixtures("windows", "without_proc")
def test_runs_and_sweeps_are_recorded_without_what_windows_lacks(
    linfit: Callable[..., Ran], workdir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delattr(select, "poll")
    prestart.prestart_process(["run"])
    assert prestart.take_process() is None
    assert linfit("run", "steps=3").code == 0
    swept = linfit(
        "run", "-m", "steps=3", f"seed={','.join(map(str, range(40)))}", "hydra.sweep.dir=a sweep"
    )
    assert swept.code == 0, swept.err
    assert linfit("resume", "a sweep").code == 0
    shown = linfit("show", "last")
    assert (shown.code, shown.err) == (0, "")
    assert "40" in shown.out


# ---- paths ----


class WindowsPath(PureWindowsPath):
    """A path of Windows, whose working directory is C:\\work."""

    def absolute(self) -> WindowsPath:
        return type(self)(r"C:\work") / self


@pytest.fixture
def windows_paths(monkeypatch: pytest.MonkeyPatch) -> None:
    from nturl2path import url2pathname

    monkeypatch.setattr(addresses, "Path", WindowsPath)
    monkeypatch.setattr("urllib.request.url2pathname", url2pathname)  # which MLflow asks


@pytest.mark.usefixtures("windows_paths")
@pytest.mark.parametrize(
    ("uri", "file", "canonical", "artifacts"),
    [
        ("sqlite:///x.db", r"C:\work\x.db", "sqlite:///C:/work/x.db", "file:///C:/work/artifacts"),
        (
            "sqlite:///outputs/x.db",
            r"C:\work\outputs\x.db",
            "sqlite:///C:/work/outputs/x.db",
            "file:///C:/work/outputs/artifacts",
        ),
        (
            r"sqlite:///outputs\x.db",
            r"C:\work\outputs\x.db",
            "sqlite:///C:/work/outputs/x.db",
            "file:///C:/work/outputs/artifacts",
        ),
        (
            "sqlite:///D:/a b/x.db",
            r"D:\a b\x.db",
            "sqlite:///D:/a b/x.db",
            "file:///D:/a%20b/artifacts",
        ),
        (
            r"sqlite:///C:\Users\me\x.db",
            r"C:\Users\me\x.db",
            "sqlite:///C:/Users/me/x.db",
            "file:///C:/Users/me/artifacts",
        ),
        (
            "sqlite:///C:/x.db?timeout=5",
            r"C:\x.db",
            "sqlite:///C:/x.db?timeout=5",
            "file:///C:/artifacts",
        ),
        (
            "sqlite:///C:/50%25/x.db",
            r"C:\50%\x.db",
            "sqlite+pysqlite:///C:/50%25/x.db",
            "file:///C:/50%25/artifacts",
        ),
        (
            "sqlite://///host/share/x.db",
            r"\\host\share\x.db",
            "sqlite://///host/share/x.db",
            "file:////host/share/artifacts",
        ),
    ],
)
def test_a_store_below_a_drive(uri: str, file: str, canonical: str, artifacts: str) -> None:
    found, folder = store.resolve_store(uri), str(WindowsPath(file).parent / "artifacts")
    assert (str(found.file), found.uri, found.artifacts) == (file, canonical, artifacts)
    assert store.resolve_store(found.uri, found.artifacts) == found
    assert str(addresses.find_folder(artifacts)) == folder
    assert local_file_uri_to_path(artifacts) == folder
    assert str(addresses.find_folder(addresses.join_address(artifacts, "e 1"))) == str(
        WindowsPath(folder, "e 1")
    )


@pytest.mark.usefixtures("windows_paths")
@pytest.mark.parametrize(
    "uri",
    [
        "sqlite:///:memory:",
        "sqlite:///file::memory:?uri=true",
        "sqlite:///file:x.db?uri=true",
        r"C:\mlflow.db",
    ],
)
def test_what_is_no_store_on_windows(uri: str) -> None:
    with pytest.raises(RecordingError):
        store.resolve_store(uri)


@pytest.mark.usefixtures("windows_paths")
@pytest.mark.parametrize(
    ("typed", "address"),
    [
        (r"C:\art", "file:///C:/art"),
        ("C:/a b", "file:///C:/a%20b"),
        (r"C:\a%20b", "file:///C:/a%2520b"),
        ("art", "file:///C:/work/art"),
        ("file:///C:/a%20b", "file:///C:/a%20b"),
        (r"\\host\share\art", "file:////host/share/art"),
        ("s3://bucket/art", "s3://bucket/art"),
        ("mlflow-artifacts:/x", "mlflow-artifacts:/x"),
    ],
)
def test_artifacts_below_a_drive(typed: str, address: str) -> None:
    assert addresses.resolve_address(typed) == address
    assert addresses.resolve_address(address) == address


def test_sqlite_opens_a_file_of_windows() -> None:
    for path, uri in (
        (r"C:\a b\x.db", "file:///C:/a%20b/x.db?mode=rw"),
        (r"\\host\share\x.db", "file:////host/share/x.db?mode=rw"),
    ):
        assert addresses.format_connection_uri(WindowsPath(path)) == uri  # type: ignore[arg-type]


#: Names that a folder of Windows cannot have, or would lose something of.
ILLEGAL = re.compile(
    r'(con|prn|aux|nul|(com|lpt)[0-9¹²³])( *)(\..*)?|.*[<>:"/\\|?*\0-\x1f].*|.*[. ]', re.IGNORECASE
)


@pytest.mark.parametrize(
    "name",
    [
        "con",
        "CON",
        "nul",
        "aux",
        "prn ",
        "com1",
        "LPT9",
        "com¹",
        "con.txt",
        "a:b",
        "a?",
        "a*b",
        "a|b",
        '"a"',
        "a\\b",
        "end.",
        "end ",
        "..",
        "x" * 90,
    ],
)
def test_the_folder_of_an_experiment_is_legal_on_windows(name: str) -> None:
    folder = store.experiment_folder(store.Store("sqlite:////x.db", "/artifacts"), name)
    assert folder is not None
    assert not ILLEGAL.fullmatch(folder.removeprefix("/artifacts/")), folder


def test_usual_experiments_keep_their_folder() -> None:
    for name in ("optimizers", "my study 2", "a-b_c", "console", "Größe"):
        assert (
            store.experiment_folder(store.Store("sqlite:////x.db", "/artifacts"), name)
            == f"/artifacts/{name}"
        )


def test_the_names_of_sweeps_are_legal_on_windows(linfit: Callable[..., Ran], bare: Path) -> None:
    assert (
        linfit("run", "tracking=none", "steps=1", "-m", "seed=0,1", "optimizer=adam,sgd").code == 0
    )
    made = [part for path in bare.rglob("*") for part in path.relative_to(bare).parts]
    assert made
    assert [part for part in made if ILLEGAL.fullmatch(part)] == []
