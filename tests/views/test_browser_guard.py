"""`linfit ui` in a real browser next to a hostile page of another port, and used as people do.

`make browser` runs these.
"""

from __future__ import annotations

import sqlite3
import threading
from collections.abc import Iterator
from contextlib import closing
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.views.browsing import Seen, command, new_page

if TYPE_CHECKING:
    from playwright.sync_api import Browser

pytestmark = pytest.mark.browser

#: Each attempt ends with what it got to know: null, or an error, where it got to know nothing.
ATTACK = """<!doctype html><title>a page of another port</title>
<iframe name="sink"></iframe><script>
const base = location.hash.slice(1), body = JSON.stringify({experiment_id: "EXPERIMENT"});
const remove = base + "/ajax-api/2.0/mlflow/experiments/delete";
const search = base + "/api/2.0/mlflow/experiments/search?max_results=9";
const post = (mode, type) => fetch(remove, {
  method: "POST", mode, body, credentials: "include", headers: {"Content-Type": type}});
const form = type => new Promise(done => {
  const made = Object.assign(document.createElement("form"), {
    action: remove, method: "POST", enctype: type, target: "sink"});
  const [name, value] = [body.slice(0, -1) + ', "x": "', '"}'];
  made.append(Object.assign(document.createElement("input"), {name, value}));
  document.body.append(made); made.submit(); setTimeout(done, 1000, null);
});
const frame = () => new Promise(done => {
  const made = Object.assign(document.createElement("iframe"), {src: base + "/"});
  made.onload = () => {
    try { done(made.contentDocument && made.contentDocument.title); }
    catch (error) { done(null); } };
  document.body.append(made); setTimeout(done, 3000, null);
});
const image = () => new Promise(done => Object.assign(new Image(), {
  src: base + "/get-artifact?path=pictures/curves.png&run_uuid=RUN",
  onload: () => done("an image"), onerror: () => done(null)}));
const socket = () => new Promise(done => {
  const made = new WebSocket(base.replace("http", "ws") + "/graphql");
  made.onopen = () => done("a socket"); made.onerror = () => done(null); });
const read = answer => answer.type === "opaque" ? null : answer.text();
const attempts = {
  json: () => post("cors", "application/json").then(read),
  text: () => post("cors", "text/plain").then(read),
  opaque: () => post("no-cors", "text/plain").then(read),
  beacon: () => (navigator.sendBeacon(remove, body), null),
  plain: () => form("text/plain"), encoded: () => form("application/x-www-form-urlencoded"),
  frame, image, socket,
  search: () => fetch(search, {credentials: "include"}).then(read),
  graphql: () => fetch(base + "/graphql?query={__typename}").then(read),
};
addEventListener("load", async () => {
  const told = {};
  for (const [name, attempt] of Object.entries(attempts))
    told[name] = await Promise.resolve().then(attempt)
      .catch(error => error instanceof TypeError ? null : String(error));
  document.body.dataset.told = JSON.stringify(told);
});
</script>"""


@pytest.fixture(scope="module")
def folder(browser: Browser, tmp_path_factory: pytest.TempPathFactory) -> Path:
    made = tmp_path_factory.mktemp("attacked")
    command(made, "run", "-m", "name=victim", "seed=0,1", "steps=20")
    return made


@pytest.fixture
def seen(browser: Browser) -> Iterator[Seen]:
    page = new_page(browser)
    yield page
    page.page.context.close()


@pytest.fixture(scope="module")
def other_port(tmp_path_factory: pytest.TempPathFactory, folder: Path) -> Iterator[int]:
    """The port of another server of this machine, with the page that attacks."""
    made = tmp_path_factory.mktemp("attacker")
    experiment, run = find_run(folder, "victim")
    (made / "index.html").write_text(
        ATTACK.replace("EXPERIMENT", str(experiment)).replace("RUN", run)
    )
    with ThreadingHTTPServer(("127.0.0.1", 0), partial(Quiet, directory=str(made))) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield server.server_address[1]
        server.shutdown()
        thread.join()


class Quiet(SimpleHTTPRequestHandler):
    def log_message(self, *_: object) -> None:
        pass


def rows(folder: Path, query: str) -> list[tuple[str, ...]]:
    with closing(sqlite3.connect(folder / "outputs" / "mlflow.db")) as database:
        return database.execute(query).fetchall()


def find_run(folder: Path, experiment: str) -> tuple[str, str]:
    """Return the ids of an experiment and of its newest run that is no other's child."""
    children = "SELECT run_uuid FROM tags WHERE key = 'mlflow.parentRunId'"
    named = (
        f"JOIN experiments e USING (experiment_id) WHERE e.name = '{experiment}' "
        f"AND run_uuid NOT IN ({children})"
    )
    [(number, run)] = rows(
        folder, f"SELECT experiment_id, run_uuid FROM runs {named} ORDER BY start_time DESC LIMIT 1"
    )
    return str(number), run


@pytest.mark.parametrize("host", ["localhost", "127.0.0.1"])
@pytest.mark.parametrize("own", ["localhost", "127.0.0.1"])
def test_a_page_of_another_port_learns_nothing_and_changes_nothing(
    host: str, own: str, seen: Seen, ui: dict[str, str], other_port: int, folder: Path
) -> None:
    base = ui["runs"].split("/#")[0].replace("127.0.0.1", own)
    page = seen.open(f"http://{host}:{other_port}/#{base}")
    page.locator("body[data-told]").wait_for()
    told = page.evaluate("JSON.parse(document.body.dataset.told)")
    assert len(told) == 11 and set(told.values()) == {None}, told
    assert any(request.startswith(base) for request in seen.requests), "nothing was tried"
    assert ("victim",) in rows(
        folder, "SELECT name FROM experiments WHERE lifecycle_stage = 'active'"
    )


def test_a_link_on_another_page_opens_the_ui(
    seen: Seen, ui: dict[str, str], other_port: int
) -> None:
    page = seen.open(f"http://localhost:{other_port}/#{ui['runs']}")
    page.evaluate(
        "address => { document.body.innerHTML = ''; location.href = address }", ui["runs"]
    )
    page.get_by_text("victim").first.wait_for()


def test_no_page_shows_a_refusal(seen: Seen, ui: dict[str, str], folder: Path) -> None:
    experiment, run = find_run(folder, "victim")
    start = ui["runs"].partition("#")[0]
    for address in (*ui.values(), f"{start}#/experiments/{experiment}/runs/{run}"):
        page = seen.open(address)
        page.get_by_text("victim").first.wait_for()
        page.wait_for_timeout(1500)  # pages that ask again and again never come to rest
        assert page.get_by_text("refuses").count() == 0
    seen.until(lambda: any("gateway-proxy" in request for request in seen.requests))


@pytest.mark.parametrize("name", ["127.0.0.1", "localhost"])
def test_a_run_is_deleted_in_the_ui_by_either_name(
    name: str, seen: Seen, ui: dict[str, str], folder: Path
) -> None:
    command(folder, "run", f"name=doomed {name}", "steps=1")
    experiment, run = find_run(folder, f"doomed {name}")
    start = ui["runs"].split("#")[0].replace("127.0.0.1", name)
    page = seen.open(f"{start}#/experiments/{experiment}/runs?workflowType=machine_learning")
    page.locator(".ag-row input[type=checkbox]").first.check()
    page.get_by_role("button", name="Delete", exact=True).first.click()
    page.get_by_role("dialog").get_by_role("button", name="Delete").first.click()
    seen.until(
        lambda: (
            rows(folder, f"SELECT lifecycle_stage FROM runs WHERE run_uuid = '{run}'")
            == [("deleted",)]
        )
    )


def test_the_ui_s_page_sends_nothing_to_another_server(
    seen: Seen, ui: dict[str, str], other_port: int, folder: Path
) -> None:
    """Not its own telemetry, and no picture that a run's note names."""
    address = f"http://localhost:{other_port}/pixel.png"
    from mlflow import MlflowClient

    experiment, run = find_run(folder, "victim")
    MlflowClient(f"sqlite:///{folder}/outputs/mlflow.db").set_tag(
        run, "mlflow.note.content", f"seen ![x]({address})"
    )
    finished: list[str] = []
    seen.page.on("requestfinished", lambda request: finished.append(request.url))
    own = ui["runs"].split("#")[0]
    page = seen.open(f"{own}#/experiments/{experiment}/runs/{run}")
    page.get_by_text("seen").first.wait_for()
    page.wait_for_timeout(1000)
    assert [url for url in finished if not url.startswith((own, "blob:", "data:", "about:"))] == []
    assert any(url.startswith(own) for url in finished)
