"""MLflow's UI and the report as people meet them: real sweeps, a real server, a real browser.

`make browser` runs these.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

import linfit
from linfit.views.results import Results
from tests.views.browsing import Seen, command, new_page

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

pytestmark = pytest.mark.browser

SCRIPT, IMAGE = "<script>alert(1)</script>", "<img src=x onerror=alert(2)>"
#: As text their order is another one.
RATES = ("1e-05", "0.002", "0.1", "10.0")
STUDY = f"""# @package _global_
# Which optimizer, <b>and which</b> {IMAGE}?
defaults: [/linfit, _self_]
name: study
steps: 60
hydra:
  mode: MULTIRUN
  sweeper:
    params:
      optimizer: sgd,adam
      optimizer.lr: {",".join(RATES)}
      seed: range(0,2)
"""
#: Columns of MLflow's table of runs.
NAME, LR = '"attributes.`Run Name`"] a', '"metrics.`hparam/optimizer.lr`"]'


@pytest.fixture(scope="module")
def folder(browser: Browser, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A store with a study, and with a sweep all of whose names are markup.

    Made where there is a browser to look at it.
    """
    made = tmp_path_factory.mktemp("browsed")
    (made / "experiments").mkdir()
    (made / "experiments" / "study.yaml").write_text(STUDY)
    for name, last in ((IMAGE, 4.3), ("plain", 4.4)):
        (made / f"{name}.csv").write_text(f"a,y\n1,2\n2,3.1\n3,{last}\n")
    data = [
        "dataset=csv",
        f'dataset.path="{IMAGE}.csv",plain.csv',
        "dataset.features=[a]",
        "dataset.target=y",
    ]
    command(made, "run", "-m", f'name="{SCRIPT}"', *data, "optimizer.lr=0.01,0.1", "steps=20")
    command(made, "run", "study")
    return made


@pytest.fixture(scope="module")
def study(folder: Path) -> Results:
    return linfit.load("last", f"sqlite:///{folder}/outputs/mlflow.db")


@pytest.fixture
def seen(browser: Browser) -> Iterator[Seen]:
    """A page on which, at the end, no dialog has opened and no script of ours failed."""
    page = new_page(browser)
    yield page
    page.page.context.close()
    assert page.dialogs == []


def run_page(ui: dict[str, str], run_id: str, tab: str = "") -> str:
    """The address of a run's page."""
    top, _, end = ui["runs"].partition("?")
    return f"{top}/{run_id}{tab}?{end}"


# ---- MLflow's UI ----


def test_the_run_list_has_the_sweep_on_top_and_its_children_by_what_varies(
    seen: Seen, ui: dict[str, str], study: Results
) -> None:
    page = seen.open(ui["runs"])
    seen.until(lambda: seen.column(NAME) == ["study"])
    page.locator(".ag-row").get_by_role("button").first.click()
    seen.until(lambda: len(seen.column(NAME)) == 1 + len(study.table))
    first, *children = seen.column(NAME)
    assert (first, sorted(children)) == ("study", sorted(study.table["name"]))
    assert page.get_by_text(f"Which optimizer, <b>and which</b> {IMAGE}?").first.is_visible()
    seen.shot("runs")


def test_the_saved_leaderboard_is_in_order_and_sorts_a_swept_number_as_a_number(
    seen: Seen, ui: dict[str, str], study: Results
) -> None:
    page = seen.open(ui["leaderboard"])
    page.get_by_test_id("sort-header-excess_loss").wait_for()
    seen.until(lambda: len(seen.column(LR)) == len(study.table))
    assert seen.column(NAME) == study.table.sort_values("excess_loss")["name"].tolist()
    seen.shot("leaderboard")
    ascending = sorted(float(rate) for rate in RATES for _ in range(4))
    page.get_by_test_id("sort-header-hparam/optimizer.lr").click()
    seen.until(lambda: rates(seen) in (ascending, ascending[::-1]))
    once = rates(seen)
    page.get_by_test_id("sort-header-hparam/optimizer.lr").click()
    seen.until(lambda: rates(seen) == once[::-1])


def rates(seen: Seen) -> list[float]:
    return [float(text) for text in seen.column(LR)]


def test_the_saved_curves_are_drawn_on_log_axes(seen: Seen, ui: dict[str, str]) -> None:
    page = seen.open(ui["curves"])
    charts = page.locator(".js-plotly-plot")
    charts.first.wait_for()
    seen.until(lambda: sum(lines_of(page)) >= 2)
    assert len(lines_of(page)) == 2
    scales = charts.evaluate_all(
        "charts => charts.map(chart => chart._fullLayout)"
        ".map(layout => [layout.xaxis.type, layout.yaxis.type])"
    )
    assert scales == [["log", "log"]] * 2
    assert [
        page.get_by_text(title, exact=True).first.is_visible() for title in ("excess_loss", "loss")
    ] == [True, True]
    seen.shot("curves")


def lines_of(page: Page) -> list[int]:
    """How many curves each chart has that are really drawn."""
    drawn = (
        "chart => [...chart.querySelectorAll('path.js-line')]"
        ".filter(line => line.getTotalLength() > 10).length"
    )
    return [
        int(number)
        for number in page.locator(".js-plotly-plot").evaluate_all(f"charts => charts.map({drawn})")
    ]


def test_the_sweeps_page_says_what_was_asked_and_shows_leaderboard_pictures_and_report(
    seen: Seen, ui: dict[str, str], study: Results
) -> None:
    page = seen.open(run_page(ui, study.run_id))
    page.get_by_test_id("show-comment-toggle").or_(page.get_by_text("Show more")).first.click()
    note = page.get_by_test_id("note-editor-preview-content").first
    assert f"Which optimizer, <b>and which</b> {IMAGE}?" in note.inner_text()
    assert study.comparison.summarize() in note.inner_text()
    assert note.locator("code").get_by_text("linfit run study").count() == 1
    first = note.locator("table tbody tr").first.locator("td").all_inner_texts()
    assert first[1].strip() == study.comparison.entries[0].method
    pictures = note.locator("img[src*='get-artifact']")
    assert pictures.count() >= 4
    seen.until(
        lambda: (
            min(
                pictures.evaluate_all(
                    "all => all.map(image => image.complete ? image.naturalWidth : 0)"
                )
            )
            > 300
        )
    )
    seen.shot("sweep")
    with page.context.expect_page() as opened:
        note.get_by_role("link", name="The report").click()
    report = opened.value
    frame = report.frame_locator("iframe")
    frame.locator("body[data-drawn]").wait_for()
    assert frame.locator("h1").inner_text() == "study"
    assert frame.locator(".js-plotly-plot").count() >= 4


def test_the_sweeps_artifacts_show_a_picture(
    seen: Seen, ui: dict[str, str], study: Results
) -> None:
    page = seen.open(run_page(ui, study.run_id, "/artifacts/pictures/learning_rate.png"))
    page.get_by_text("leaderboard.md").wait_for()
    image = page.locator("img[src*='blob:'], img[src*='get-artifact']").first
    image.wait_for()
    seen.until(lambda: image.evaluate("image => image.naturalWidth") > 300)
    seen.shot("artifacts")


def test_a_childs_page_has_what_decided_its_numbers_and_its_curves(
    seen: Seen, ui: dict[str, str], study: Results
) -> None:
    best = study.best
    page = seen.open(run_page(ui, best["run_id"]))
    page.get_by_role("heading", name=best["name"]).wait_for()
    page.get_by_text("optimizer.lr", exact=True).first.wait_for()
    assert page.get_by_text(best["optimizer"], exact=True).first.is_visible()
    seen.shot("child")
    page = seen.open(run_page(ui, best["run_id"], "/model-metrics"))
    page.locator(".js-plotly-plot").first.wait_for()
    seen.until(lambda: sum(lines_of(page)) >= 1)
    seen.shot("child_metrics")


def test_markup_in_names_is_text_in_the_ui(seen: Seen, ui: dict[str, str], folder: Path) -> None:
    from linfit.tracking.read.reader import RunReader
    from linfit.tracking.store.store import resolve_store

    reader = RunReader(resolve_store(f"sqlite:///{folder}/outputs/mlflow.db"))
    experiment = next(key for key, name in reader.experiments.items() if name == SCRIPT)
    [sweep] = [
        run
        for run in reader._search("tags.`linfit.kind` = 'sweep'")
        if run.info.experiment_id == experiment
    ]
    pages = {"runs": re.sub(r"/experiments/\d+/", f"/experiments/{experiment}/", ui["runs"])}
    page = seen.open(pages["runs"])
    page.get_by_text(SCRIPT).first.wait_for()
    page = seen.open(run_page(pages, sweep.info.run_id))
    page.get_by_text(f"{IMAGE}.csv lr=0.01").first.wait_for()
    note = page.get_by_test_id("note-editor-preview-content").first
    assert f"path={IMAGE}.csv" in note.inner_text()
    assert note.locator("img:not([src*='get-artifact'])").count() == 0
    page.wait_for_timeout(1000)
    seen.shot("hostile")


# ---- the report ----


def test_the_report_draws_where_no_frame_is_shown(seen: Seen, folder: Path, study: Results) -> None:
    """A tab in the background gets no frames, and a busy machine few."""
    seen.page.add_init_script("window.requestAnimationFrame = () => 0")
    page = seen.open(study.report(folder / "unseen.html").as_uri())
    page.locator("body[data-drawn]").wait_for()


def test_the_report_asks_for_nothing_draws_sorts_and_filters(
    seen: Seen, folder: Path, study: Results
) -> None:
    file = study.report(folder / "report.html")
    page = seen.open(file.as_uri())
    page.locator("body[data-drawn]").wait_for()
    assert {
        request for request in seen.requests if not request.startswith(("about:", "data:", "blob:"))
    } == {file.as_uri()}
    assert seen.errors == []
    assert all(number > 0 for number in drawn_in(page))
    assert column_of(page, "name")[0] == study.best["name"]
    assert column_of(page, "run_id")[0] == study.best["run_id"][:12]
    for expected in (sorted(map(float, RATES)), sorted(map(float, RATES), reverse=True)):
        page.locator("#table th button").get_by_text("optimizer.lr").click()
        assert list(dict.fromkeys(map(float, column_of(page, "optimizer.lr")))) == expected
    page.locator("#filter").fill("adam optimizer.lr<0.1 seed=1")
    assert column_of(page, "name") == ["adam lr=0.002 seed=1", "adam lr=1e-05 seed=1"]
    assert page.locator("#count").inner_text() == "2 of 16 fits"
    for words, said in FILTERS.items():
        page.locator("#filter").fill(words)
        assert page.locator("#count").inner_text() == said
    page.locator("#filter").fill("status=diverged")
    assert set(column_of(page, "status")) == {"diverged"}
    seen.shot("report")


#: Of the report's sixteen fits.
FILTERS = {
    "lr=0.1": "4 of 16 fits",
    "lr!=0.1 seed!=0": "6 of 16 fits",
    "optimizer!=adam": "8 of 16 fits",
    "seed=2": "0 of 16 fits",
    "nonsense=3": "0 of 16 fits; no column nonsense",
    "lr=>0.1": "0 of 16 fits; >0.1 is no number",
    "optimizer<3": "0 of 16 fits; optimizer is no column of numbers",
}


def test_no_button_and_no_link_of_the_report_leaves_the_file(
    seen: Seen, folder: Path, study: Results
) -> None:
    """Each is clicked, in its place and by its event, with a service that would take a chart."""
    file = study.report(folder / "clicked.html")
    page = seen.open(file.as_uri())
    page.locator("body[data-drawn]").wait_for()
    opened: list[str] = []
    page.context.on("page", lambda other: opened.append(other.url))
    page.on("framenavigated", lambda frame: opened.append(frame.url))
    page.on("websocket", lambda socket: opened.append(socket.url))
    page.evaluate(
        "() => { window.open = (...address) => "
        "{ document.body.dataset.opened = String(address); return null; }; }"
    )
    charts, buttons = page.locator(".js-plotly-plot"), page.locator(".modebar-btn")
    names = set(buttons.evaluate_all("all => all.map(one => one.dataset.title)"))
    assert {"Zoom", "Pan"} <= names and not any(
        re.search("cloud|share|edit", name, re.IGNORECASE) for name in names
    )
    assert buttons.count() >= 4 * charts.count()
    for button in buttons.all():
        button.dispatch_event("click")
    for target in page.locator(
        ":is(button, summary, a, svg a, [role=button], .legendtoggle)"
        ":not(.modebar-btn, .notifier-close, #table td a)"
    ).all():
        target.dispatch_event("click")
    for chart in charts.all():
        chart.dispatch_event("contextmenu")
    page.wait_for_timeout(500)
    assert [
        url
        for url in seen.requests + opened
        if not url.startswith((file.as_uri(), "about:", "data:", "blob:"))
    ] == []
    named = (
        "['href', 'xlink:href', 'action', 'formaction', 'src']"
        ".map(name => one.getAttribute(name)).filter(Boolean)"
    )
    links = page.evaluate(f"[...document.querySelectorAll('*')].flatMap(one => {named})")
    runs = "http://127.0.0.1:5000/#/experiments/"
    assert len(links) >= 5 and all(link.startswith(("#", "data:", runs)) for link in links)
    assert page.locator("body").get_attribute("data-opened") is None


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_axe_finds_nothing_in_the_report(
    browser: Browser, folder: Path, study: Results, scheme: Any
) -> None:
    axe = pytest.importorskip("axe_playwright_python.sync_playwright", reason="needs axe-core")
    file = study.report(folder / "checked.html")
    for width in (390, 1400):
        # The page's own policy would refuse a script from outside.
        context = browser.new_context(
            viewport={"width": width, "height": 900}, color_scheme=scheme, bypass_csp=True
        )
        page = context.new_page()
        page.goto(file.as_uri())
        page.locator("body[data-drawn]").wait_for()
        page.evaluate("() => document.querySelectorAll('details').forEach(one => one.open = true)")
        found = axe.Axe().run(page)
        assert found.violations_count == 0, found.generate_report()
        context.close()


def test_the_focus_stays_when_the_table_is_sorted_and_turned(
    seen: Seen, folder: Path, study: Results
) -> None:
    page = seen.open(study.report(folder / "focus.html").as_uri())
    page.locator("body[data-drawn]").wait_for()
    for button in ("#table th button >> text=optimizer.lr", "#on", "#back"):
        page.locator(button).focus()
        page.keyboard.press("Enter")
        assert page.locator(button).evaluate("one => one === document.activeElement")
    assert page.locator("#table th[aria-sort=ascending]").inner_text().startswith("optimizer.lr")


def test_without_a_script_and_on_paper_the_report_has_its_pictures_and_fits(
    browser: Browser, folder: Path, study: Results
) -> None:
    file = study.report(folder / "still.html")
    context = browser.new_context(java_script_enabled=False)
    page = context.new_page()
    page.goto(file.as_uri())
    stills = page.locator(".still")
    assert stills.count() >= 4 and all(still.is_visible() for still in stills.all())
    assert column_of(page, "name")[0] == study.best["name"]
    assert page.locator("#filter").is_hidden()
    context.close()

    page = browser.new_page()
    page.goto(file.as_uri())
    page.locator("body[data-drawn]").wait_for()
    assert not any(still.is_visible() for still in page.locator(".still").all())
    page.emulate_media(media="print")
    page.evaluate("() => dispatchEvent(new Event('beforeprint'))")
    assert all(still.is_visible() for still in page.locator(".still").all())
    assert page.locator("button:visible, nav:visible, details:not([open])").count() == 0
    page.close()


def drawn_in(page: Page) -> list[int]:
    """How many lines, points and images each picture of the report consists of."""
    shapes = "path.js-line, path.point, .hm image, .contourlayer path"
    count = f"chart => chart.querySelectorAll('{shapes}').length"
    return [
        int(number)
        for number in page.locator(".js-plotly-plot").evaluate_all(f"charts => charts.map({count})")
    ]


def column_of(page: Page, title: str) -> list[str]:
    """What stands in a column of the report's table of fits."""
    titles = [text.split(" ")[0] for text in page.locator("#table th").all_inner_texts()]
    return page.locator(
        f"#table tbody tr td:nth-child({titles.index(title) + 1})"
    ).all_inner_texts()


def test_markup_in_names_is_text_in_the_report(seen: Seen, folder: Path) -> None:
    [file] = [
        file
        for file in folder.glob("outputs/sweeps/*/report.html")
        if "onerror=alert(2)&gt;.csv" in file.read_text()
    ]
    page = seen.open(file.as_uri())
    page.locator("body[data-drawn]").wait_for()
    page.wait_for_timeout(500)
    assert f"in MLflow experiment {SCRIPT}" in page.locator("header").inner_text()
    assert f"{IMAGE}.csv lr=0.01" in column_of(page, "name")
    assert page.locator("img:not(.still)").count() == 0
    assert page.locator("script").count() == 4  # data, Plotly packed and unpacked, the page's own
    assert seen.errors == []


def test_where_pictures_cannot_be_drawn_the_report_says_so(
    seen: Seen, folder: Path, study: Results
) -> None:
    file = study.report(folder / "broken.html")
    text: Any = file.read_text()
    start = text.index('id="plotly">') + len('id="plotly">')
    file.write_text(text[:start] + "!" + text[start:])
    page = seen.open(file.as_uri())
    page.get_by_text("This browser cannot draw the pictures").first.wait_for()
    assert column_of(page, "name")[0] == study.best["name"]
