"""`linfit ui`: MLflow's own UI on a store, on the loopback interface, for explicit hosts only."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from linfit.errors import LinfitError, escape_unprintable, shorten
from linfit.system.host import (
    SAFE_PATH,
    end_detached,
    has_screen,
    is_windows,
    quote_word,
    start_detached,
)
from linfit.system.output import print_to_stderr
from linfit.system.signals import handle_signal
from linfit.tracking.store import store as stores
from linfit.tracking.store.migrations import require_current
from linfit.tracking.store.store import Store, require_store
from linfit.tracking.store.whereabouts import FolderMove, find_moves
from linfit.views.ui.guard import LOOPBACK
from linfit.views.ui.guarded_process import SERVER_ORDER
from linfit.views.ui.served_places import ServedPlaces, find_places

#: uvicorn looks for MLflow's modules in the working directory first, or in this folder without any.
UVICORN_SETTINGS = {"UVICORN_APP_DIR": str(Path(__file__).parents[1] / "pages")}
#: Seconds that the server has to end by itself.
END_SECONDS = 5.0
#: Seconds that the server has to begin; MLflow takes ten.
START_SECONDS = 120.0
#: Seconds between two checks of the server.
GLANCE_SECONDS = 0.25
#: Places of artifacts that are named one by one.
MOST_NOTED_PLACES = 3
#: Exit code of a server that has printed its error.
EXPLAINED_EXIT = 2


def serve_ui(
    store: Store,
    port: int,
    browser: bool = False,
    artifacts: Sequence[str] = (),
    unguarded: bool = False,
) -> int:
    """Run MLflow's UI on the store until it is interrupted.

    Return its exit code.

    It shows the artifacts next to the store and those below `artifacts`. When it answers, print
    where the newest run's experiment and its views are; with `browser` open the first of these
    pages.
    """
    require_store(store)
    if store.uri.startswith("http"):
        raise LinfitError(f"{store} is a server already: open it in a browser")
    require_current(store)  # MLflow's server would migrate it
    _require_free(port)
    moves = find_moves(store)
    for move in moves:
        hint = f"`{stores.format_store_command(store, 'relocate')}` has it look in {move.new}"
        print_to_stderr(f"linfit: note: MLflow looks for artifacts in {move.old}; {hint}")
    if unguarded:
        print_to_stderr(
            "linfit: note: unguarded: pages of other servers of this machine can change the store, "
            "and read what it names"
        )
    print_to_stderr(f"linfit: MLflow's UI begins, on {store}; Ctrl-C ends it")
    with _hangup_as_end():
        server = start_server(store, port, artifacts, unguarded)
        try:
            if not unguarded:
                tell_unserved(store, find_places(store, artifacts), moves)
            _welcome(server, store, port, browser)
            return _require_end(_wait(server))
        except KeyboardInterrupt:
            return 0
        finally:
            end_detached(server, END_SECONDS)


def _require_end(code: int) -> int:
    """Return the exit code of a server that ended on request or explained its end.

    LinfitError for another.
    """
    if code in (0, EXPLAINED_EXIT):
        return code
    raise LinfitError(f"MLflow's server has ended by itself ({code}): start `linfit ui` again")


def start_server(
    store: Store, port: int, artifacts: Iterable[str] = (), unguarded: bool = False, **options: Any
) -> subprocess.Popen[bytes]:
    """Start the server's process, which ends with this one.

    It imports no module of the working directory.
    """
    places = find_places(store, artifacts)
    order = {
        "uri": store.uri,
        "artifacts": store.artifacts,
        "folders": places.folders,
        "addresses": places.addresses,
        "offline": store.file is not None and not places.addresses,
        "port": port,
        "parent": os.getpid(),
        "unguarded": unguarded,
    }
    program = [sys.executable, "-P", "-W", "ignore", "-m", "linfit.views.ui.guarded_process"]
    # Apart, because Ctrl-C is for this process, which ends that one.
    return start_detached(
        program, env={**_environment(store), SERVER_ORDER: json.dumps(order)}, **options
    )


def _environment(store: Store) -> dict[str, str]:
    """Return the environment of MLflow's server.

    No variable of this process opens or moves the server, and it sends nothing about itself.
    """
    servers = ("_MLFLOW_", "MLFLOW_SERVER_", "MLFLOW_STATIC_PREFIX")
    own = {name: value for name, value in os.environ.items() if not name.startswith(servers)}
    # An empty part is the working directory.
    folders = filter(None, own.pop("PYTHONPATH", "").split(os.pathsep))
    if path := os.pathsep.join(folders):
        own["PYTHONPATH"] = path
    return {
        **own,
        **SAFE_PATH,
        **UVICORN_SETTINGS,
        "MLFLOW_TRACKING_URI": store.uri,
        "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false",
        "MLFLOW_ENABLE_WORKSPACES": "false",
        "MLFLOW_ENABLE_AI_GATEWAY": "false",
        "MLFLOW_DISABLE_TELEMETRY": "true",
        "_MLFLOW_IN_JOB_EXECUTOR": "false",
        "_MLFLOW_SERVER_FILE_STORE": store.uri,
        "_MLFLOW_SERVER_ARTIFACT_ROOT": store.artifacts or "",
    }


def _require_free(port: int) -> None:
    """Raise LinfitError if another program listens at the port."""
    with socket.socket() as probe:
        # On Windows the option lets a process share a port that another one listens at.
        if not is_windows():
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((LOOPBACK, port))
        except OSError as error:
            raise LinfitError(
                f"port {port} cannot be used ({error.strerror}): choose another with --port"
            ) from error


@contextmanager
def _hangup_as_end() -> Iterator[None]:
    """End as by SIGTERM when the terminal closes, unless SIGHUP is ignored, as under nohup."""
    if not hasattr(signal, "SIGHUP") or signal.getsignal(signal.SIGHUP) is signal.SIG_IGN:
        yield
        return
    before = signal.signal(signal.SIGHUP, handle_signal)
    try:
        yield
    finally:
        signal.signal(signal.SIGHUP, before)


def tell_unserved(store: Store, places: ServedPlaces, moves: Sequence[FolderMove]) -> None:
    """Print which artifacts are not shown, and the command that shows them."""
    from linfit.tracking.read.reader import RunReader

    experiments = RunReader(store).client.search_experiments()
    locations = dict.fromkeys(experiment.artifact_location or "" for experiment in experiments)
    moved = tuple(str(move.old) for move in moves)
    unserved = (place for place in locations if places.resolve(place) is None)
    elsewhere = [place for place in unserved if not place.startswith(moved)]
    for place in elsewhere[:MOST_NOTED_PLACES]:
        shown = escape_unprintable(shorten(place))
        command = f"{stores.format_store_command(store)} --artifacts {quote_word(shown)}"
        print_to_stderr(f"linfit: note: artifacts in {shown} are not shown: `{command}` shows them")
    if len(elsewhere) > MOST_NOTED_PLACES:
        print_to_stderr(
            f"linfit: note: nor are those of {len(elsewhere) - MOST_NOTED_PLACES} other experiments"
        )


def find_pages(store: Store) -> dict[str, str]:
    """Return the pages of the newest run's MLflow experiment by their content.

    None where linfit has recorded nothing.
    """
    from linfit.tracking.read.reader import LAST_REFERENCE, RunReader
    from linfit.tracking.schema import saved_views

    reader = RunReader(store)
    try:
        name = reader.find_run(LAST_REFERENCE).experiment
    except LinfitError:
        return {}
    own = next(key for key, found in reader.experiments.items() if found == name)
    views = {
        "runs": "",
        "sweeps": saved_views.SWEEPS_VIEW,
        "leaderboard": saved_views.LEADERBOARD_VIEW,
        "curves": saved_views.CURVES_VIEW,
    }
    return {what: saved_views.format_page_address(own, view) for what, view in views.items()}


def _welcome(server: subprocess.Popen[bytes], store: Store, port: int, browser: bool) -> None:
    """Print where to look first, once the server answers."""
    found = find_pages(store) or {"start": ""}  # MLflow's own start page is about language models
    until = time.monotonic() + START_SECONDS
    while server.poll() is None and not _answers(port) and time.monotonic() < until:
        time.sleep(GLANCE_SECONDS)
    if server.poll() is not None:
        return
    for what, page in found.items():
        print_to_stderr(f"linfit: {what:<12} http://{LOOPBACK}:{port}/{page}")
    if browser:
        import webbrowser

        webbrowser.open(f"http://{LOOPBACK}:{port}/{next(iter(found.values()))}")


def _wait(server: subprocess.Popen[bytes]) -> int:
    """Return the server's exit code.

    On Windows no Ctrl-C interrupts Popen.wait; it does interrupt sleep.
    """
    while (code := server.poll()) is None:
        time.sleep(GLANCE_SECONDS)
    return code


def _answers(port: int) -> bool:
    with suppress(OSError), socket.create_connection((LOOPBACK, port), GLANCE_SECONDS):
        return True
    return False


def has_browser() -> bool:
    """Return True in front of a screen.

    Elsewhere Python opens a text browser in the terminal.
    """
    return has_screen() and sys.stderr.isatty()
