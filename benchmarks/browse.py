"""Measure what looking at sweeps costs: `python -m benchmarks.browse [RUNS]`.

RUNS is 10,000 by default. Needs Chromium.

Each figure is the median of a few, next to its floor. A floor is the least that anybody could do
with the same library: for the table reading both Parquet files and parsing every config, for the
report a page that only unpacks and runs Plotly, for the run list the same page of an MLflow
experiment with one run, for pictures the sweep that they are of.
"""

from __future__ import annotations

import os
import re
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pandas as pd
from pydantic_core import from_json

import linfit
from linfit.tracking.schema import mlflow_names
from tests.views.browsing import ARGUMENTS, Seen, chromium, command, new_page, served

REPEATS = 5
OPTIMIZERS = "optimizer=adam,rmsprop,adagrad,adamw"
RATES = "optimizer.lr=0.001,0.003,0.01,0.03,0.1"


def seconds(act: Callable[[], Any]) -> float:
    began = time.perf_counter()
    act()
    return time.perf_counter() - began


def interleaved(*acts: Callable[[], float]) -> list[float]:
    """The median of each, taken in turns: the speed of a shared machine drifts."""
    rounds = [[act() for act in acts] for _ in range(REPEATS)]
    return [statistics.median(column) for column in zip(*rounds, strict=True)]


def show(what: str, took: float, floor: float, bar: str) -> None:
    print(f"{what:<52} {took:8.3f} s {floor:8.3f} s {took / floor:7.2f}   {bar}", flush=True)


def table(results: Any) -> None:
    """`linfit.load(...).table`, beside reading both files and parsing each config."""
    files = results.swept.files

    def floor() -> None:
        pd.read_parquet(files[mlflow_names.RESULTS])
        for text in pd.read_parquet(files[mlflow_names.MANIFEST], columns=["overrides", "config"])[
            "config"
        ]:
            from_json(text, cache_strings="all")

    took, least = interleaved(
        lambda: seconds(lambda: linfit.load(results.run_id).table), lambda: seconds(floor)
    )
    show("linfit.load(SWEEP).table", took, least, "0.5 s")


def report(browser: Any, results: Any, folder: Path) -> None:
    """Measure the time from the request until all pictures of the page are drawn.

    A page that only makes Plotly ready is measured as well.
    """
    file = results.report(folder / "report.html")
    bare = folder / "bare.html"
    text = re.sub(
        r'"charts": \[.*?\], "sorted"', '"charts": [], "sorted"', file.read_text(), flags=re.S
    )
    bare.write_text(
        re.sub(
            r'"columns": \[\[.*\]\]',
            '"columns": []',
            re.sub(r'"titles": \[.*?\]', '"titles": []', text),
        )
    )

    def drawn(page: Path) -> float:
        seen = new_page(browser)
        seen.open(page.as_uri()).locator("body[data-drawn]").wait_for(state="attached")
        took = float(seen.page.locator("body").get_attribute("data-drawn") or "nan") / 1000
        seen.page.context.close()
        return took

    took, least = interleaved(lambda: drawn(file), lambda: drawn(bare))
    show(
        f"report of {file.stat().st_size / 1e6:.1f} MB, all pictures drawn",
        took,
        least,
        "2 s, 8 MB",
    )


def run_list(browser: Any, folder: Path) -> None:
    """Measure the UI's list of runs and the sorted leaderboard on a warm server.

    Each is loaded in a fresh profile of the browser and in one that has loaded it before.
    """
    with served(folder) as pages:
        few, many = (
            re.sub(r"/experiments/\d+/", f"/experiments/{number}/", pages["runs"])
            for number in ("2", "1")
        )
        sorted_few, sorted_many = (
            address.replace("?", "?viewStateShareKey=linfit-leaderboard&")
            for address in (few, many)
        )
        for what, lists in (
            ("the run list opens", (many, few)),
            ("the fits, sorted by excess loss", (sorted_many, sorted_few)),
        ):
            for address in lists:
                opened(browser, address)
            took, least = interleaved(*(partial(opened, browser, address) for address in lists))
            show(f"UI: {what}, first visit", took, least, "2 s")
            before = [new_page(browser) for _ in lists]
            for seen, address in zip(before, lists, strict=True):
                visited(seen, address)
            took, least = interleaved(*map(partial, [visited, visited], before, lists))
            show(f"UI: {what}, again", took, least, "2 s")


def opened(browser: Any, address: str) -> float:
    seen: Seen = new_page(browser)
    took = visited(seen, address)
    seen.page.context.close()
    return took


def visited(seen: Seen, address: str) -> float:
    return seconds(lambda: seen.open(address).locator(".ag-row").first.wait_for())


def pictures(folder: Path) -> None:
    """Measure pictures, leaderboard and report of 1,000 fits of 1,000 steps.

    Running and recording these fits is measured as well.
    """
    from linfit.publication import compare_sweep, publish_artifacts
    from linfit.sweeps.run.hydra_app import execute
    from linfit.sweeps.run.result import RunResult

    def draw(result: RunResult) -> None:
        publish_artifacts(result, compare_sweep(result))

    ran, drew = [], []
    for _ in range(3):
        arguments = [
            "--multirun",
            OPTIMIZERS,
            RATES,
            "seed=range(0,50)",
            "steps=1000",
            "name=thousand",
            "hydra.sweep.dir=" + tempfile.mkdtemp(dir=folder),
        ]
        results: list[RunResult] = []
        ran.append(seconds(lambda: results.append(execute(arguments))))  # noqa: B023
        drew.append(seconds(partial(draw, results[0])))
    show(
        "pictures and report of a sweep of 1,000",
        statistics.median(drew),
        statistics.median(ran),
        "the sweep",
    )


def main(runs: int) -> None:
    path = chromium()
    assert path is not None, "this needs Chromium: apt-get install chromium"
    from playwright.sync_api import sync_playwright

    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        os.chdir(folder)
        command(
            folder,
            "run",
            "-m",
            OPTIMIZERS,
            RATES,
            f"seed=range(0,{runs // 20})",
            "steps=50",
            "name=many",
        )
        results = linfit.load("last")
        command(folder, "run", "-m", "seed=0,1", "steps=50", "name=few")
        print(
            f"{f'{len(results.table):,} runs':<52} {'linfit':>10} {'floor':>10} {'ratio':>7}   bar"
        )
        table(results)
        with sync_playwright() as playwright:
            browser = playwright.chromium.launch(executable_path=path, args=list(ARGUMENTS))
            report(browser, results, folder)
            run_list(browser, folder)
        pictures(folder)


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 10_000)
