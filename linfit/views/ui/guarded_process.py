"""The process of `linfit ui`: MLflow's app behind the guard, ending with its parent process.

The process is guarded as well as its requests. It opens only artifacts of known places, follows no
link out of them, starts no program, and connects to nothing where nothing has to be fetched.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from itertools import chain
from pathlib import Path
from typing import Any, NoReturn

from linfit.system.host import exit_with_parent, is_windows
from linfit.system.output import print_to_stderr
from linfit.tracking.store.addresses import format_address
from linfit.views.ui.guard import LOOPBACK, Guard, list_own_hosts
from linfit.views.ui.served_places import ServedPlaces

#: The environment variable with the order: arguments would show the password of a store's address.
SERVER_ORDER = "LINFIT_UI"
#: Seconds between two checks that the parent process is alive.
POLL_SECONDS = 0.5
#: Seconds for requests to end.
GRACE_SECONDS = 1
#: The place of artifacts without a named place: a server's, as MLflow's own default is.
UNNAMED_ARTIFACTS = "mlflow-artifacts:/"
#: The folder that all others are below.
FILESYSTEM_ROOT = format_address(Path(Path.cwd().anchor))
_PROGRAMS = (
    "subprocess.Popen",
    "os.system",
    "os.exec",
    "os.spawn",
    "os.posix_spawn",
    "os.fork",
    "os.forkpty",
    "os.startfile",
)
_CONNECTIONS = ("socket.connect", "socket.getaddrinfo", "socket.gethostbyname", "socket.sendto")
_FILES = (
    "open",
    "os.listdir",
    "os.scandir",
    "os.mkdir",
    "os.remove",
    "os.rename",
    "os.rmdir",
    "shutil.rmtree",
)


def run_guarded_server() -> None:
    """Serve the order of the environment variable."""
    order = json.loads(os.environ.pop(SERVER_ORDER))
    exit_with_parent(order["parent"], POLL_SECONDS, with_children=True)
    if order["unguarded"]:
        _serve_unguarded(order)
    try:
        application = install_guard(order)
    except (ImportError, AttributeError, TypeError) as error:
        cause = f"{type(error).__name__}: {error}"
        print_to_stderr(
            f"linfit: no guard can be placed before this MLflow ({cause}): "
            "install the one of requirements.lock, "
            "or let every page of this machine in with --unguarded"
        )
        sys.exit(2)
    _serve(application, order["port"])


def install_guard(order: dict[str, Any]) -> Guard:
    """Return MLflow's app behind the guard.

    ImportError, AttributeError or TypeError where this version of MLflow has no place for it.
    """
    from mlflow.exceptions import MlflowException
    from mlflow.protos.databricks_pb2 import PERMISSION_DENIED
    from mlflow.server import handlers
    from mlflow.server.fastapi_app import app
    from mlflow.store.artifact import artifact_repository_registry as registry

    def refuse(what: str) -> NoReturn:
        raise MlflowException(
            f"linfit ui does not serve {what}: name its place with --artifacts",
            error_code=PERMISSION_DENIED,
        )

    places = ServedPlaces(tuple(order["folders"]), tuple(order["addresses"]))
    limit_repositories(registry.get_registered_artifact_repositories(), places, refuse)
    for opening in (registry.get_artifact_repository, handlers.get_artifact_repository):
        _require_refusal(opening, MlflowException, places)
    handlers.initialize_backend_stores(
        order["uri"], order["uri"], order["artifacts"] or UNNAMED_ARTIFACTS
    )
    sys.addaudithook(partial(check_action, places, order["offline"], refuse))
    return Guard(app, order["port"])


def limit_repositories(
    registered: dict[str, Any], places: ServedPlaces, refuse: Callable[[str], NoReturn]
) -> None:
    """Have MLflow open only artifacts below `places`, whatever handler asks for them."""

    def open_repository(
        build: Callable[..., Any], address: str, *arguments: Any, **options: Any
    ) -> Any:
        found = places.resolve(address)
        if found is None:
            refuse(f"the artifacts in {address!r}")
        return build(found, *arguments, **options)

    for scheme, build in list(registered.items()):
        registered[scheme] = partial(open_repository, build)


def check_action(
    places: ServedPlaces,
    offline: bool,
    refuse: Callable[[str], NoReturn],
    event: str,
    arguments: tuple[Any, ...],
) -> None:
    """Refuse an action of Python that no page of the UI needs.

    This is an audit hook: Python calls it before it acts.
    """
    if event in _FILES:
        path = os.fsdecode(arguments[0]) if isinstance(arguments[0], str | bytes) else ""
        if path and places.leads_out(path):
            refuse(f"{path!r}, a link to elsewhere")
    elif event in _PROGRAMS:
        raise PermissionError(f"linfit ui starts no program ({event})")
    elif offline and event in _CONNECTIONS and not _is_own_end(event, arguments):
        raise PermissionError(f"linfit ui connects to nothing ({event})")


def _is_own_end(event: str, arguments: tuple[Any, ...]) -> bool:
    """Return True for the server's own address, and on Windows for a pair of sockets."""
    if event == "socket.getaddrinfo":
        return arguments[0] in (None, LOOPBACK)
    return is_windows() and event == "socket.connect" and arguments[1][0] == LOOPBACK


def _require_refusal(
    opening: Callable[[str], Any], error: type[Exception], places: ServedPlaces
) -> None:
    """Raise AttributeError where MLflow opens an unserved folder: it does not ask the guard."""
    if places.resolve(FILESYSTEM_ROOT) is not None:  # the user serves the whole machine
        return
    with suppress(error):
        opening(FILESYSTEM_ROOT)
        raise AttributeError("its artifacts are opened by another way")


def _serve(application: Guard, port: int) -> None:
    import uvicorn

    uvicorn.run(
        application,
        host=LOOPBACK,
        port=port,
        lifespan="off",  # MLflow's would look for containers, by starting docker
        ws="none",
        proxy_headers=False,
        log_level="warning",
        access_log=False,  # not a line for every picture of a page
        server_header=False,
        timeout_graceful_shutdown=GRACE_SECONDS,
    )


def _serve_unguarded(order: dict[str, Any]) -> NoReturn:
    """Run MLflow's own server, which starts processes of its own."""
    from mlflow.cli import cli

    options = {
        "--backend-store-uri": order["uri"],
        "--host": LOOPBACK,
        "--port": str(order["port"]),
        "--allowed-hosts": ",".join(list_own_hosts(order["port"])),
        "--workers": "1",
        "--uvicorn-opts": "--log-level warning",
    }
    if order["artifacts"] is not None:
        options["--default-artifact-root"] = order["artifacts"]
    cli.main(["server", *chain.from_iterable(options.items())])
    sys.exit()


if __name__ == "__main__":
    run_guarded_server()
