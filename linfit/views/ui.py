"""`linfit ui`: MLflow's own UI on what linfit wrote, on the loopback interface, for explicit hosts only."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from contextlib import suppress

from linfit.errors import LinfitError
from linfit.tracking.store import Store, require

LOOPBACK = "127.0.0.1"
#: Seconds that the server has to end by itself.
PATIENCE = 5.0
#: Seconds that it has to begin, which MLflow takes ten of, and between two looks whether it has.
BEGIN, GLANCE = 120.0, 0.25


def serve(store: Store, port: int, browser: bool = False) -> int:
    """Runs `mlflow server` on the store until it is interrupted; returns its exit code.

    When it answers, says where the newest run's experiment and its views are, and with `browser` opens the first of these pages.
    """
    require(store)
    if store.uri.startswith("http"):
        raise LinfitError(f"{store} is a server already: open it in a browser")
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((LOOPBACK, port))
        except OSError as error:
            raise LinfitError(f"port {port} cannot be used ({error.strerror}): choose another with --port") from error
    print(f"linfit: MLflow's UI begins, on {store}; Ctrl-C ends it", file=sys.stderr)
    # A session of its own, because MLflow leaves its own child processes behind where only one of them is interrupted.
    server = subprocess.Popen(command(store, port), env={**os.environ, "MLFLOW_TRACKING_URI": store.uri}, start_new_session=True)
    try:
        _welcome(server, store, port, browser)
        return server.wait()
    except KeyboardInterrupt:
        return 0
    finally:
        _end(server)


def pages(store: Store) -> dict[str, str]:
    """The pages of the newest run's MLflow experiment, by what they show; none where linfit has recorded nothing there."""
    from linfit.tracking import saved_views
    from linfit.tracking.reading import LAST, Reader

    reader = Reader(store)
    try:
        name = reader.find(LAST).experiment
    except LinfitError:
        return {}
    own = next(key for key, found in reader.experiments.items() if found == name)
    views = {"runs": "", "leaderboard": saved_views.LEADERBOARD, "curves": saved_views.CURVES}
    return {what: saved_views.address(own, view) for what, view in views.items()}


def _welcome(server: subprocess.Popen[bytes], store: Store, port: int, browser: bool) -> None:
    """Once the server answers: where to look first."""
    found = pages(store) or {"start": ""}  # MLflow's own start page is about language models
    until = time.monotonic() + BEGIN
    while server.poll() is None and not _answers(port) and time.monotonic() < until:
        time.sleep(GLANCE)
    if server.poll() is not None:
        return
    for what, page in found.items():
        print(f"linfit: {what:<12} http://{LOOPBACK}:{port}/{page}", file=sys.stderr)
    if browser:
        import webbrowser

        webbrowser.open(f"http://{LOOPBACK}:{port}/{next(iter(found.values()))}")


def _answers(port: int) -> bool:
    with suppress(OSError), socket.create_connection((LOOPBACK, port), GLANCE):
        return True
    return False


def has_browser() -> bool:
    """Whether somebody sits before a screen: elsewhere Python would open a browser for text in this very terminal."""
    graphical = sys.platform in ("darwin", "win32") or bool(os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY"))
    return graphical and sys.stderr.isatty()


def _end(server: subprocess.Popen[bytes]) -> None:
    for signalled in (signal.SIGTERM, signal.SIGKILL):
        with suppress(ProcessLookupError):
            os.killpg(server.pid, signalled)
        with suppress(subprocess.TimeoutExpired):
            server.wait(PATIENCE)


def command(store: Store, port: int) -> list[str]:
    hosts = ",".join(f"{host}:{port}" for host in (LOOPBACK, "localhost"))
    arguments = ["--host", LOOPBACK, "--port", str(port), "--allowed-hosts", hosts, "--workers", "1"]
    arguments += ["--uvicorn-opts", "--log-level warning"]  # not a line for every picture of a page
    if store.artifacts is not None:
        arguments += ["--default-artifact-root", store.artifacts]
    return [sys.executable, "-m", "mlflow", "server", "--backend-store-uri", store.uri, *arguments]
