"""`linfit ui`: MLflow's own UI on what linfit wrote, on the loopback interface, for explicit hosts only."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
from contextlib import suppress

from linfit.errors import LinfitError
from linfit.tracking.store import Store, require

LOOPBACK = "127.0.0.1"
#: Seconds that the server has to end by itself.
PATIENCE = 5.0


def serve(store: Store, port: int) -> int:
    """Runs `mlflow server` on the store until it is interrupted; returns its exit code."""
    require(store)
    if store.uri.startswith("http"):
        raise LinfitError(f"{store} is a server already: open it in a browser")
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((LOOPBACK, port))
        except OSError as error:
            raise LinfitError(f"port {port} cannot be used ({error.strerror}): choose another with --port") from error
    print(f"linfit: http://{LOOPBACK}:{port} shows {store}; Ctrl-C ends it", file=sys.stderr)
    # A session of its own, because MLflow leaves its own child processes behind where only one of them is interrupted.
    server = subprocess.Popen(command(store, port), env={**os.environ, "MLFLOW_TRACKING_URI": store.uri}, start_new_session=True)
    try:
        return server.wait()
    except KeyboardInterrupt:
        return 0
    finally:
        _end(server)


def _end(server: subprocess.Popen[bytes]) -> None:
    for signalled in (signal.SIGTERM, signal.SIGKILL):
        with suppress(ProcessLookupError):
            os.killpg(server.pid, signalled)
        with suppress(subprocess.TimeoutExpired):
            server.wait(PATIENCE)


def command(store: Store, port: int) -> list[str]:
    hosts = ",".join(f"{host}:{port}" for host in (LOOPBACK, "localhost"))
    arguments = ["--host", LOOPBACK, "--port", str(port), "--allowed-hosts", hosts, "--workers", "1"]
    if store.artifacts is not None:
        arguments += ["--default-artifact-root", store.artifacts]
    return [sys.executable, "-m", "mlflow", "server", "--backend-store-uri", store.uri, *arguments]
