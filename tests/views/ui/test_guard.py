"""`linfit ui` behind its guard: a real server on a hostile store, and requests from anybody."""

from __future__ import annotations

import json
import os
import shlex
import shutil
import socket
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass, field
from http.client import HTTPConnection
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest

from linfit.system.host import end_detached
from linfit.tracking.store.store import resolve_store
from linfit.views.ui.guard import explain_refusal, list_own_hosts
from linfit.views.ui.served_places import ServedPlaces, find_places
from linfit.views.ui.server import start_server, tell_unserved
from tests.helpers import forget_mlflow
from tests.views.browsing import free_port, until

pytestmark = pytest.mark.skipif(
    sys.platform == "win32", reason="making links needs a privilege there"
)

CANARY = "c4naryinafile"
JSON = {"Content-Type": "application/json"}
TRAPS = (
    "mlflow",
    "uvicorn",
    "fastapi",
    "flask",
    "torch",
    "linfit",
    "sitecustomize",
    "usercustomize",
    "pandas",
    "json",
    "sqlite3",
)


@dataclass
class Served:
    """A running `linfit ui`, and what its store names."""

    folder: Path
    port: int
    runs: dict[str, str] = field(default_factory=dict)
    model: str = ""

    def ask(self, method: str, path: str, body: Any = None, **headers: str) -> tuple[int, str]:
        """Return status and content of a response. Header names have underscores for hyphens."""
        connection = HTTPConnection("127.0.0.1", self.port, timeout=30)
        given = {
            name.replace("_", "-"): value.replace("PORT", str(self.port))
            for name, value in headers.items()
        }
        content = body if isinstance(body, str | bytes) or body is None else json.dumps(body)
        with closing(connection):
            connection.request(method, path, content, given)
            answer = connection.getresponse()
            return answer.status, answer.read().decode("latin-1")

    def experiments(self) -> list[str]:
        """Return the names of the active experiments, as the database has them."""
        with closing(sqlite3.connect(self.folder / "outputs" / "mlflow.db")) as database:
            return [
                name
                for (name,) in database.execute(
                    "SELECT name FROM experiments WHERE lifecycle_stage = 'active'"
                )
            ]


@pytest.fixture(scope="module")
def listener() -> Iterator[socket.socket]:
    """A port at which whatever is sent elsewhere would arrive."""
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        listening.listen()
        listening.settimeout(0.2)
        yield listening


@pytest.fixture(scope="module")
def ui(
    tmp_path_factory: pytest.TempPathFactory, migrated_store: Path, listener: socket.socket
) -> Iterator[Served]:
    folder = tmp_path_factory.mktemp("handed over")
    (folder / "outputs" / "artifacts" / "0" / "own").mkdir(parents=True)
    shutil.copy(migrated_store, folder / "outputs" / "mlflow.db")
    served = Served(folder, free_port())
    write_hostile_store(served, listener.getsockname()[1])
    set_traps(folder)
    with pytest.MonkeyPatch.context() as patch:
        forget_mlflow(patch)
        patch.setenv("MLFLOW_SERVER_CORS_ALLOWED_ORIGINS", "*")
        patch.setenv("MLFLOW_SERVER_DISABLE_SECURITY_MIDDLEWARE", "true")
        patch.setenv("PYTHONPATH", os.pathsep + os.environ.get("PYTHONPATH", ""))
        with (folder / "ui.log").open("wb") as log:
            process = start_server(
                resolve_store(uri(folder)),
                served.port,
                [str(folder / "named")],
                cwd=folder,
                stdout=log,
                stderr=log,
            )
    try:
        until(lambda: process.poll() is not None or answers(served.port), 120)
        assert process.poll() is None, (folder / "ui.log").read_text()
        yield served
    finally:
        end_detached(process, 5)


def uri(folder: Path) -> str:
    return f"sqlite:///{folder}/outputs/mlflow.db"


def answers(port: int) -> bool:
    with closing(socket.socket()) as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


def write_hostile_store(served: Served, port: int) -> None:
    """Write runs, a model and a webhook whose addresses lead out of the store."""
    from mlflow import MlflowClient

    own, secret = served.folder / "outputs" / "artifacts", served.folder / "secret"
    secret.mkdir()
    (secret / "passwd").write_text(CANARY)
    (secret / "traces.json").write_text(json.dumps({"spans": [], "x": CANARY}))
    (served.folder / "named").mkdir()
    (served.folder / "named" / "metrics.txt").write_text("fine")
    (own / "0" / "own" / "metrics.txt").write_text("fine")
    for link, target in (
        ("link", secret),
        ("0/own/linked", secret),
        ("0/own/linked.txt", secret / "passwd"),
        ("0/own/inside", own / "0"),
    ):
        (own / link).symlink_to(target)
    places = {
        "own": str(own / "0" / "own"),
        "named": str(served.folder / "named"),
        "folder": str(secret),
        "URL": f"file://{secret}",
        "localhost": f"file://localhost{secret}",
        "above": f"{own}/../../secret",
        "encoded": f"file://{own}/%2e%2e/%2E./secret",
        "link": str(own / "link"),
        "root": "/",
        "neighbour": f"{own}-other",
        "http": f"http://127.0.0.1:{port}/x",
        "ftp": f"ftp://127.0.0.1:{port}/x",
        "proxy": f"mlflow-artifacts://127.0.0.1:{port}/x",
        "bucket": "s3://bucket/x",
        "runs": "runs:/0123/x",
        "models": "models:/m/1",
        "unknown": "nonsense://x",
    }
    Path(f"{own}-other").mkdir()
    Path(f"{own}-other", "passwd").write_text(CANARY)
    client = MlflowClient(tracking_uri=uri(served.folder))
    served.runs = {name: client.create_run("0").info.run_id for name in places}
    client.create_experiment("victim", artifact_location=str(own / "1"))
    client.create_registered_model("model")
    served.model = client.create_logged_model("0").model_id
    client.create_model_version("model", str(secret))
    hook = f"'w', 'w', 'https://127.0.0.1:{port}/', 'ACTIVE', 0, 0"
    with closing(sqlite3.connect(served.folder / "outputs" / "mlflow.db")) as database, database:
        for name, place in places.items():
            database.execute(
                "UPDATE runs SET artifact_uri = ? WHERE run_uuid = ?", (place, served.runs[name])
            )
        database.execute("UPDATE logged_models SET artifact_location = ?", (str(secret),))
        database.execute(
            "UPDATE model_versions SET storage_location = ?, source = ?", (str(secret), str(secret))
        )
        database.execute(
            "INSERT INTO webhooks (webhook_id, name, url, status, creation_timestamp, "
            f"last_updated_timestamp) VALUES ({hook})"
        )
        database.execute("INSERT INTO webhook_events VALUES ('w', 'REGISTERED_MODEL', 'CREATED')")
        database.execute(
            "INSERT INTO trace_info (request_id, experiment_id, timestamp_ms, status) "
            "VALUES ('tr-1', 0, 1, 'OK')"
        )
        database.execute(
            "INSERT INTO trace_tags (key, value, request_id) "
            "VALUES ('mlflow.artifactLocation', ?, 'tr-1')",
            (str(secret),),
        )


def set_traps(folder: Path) -> None:
    """Leave modules in the working directory that leave a file where one of them is executed."""
    for name in TRAPS:
        (folder / f"{name}.py").write_text(
            f"from pathlib import Path\nPath({str(folder)!r}, 'SPRUNG').write_text({name!r})\n"
        )


# ---- who asks ----

DELETE = "/ajax-api/2.0/mlflow/experiments/delete"
SEARCH = "/api/2.0/mlflow/experiments/search?max_results=5"
ELSEWHERE: dict[str, dict[str, str]] = {
    "another port": {"Origin": "http://localhost:1", "Sec_Fetch_Site": "same-site"},
    "another port, old browser": {"Origin": "http://127.0.0.1:1"},
    "another host": {"Origin": "https://evil.example", "Sec_Fetch_Site": "cross-site"},
    "no origin": {"Origin": "null"},
    "an origin that begins alike": {"Origin": "http://127.0.0.1:PORT.evil.example"},
    "an origin of another scheme": {"Origin": "https://127.0.0.1:PORT"},
    "an origin of our other name": {"Origin": "http://localhost:PORT"},
    "two origins": {"Origin": "http://127.0.0.1:PORT, http://evil.example"},
    "another site": {"Sec_Fetch_Site": "cross-site"},
    "another port of this site": {"Sec_Fetch_Site": "same-site"},
    "a referer of another port": {"Referer": "http://localhost:1/page"},
    "a referer that begins alike": {"Referer": "http://127.0.0.1:PORT.evil.example/"},
    "a host that was rebound": {"Host": "evil.example:PORT"},
    "a host that was rebound, and its own page": {
        "Host": "evil.example:PORT",
        "Origin": "http://evil.example:PORT",
    },
    "a host of another port": {"Host": "localhost:1"},
    "a host without a port": {"Host": "localhost"},
    "all addresses": {"Host": "0.0.0.0:PORT"},
}
OURS: dict[str, dict[str, str]] = {
    "a program": {},
    "our page": {
        "Origin": "http://127.0.0.1:PORT",
        "Sec_Fetch_Site": "same-origin",
        "Referer": "http://127.0.0.1:PORT/",
    },
    "our page by its other name": {
        "Host": "localhost:PORT",
        "Origin": "http://localhost:PORT",
        "Sec_Fetch_Site": "same-origin",
    },
    "what a user typed": {"Sec_Fetch_Site": "none"},
}


@pytest.mark.parametrize("headers", ELSEWHERE.values(), ids=ELSEWHERE)
def test_no_other_page_reads_or_changes_anything(ui: Served, headers: dict[str, str]) -> None:
    before = ui.experiments()
    asked = [
        ui.ask("GET", SEARCH, **headers),
        ui.ask("OPTIONS", DELETE, **headers, Access_Control_Request_Method="POST"),
    ]
    kinds = (
        "application/json",
        "text/plain",
        "application/x-www-form-urlencoded",
        "multipart/form-data; boundary=x",
    )
    asked += [
        ui.ask("POST", DELETE, {"experiment_id": "1"}, Content_Type=kind, **headers)
        for kind in kinds
    ]
    asked.append(ui.ask("POST", "/graphql", {"query": "{ __typename }"}, **JSON, **headers))
    asked.append(
        ui.ask("GET", f"/get-artifact?path=metrics.txt&run_uuid={ui.runs['own']}", **headers)
    )
    assert [status for status, _ in asked] == [403] * len(asked)
    assert "victim" in ui.experiments() and ui.experiments() == before


@pytest.mark.parametrize("headers", OURS.values(), ids=OURS)
def test_our_own_page_and_programs_read_and_change(ui: Served, headers: dict[str, str]) -> None:
    assert ui.ask("GET", SEARCH, **headers)[0] == 200
    status, said = ui.ask(
        "POST",
        "/ajax-api/2.0/mlflow/experiments/create",
        {"name": f"new {headers}"},
        **JSON,
        **headers,
    )
    assert status == 200, said
    number = json.loads(said)["experiment_id"]
    assert ui.ask("POST", DELETE, {"experiment_id": number}, **JSON, **headers)[0] == 200
    assert f"new {headers}" not in ui.experiments()
    assert ui.ask(
        "GET", f"/get-artifact?path=metrics.txt&run_uuid={ui.runs['own']}", **headers
    ) == (200, "fine")


@pytest.mark.parametrize(
    "kind",
    [
        "",
        "text/plain",
        "TEXT/Plain; charset=utf-8",
        "application/x-www-form-urlencoded",
        "multipart/form-data",
    ],
)
def test_a_form_that_does_not_say_whose_page_it_is_on_changes_nothing(
    ui: Served, kind: str
) -> None:
    assert (
        ui.ask("POST", DELETE, {"experiment_id": "1"}, **({"Content_Type": kind} if kind else {}))[
            0
        ]
        == 403
    )
    assert "victim" in ui.experiments()


def test_a_link_from_anywhere_opens_the_start_page_alone(ui: Served) -> None:
    link = {
        "Sec_Fetch_Site": "cross-site",
        "Sec_Fetch_Mode": "navigate",
        "Sec_Fetch_Dest": "document",
        "Referer": "http://localhost:1/",
    }
    assert ui.ask("GET", "/", **link)[0] == 200
    for method, path in (
        ("GET", SEARCH),
        ("GET", "/health"),
        ("POST", "/"),
        ("GET", f"/get-artifact?path=x&run_uuid={ui.runs['own']}"),
    ):
        assert ui.ask(method, path, **link)[0] == 403


@pytest.mark.parametrize(
    "path",
    [
        *(
            "/gateway/x/mlflow/invocations",
            "/api/2.0/mlflow/gateway-proxy",
            "/ajax-api/2.0/mlflow/gateway-proxy/x",
            "/api/3.0/mlflow/gateway/endpoints/list",
            "/v1/traces",
        ),
        *(
            "/ajax-api/3.0/jobs",
            "/api/3.0/mlflow/jobs/x",
            "/ajax-api/3.0/mlflow/assistant/message",
            "/api/2.0/mlflow/webhooks",
        ),
        *(
            "/ajax-api/3.0/mlflow/ui-telemetry",
            "/api/3.0/mlflow/scorer/invoke",
            "/api/3.0/mlflow/demo/generate",
            "/unknown",
        ),
        *(
            "/api/2.0/mlflow-artifacts/artifacts",
            "/api/2.0/mlflow-artifacts/artifacts/x",
            "/api/3.0/mlflow/prompt-optimization/jobs",
        ),
        *(
            "//api/2.0/mlflow/runs/search",
            "/static-files/../../x",
            "/api/2.0/mlflow/runs/../webhooks",
            "/api/2.0/mlflow/runs/%2e%2e/x",
        ),
    ],
)
def test_what_runs_code_or_sends_something_is_not_served(ui: Served, path: str) -> None:
    for method in ("GET", "POST", "PUT", "DELETE"):
        assert ui.ask(method, path, {}, **JSON)[0] == 403


def test_mlflows_assistant_is_told_of_no_endpoints(ui: Served) -> None:
    path = "/ajax-api/2.0/mlflow/gateway-proxy?gateway_path=api/2.0/endpoints/"
    assert ui.ask("GET", path) == (200, '{"endpoints": []}')
    assert ui.ask("GET", path, Origin="http://localhost:1")[0] == 403
    for method in ("POST", "PUT", "DELETE"):
        assert ui.ask(method, path, {}, **JSON)[0] == 403


def test_a_web_socket_is_refused(ui: Served) -> None:
    upgrade = {
        "Connection": "Upgrade",
        "Upgrade": "websocket",
        "Sec_WebSocket_Version": "13",
        "Sec_WebSocket_Key": "x" * 22 + "==",
    }
    assert ui.ask("GET", "/unknown", **upgrade)[0] == 403
    assert ui.ask("GET", SEARCH, Origin="http://localhost:1", **upgrade)[0] == 403


# ---- what is opened ----


def test_no_run_is_served_from_elsewhere(ui: Served, listener: socket.socket) -> None:
    for name, run_id in ui.runs.items():
        asked = [
            ui.ask("GET", f"/get-artifact?path=passwd&run_uuid={run_id}"),
            ui.ask("GET", f"/ajax-api/2.0/mlflow/artifacts/list?run_id={run_id}"),
            ui.ask(
                "POST",
                f"/ajax-api/2.0/mlflow/upload-artifact?run_uuid={run_id}&path=new.txt",
                b"x",
                **JSON,
            ),
        ]
        query = f'{{ mlflowListArtifacts(input: {{runId: "{run_id}"}}) {{ files {{ path }} }} }}'
        said = ui.ask("POST", "/graphql", {"query": query}, **JSON)[1]
        if name in ("own", "named"):
            assert (
                asked[0][0] in (404, 500)
                and [status for status, _ in asked[1:]] == [200, 200]
                and "metrics.txt" in said
            )
            continue
        assert min(status for status, _ in asked) >= 400, (
            name,
            asked,
        )  # some schemes MLflow refuses itself
        assert "passwd" not in said and not any(
            CANARY in text or '"passwd"' in text for _, text in asked
        )
    assert (
        not list(ui.folder.glob("secret/new.txt"))
        and (ui.folder / "outputs/artifacts/0/own/new.txt").exists()
    )
    with pytest.raises(TimeoutError):
        listener.accept()


@pytest.mark.parametrize(
    "path",
    [
        "linked.txt",
        "linked/passwd",
        "inside/../linked.txt",
        "../../link/passwd",
        "%2e%2e/x",
        "/etc/passwd",
    ],
)
def test_no_link_and_no_path_leads_out(ui: Served, path: str) -> None:
    status, said = ui.ask("GET", f"/get-artifact?path={quote(path)}&run_uuid={ui.runs['own']}")
    assert status in (400, 403) and CANARY not in said
    status, said = ui.ask(
        "GET", f"/api/2.0/mlflow/artifacts/list?path={quote(path)}&run_id={ui.runs['own']}"
    )
    assert "passwd" not in said.replace(path, "")
    status, _ = ui.ask(
        "POST",
        f"/ajax-api/2.0/mlflow/upload-artifact?run_uuid={ui.runs['own']}&path={quote(path)}x",
        b"x",
        **JSON,
    )
    assert {file.name for file in (ui.folder / "secret").iterdir()} == {"passwd", "traces.json"}


def test_a_link_within_the_store_is_followed(ui: Served) -> None:
    assert ui.ask(
        "GET", f"/get-artifact?path=inside/own/metrics.txt&run_uuid={ui.runs['own']}"
    ) == (200, "fine")


def test_no_model_is_served_from_elsewhere(ui: Served) -> None:
    files = f"/ajax-api/2.0/mlflow/logged-models/{ui.model}/artifacts"
    asked = [
        ui.ask("GET", "/model-versions/get-artifact?name=model&version=1&path=passwd"),
        ui.ask("GET", f"{files}/files?artifact_file_path=passwd"),
        ui.ask("GET", f"{files}/directories"),
    ]
    assert [status for status, _ in asked] == [403] * 3, asked


@pytest.mark.parametrize("more", ["", "&path=passwd", "&path=..%2Fpasswd"])
def test_no_trace_is_served_from_elsewhere(more: str, ui: Served) -> None:
    for version in ("2.0", "3.0"):
        status, said = ui.ask(
            "GET", f"/ajax-api/{version}/mlflow/get-trace-artifact?request_id=tr-1{more}"
        )
        assert status >= 400 and CANARY not in said


def test_an_event_is_sent_to_no_address_of_the_store(ui: Served, listener: socket.socket) -> None:
    assert (
        ui.ask("POST", "/api/2.0/mlflow/registered-models/create", {"name": "another"}, **JSON)[0]
        == 200
    )
    listener.settimeout(1.0)
    with pytest.raises(TimeoutError):
        listener.accept()


def test_no_module_of_the_working_directory_is_executed(ui: Served) -> None:
    assert not (ui.folder / "SPRUNG").exists()


# ---- the parts ----


def test_the_store_s_own_folder_is_no_link_to_elsewhere(tmp_path: Path) -> None:
    home = tmp_path / "outputs"
    home.mkdir()
    store = resolve_store(f"sqlite:///{home}/mlflow.db")
    assert find_places(store).folders == (os.path.realpath(home / "artifacts"),)
    (home / "artifacts").symlink_to(tmp_path)
    assert find_places(store).folders == ()
    assert find_places(store, [str(tmp_path)]).folders == (os.path.realpath(tmp_path),)
    assert find_places(resolve_store("postgresql://host/x"), ["s3://bucket/a"]) == ServedPlaces(
        (), ("s3://bucket/a",)
    )


@pytest.mark.parametrize(
    ("address", "found"),
    [
        ("s3://bucket/a", True),
        ("s3://bucket/a/b", True),
        ("s3://bucket/ab", False),
        ("s3://other/a", False),
        ("s3://bucket/a/../b", False),
        ("s3://bucket/a/%2e%2e/b", False),
        ("s3://bucket/a?x", False),
        ("gs://bucket/a", False),
        ("s3://[", False),
    ],
)
def test_an_address_elsewhere_is_below_what_was_named(address: str, found: bool) -> None:
    assert (ServedPlaces((), ("s3://bucket/a",)).resolve(address) is not None) == found


def test_places_that_are_not_shown_are_said_with_what_shows_them(
    workdir: Path, client: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    elsewhere = [str(workdir / f"else where {number}") for number in range(5)]
    for place in elsewhere:
        client.create_experiment(place[-1], artifact_location=place)
    client.create_experiment(
        "own", artifact_location=str(workdir / "outputs" / "artifacts" / "own")
    )
    tell_unserved(resolve_store(), find_places(resolve_store(), [elsewhere[0]]), [])
    *notes, more = capsys.readouterr().err.splitlines()
    assert (
        len(notes) == 3 and more == "linfit: note: nor are those of 2 other experiments"
    )  # with MLflow's own
    shown = [
        note.partition("`linfit ui --artifacts ")[2].partition("` shows them")[0] for note in notes
    ]
    assert all(shlex.split(place)[0] in elsewhere[1:] for place in shown)


def test_port_80_has_hosts_without_it() -> None:
    scope: dict[str, Any] = {
        "method": "GET",
        "path": "/graphql",
        "headers": [(b"host", b"localhost"), (b"origin", b"http://localhost")],
    }
    assert explain_refusal(scope, list_own_hosts(80)) == ""
    assert "asks for the host 'localhost'" in explain_refusal(scope, list_own_hosts(81))
    assert "host 'localhost, localhost'" in explain_refusal(
        {**scope, "headers": scope["headers"][:1] * 2}, list_own_hosts(80)
    )


#: Ways in which a later MLflow may leave the guard no place.
CHANGED = """
import sys
from linfit.views.ui import guarded_process as guard_server
from mlflow.server import handlers
from mlflow.store.artifact import artifact_repository_registry as registry
order = dict(uri="", artifacts=None, folders=[], addresses=[], offline=True, port=1)
opened, listed = handlers.get_artifact_repository, registry.get_registered_artifact_repositories
for change in (lambda: setattr(registry, "get_registered_artifact_repositories", dict),
               lambda: delattr(registry, "get_registered_artifact_repositories"),
               lambda: setattr(handlers, "get_artifact_repository", lambda address: None),
               lambda: delattr(handlers, "get_artifact_repository"),
               lambda: sys.modules.update({"mlflow.server.fastapi_app": None})):
    handlers.get_artifact_repository, registry.get_registered_artifact_repositories = opened, listed
    change()
    try:
        guard_server.install_guard(order)
    except (ImportError, AttributeError, TypeError) as error:
        print(type(error).__name__)
import os, json
order = {**order, "parent": os.getppid(), "unguarded": False}
os.environ[guard_server.SERVER_ORDER] = json.dumps(order)
guard_server.run_guarded_server()
"""


def test_where_the_guard_has_no_place_nothing_starts(tmp_path: Path) -> None:
    run = [sys.executable, "-P", "-W", "ignore", "-c", CHANGED]
    done = subprocess.run(
        run, cwd=tmp_path, capture_output=True, text=True, timeout=120, check=False
    )
    assert done.stdout.split() == ["AttributeError"] * 4 + ["ModuleNotFoundError"], done.stderr
    assert done.returncode == 2
    assert (
        "no guard can be placed before this MLflow" in done.stderr and "--unguarded" in done.stderr
    )
    assert len(done.stderr.strip().splitlines()) == 1


#: What MLflow's process might do beside answering, and whether it is let.
DEEDS = """
import os, socket, subprocess, sys
from functools import partial
from linfit.views.ui import guarded_process as guard_server
from linfit.views.ui.served_places import ServedPlaces
offline = sys.argv[1] == "offline"
listener = socket.create_server(("127.0.0.1", 0))
sys.addaudithook(partial(guard_server.check_action, ServedPlaces((), ()), offline, print))
for deed in (lambda: subprocess.run(["true"]), lambda: os.system("true"),
             lambda: os.spawnv(os.P_WAIT, "/bin/true", ["true"]),
             os.fork, lambda: os.execv("/bin/true", ["true"]),
             lambda: os.posix_spawn("/bin/true", ["true"], {}),
             lambda: socket.create_connection(listener.getsockname(), 5).close()):
    try:
        deed()
    except PermissionError as error:
        print(error)
    else:
        print("let")
"""


@pytest.mark.parametrize(
    ("connections", "last"),
    [("offline", "linfit ui connects to nothing (socket.connect)"), ("online", "let")],
)
def test_the_server_starts_no_program_and_connects_where_it_may(
    connections: str, last: str, tmp_path: Path
) -> None:
    done = subprocess.run(
        [sys.executable, "-P", "-c", DEEDS, connections],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=60,
    )
    *programs, connection = done.stdout.splitlines()
    assert len(programs) == 6, done.stderr
    assert all(said.startswith("linfit ui starts no program (") for said in programs), programs
    assert connection == last
