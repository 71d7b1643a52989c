"""The documentation's site: built strictly, then read in a real browser, with nothing from outside.

`make site` installs what it needs, `make browser` runs these.
"""

from __future__ import annotations

import importlib.util
import json
import re
import subprocess
import sys
from collections.abc import Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import TYPE_CHECKING

import pytest

import linfit
from tests.views.browsing import Seen, launched

if TYPE_CHECKING:
    from playwright.sync_api import Browser, ConsoleMessage

ROOT = Path(linfit.__file__).parents[1]
#: The widths of a phone, a tablet and a screen.
WIDTHS = (390, 900, 1400)

pytestmark = [
    pytest.mark.browser,
    pytest.mark.skipif(
        importlib.util.find_spec("sphinx") is None, reason="the site is not built: make site"
    ),
]


class Quiet(SimpleHTTPRequestHandler):
    """Serve a folder, and log nothing."""

    def log_message(self, *_: object) -> None:
        pass


def build(source: Path, folder: Path) -> subprocess.CompletedProcess[str]:
    """Build a site as `make site` does."""
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    found = re.search(
        r"python (-m sphinx .+) -c docs -d build/doctrees \. build/site$", makefile, re.M
    )
    assert found is not None
    places = ["-c", str(ROOT / "docs"), "-d", str(folder / "doctrees"), str(source)]
    return subprocess.run(
        [sys.executable, *found[1].split(), *places, str(folder / "site")],
        capture_output=True,
        text=True,
    )


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    yield from launched()


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The address at which the built site is served."""
    folder = tmp_path_factory.mktemp("built")
    done = build(ROOT, folder)
    assert (done.returncode, done.stderr) == (0, "")
    handler = partial(Quiet, directory=str(folder / "site"))
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


@pytest.fixture(params=WIDTHS)
def seen(request: pytest.FixtureRequest, browser: Browser, site: str) -> Iterator[Seen]:
    """A page of one width, which at the end has asked nobody else and complained of nothing."""
    context = browser.new_context(viewport={"width": request.param, "height": 1000})
    page = Seen(context.new_page())

    def keep(message: ConsoleMessage) -> None:
        if message.type in ("error", "warning"):
            page.errors.append(message.text)

    page.page.on("console", keep)
    yield page
    context.close()
    assert page.errors == []
    assert [url for url in page.requests if not url.startswith((site, "about:", "data:"))] == []


def test_every_page_that_the_navigation_names_shows_itself(seen: Seen, site: str) -> None:
    page = seen.open(f"{site}/")
    page.wait_for_url("**/README.html")
    width = page.evaluate("window.innerWidth")
    names = page.locator(".sidebar-tree a").evaluate_all("links => links.map(link => link.href)")
    addresses = list(dict.fromkeys(name.partition("#")[0] for name in names))
    assert len(addresses) > 30
    for address in addresses:
        page.goto(address)
        assert page.locator("h1").inner_text().strip()
        wider = "document.documentElement.scrollWidth > document.documentElement.clientWidth"
        assert not page.evaluate(wider), address
        pictures = page.locator("article img").evaluate_all(
            "all => all.map(one => one.naturalWidth)"
        )
        assert all(pictures), address
        seen.shot(f"site{address.removeprefix(site).replace('/', '-')}-{width}")


def test_a_link_of_the_text_leads_from_page_to_page(seen: Seen, site: str) -> None:
    page = seen.open(f"{site}/docs/trust.html")
    page.locator("article").get_by_role("link", name="its figures").click()
    page.wait_for_url("**/benchmarks/README.html#coverage-py")
    assert page.locator("h2", has_text="coverage.py").is_visible()


def test_the_search_finds_a_page_by_its_words(seen: Seen, site: str) -> None:
    page = seen.open(f"{site}/search.html?q=rounding+floor")
    found = page.locator("#search-results li a").filter(has_text="How far a result can be trusted")
    found.first.wait_for()
    found.first.click()
    page.wait_for_url("**/docs/trust.html*")


def test_the_tutorial_stands_with_what_it_prints(seen: Seen, site: str) -> None:
    page = seen.open(f"{site}/docs/tutorial.html")
    outputs = page.locator(".cell_output")
    assert outputs.count() > 10
    cells = json.loads((ROOT / "docs" / "tutorial.ipynb").read_text(encoding="utf-8"))["cells"]
    stored = [one["data"] for cell in cells for one in cell.get("outputs", ()) if "data" in one]
    tables = ["".join(data.get("text/html", "")).count("<table") for data in stored]
    assert outputs.locator("img").count() == sum("image/png" in data for data in stored) > 0
    assert outputs.locator("table").count() == sum(tables) > 0


def test_links_that_lead_nowhere_fail_the_build(tmp_path: Path) -> None:
    links = (
        "[](docs/nowhere.md)",
        "[](#nowhere)",
        "[](docs/there.md#nowhere)",
        "![a](nowhere.png)",
    )
    source = tmp_path / "source"
    (source / "docs").mkdir(parents=True)
    (source / "docs" / "there.md").write_text("# There\n")
    (source / "README.md").write_text("\n\n".join(["# Here", "[](docs/there.md#there)", *links]))
    done = build(source, tmp_path / "built")
    assert done.returncode == 1
    lines = re.findall(r"/README\.md:(\d+): WARNING: .*nowhere", done.stderr)
    assert sorted(map(int, lines)) == [5, 7, 9, 11]
