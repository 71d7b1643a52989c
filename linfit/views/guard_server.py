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

from linfit.output import tell
from linfit.system import exit_with_parent, is_windows
from linfit.tracking.addresses import address_of
from linfit.views.guard import LOOPBACK, Guard, own_hosts
from linfit.views.guard_places import Places

#: The environment variable with the order: arguments would show the password of a store's address.
ORDER = "LINFIT_UI"
#: Seconds between two checks that the parent process is alive.
LOOK = 0.5
#: Seconds for requests to end.
GRACE = 1
#: The place of artifacts without a named place: a server's, as MLflow's own default is.
NOWHERE = "mlflow-artifacts:/"
#: The folder that all others are below.
TOP = address_of(Path(Path.cwd().anchor))
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


def main() -> None:
    """Serve the order of the environment variable."""
    order = json.loads(os.environ.pop(ORDER))
    exit_with_parent(order["parent"], LOOK, with_children=True)
    if order["unguarded"]:
        _serve_unguarded(order)
    try:
        application = place_guard(order)
    except (ImportError, AttributeError, TypeError) as error:
        cause = f"{type(error).__name__}: {error}"
        tell(
            f"linfit: no guard can be placed before this MLflow ({cause}): "
            "install the one of requirements.lock, "
            "or let every page of this machine in with --unguarded"
        )
        sys.exit(2)
    _serve(application, order["port"])


def place_guard(order: dict[str, Any]) -> Guard:
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

    places = Places(tuple(order["folders"]), tuple(order["addresses"]))
    guard_repositories(registry.get_registered_artifact_repositories(), places, refuse)
    for opening in (registry.get_artifact_repository, handlers.get_artifact_repository):
        _require_refusal(opening, MlflowException, places)
    handlers.initialize_backend_stores(order["uri"], order["uri"], order["artifacts"] or NOWHERE)
    sys.addaudithook(partial(watch, places, order["offline"], refuse))
    return Guard(app, order["port"])


def guard_repositories(
    registered: dict[str, Any], places: Places, refuse: Callable[[str], NoReturn]
) -> None:
    """Have MLflow open only artifacts below `places`, whatever handler asks for them."""

    def open_repository(
        build: Callable[..., Any], address: str, *arguments: Any, **options: Any
    ) -> Any:
        found = places.find(address)
        if found is None:
            refuse(f"the artifacts in {address!r}")
        return build(found, *arguments, **options)

    for scheme, build in list(registered.items()):
        registered[scheme] = partial(open_repository, build)


def watch(
    places: Places,
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


def _require_refusal(opening: Callable[[str], Any], error: type[Exception], places: Places) -> None:
    """Raise AttributeError where MLflow opens an unserved folder: it does not ask the guard."""
    if places.find(TOP) is not None:  # the user serves the whole machine
        return
    with suppress(error):
        opening(TOP)
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
        timeout_graceful_shutdown=GRACE,
    )


def _serve_unguarded(order: dict[str, Any]) -> NoReturn:
    """Run MLflow's own server, which starts processes of its own."""
    from mlflow.cli import cli

    options = {
        "--backend-store-uri": order["uri"],
        "--host": LOOPBACK,
        "--port": str(order["port"]),
        "--allowed-hosts": ",".join(own_hosts(order["port"])),
        "--workers": "1",
        "--uvicorn-opts": "--log-level warning",
    }
    if order["artifacts"] is not None:
        options["--default-artifact-root"] = order["artifacts"]
    cli.main(["server", *chain.from_iterable(options.items())])
    sys.exit()


if __name__ == "__main__":
    main()
