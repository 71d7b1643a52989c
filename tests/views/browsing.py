"""Support for tests in a real browser: Chromium, `linfit ui` on recorded runs, a page's content."""

from __future__ import annotations

import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any
from uuid import uuid4

import pytest

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Dialog, Page

BROWSERS = ("chromium", "chromium-browser", "google-chrome")
ARGUMENTS = ("--headless", "--no-sandbox", "--disable-gpu", "--disable-background-networking")
#: Seconds for a server to come up, and for a page to show something, on a machine with other work.
BEGIN, PATIENCE = 240, 60
#: A folder that keeps what the pages looked like, for somebody to look at.
KEEP = "LINFIT_SCREENSHOTS"


def chromium() -> str | None:
    return next(filter(None, map(shutil.which, BROWSERS)), None)


def command(folder: Path, *arguments: str) -> str:
    """`linfit` in a folder, as a user types it; what it prints."""
    done = subprocess.run(
        [*LINFIT, *arguments],
        cwd=folder,
        env=environment(),
        capture_output=True,
        text=True,
        timeout=BEGIN,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


LINFIT = (sys.executable, "-c", "from linfit.cli import main; main()")


def environment(**more: str) -> dict[str, str]:
    return {
        **{key: value for key, value in os.environ.items() if not key.startswith("MLFLOW_")},
        **more,
    }


@contextmanager
def served(folder: Path) -> Iterator[dict[str, str]]:
    """Yield the addresses that `linfit ui` prints, while it runs.

    It ends with Ctrl-C, after which none of its processes is left.
    """
    port = free_port()
    mark, log = f"LINFIT_TEST={uuid4().hex}", folder / "ui.log"
    with log.open("w") as stderr:
        own = environment(**dict([mark.split("=")]))
        heard = partial(
            signal.signal, signal.SIGINT, signal.SIG_DFL
        )  # in the background of a shell Ctrl-C is ignored
        serve = [*LINFIT, "ui", "--port", str(port)]
        server = subprocess.Popen(
            serve, cwd=folder, env=own, stderr=stderr, stdout=stderr, preexec_fn=heard
        )
    try:
        until(lambda: "linfit: curves" in log.read_text() or server.poll() is not None, BEGIN)
        yield dict(re.findall(r"^linfit: (\w+) +(http\S+)$", log.read_text(), re.M))
    finally:
        server.send_signal(signal.SIGINT)
        server.wait(30)
        until(lambda: not marked(mark), 30)


def free_port() -> int:
    with closing(socket.socket()) as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])


def marked(mark: str) -> list[int]:
    """The processes that have `mark` in their environment."""
    found = []
    for place in Path("/proc").glob("[0-9]*/environ"):
        try:
            if mark.encode() in place.read_bytes():
                found.append(int(place.parent.name))
        except OSError:  # it has ended, or is somebody else's
            continue
    return found


def until(
    holds: Callable[[], Any],
    seconds: float = PATIENCE,
    pause: Callable[[], None] = lambda: time.sleep(0.2),
) -> None:
    end = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < end, "it did not come"
        pause()


@dataclass
class Seen:
    """A page, and what happened on it: addresses asked for, dialogs opened, scripts that failed."""

    page: Page
    requests: list[str] = field(default_factory=list)
    dialogs: list[str] = field(default_factory=list)
    errors: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.page.set_default_timeout(PATIENCE * 1000)
        self.page.on("request", lambda request: self.requests.append(request.url))
        self.page.on("dialog", self._dismiss)
        self.page.on("pageerror", lambda error: self.errors.append(str(error)))

    def _dismiss(self, dialog: Dialog) -> None:
        self.dialogs.append(dialog.message)
        dialog.dismiss()

    def open(self, address: str) -> Page:
        self.page.goto(
            "about:blank"
        )  # an address that differs behind # only would not be loaded anew
        self.page.goto(address)
        return self.page

    def shot(self, name: str) -> None:
        if folder := os.environ.get(KEEP):
            self.page.screenshot(path=Path(folder) / f"{name}.png")

    def column(self, cells: str) -> list[str]:
        """What stands in the cells of a column of MLflow's table of runs, from the top."""
        get = (
            "cells => cells.map(cell => "
            "[Number(cell.closest('.ag-row').getAttribute('row-index')), cell.innerText.trim()])"
        )
        return [
            text
            for _, text in sorted(self.page.locator(f".ag-row [col-id={cells}").evaluate_all(get))
        ]

    def until(self, holds: Callable[[], Any]) -> None:
        until(holds, pause=lambda: self.page.wait_for_timeout(200))


def launched() -> Iterator[Browser]:
    """Chromium, ended at the end; skips where there is none."""
    api = pytest.importorskip("playwright.sync_api", reason="needs playwright")
    path = chromium()
    if path is None:
        pytest.skip("Chromium is not installed: apt-get install chromium")
    with api.sync_playwright() as playwright:
        started = playwright.chromium.launch(executable_path=path, args=list(ARGUMENTS))
        yield started
        started.close()


def new_page(browser: Browser) -> Seen:
    """A page of a fresh profile, large enough to show every row of a small table."""
    return Seen(browser.new_context(viewport={"width": 2600, "height": 1600}).new_page())
