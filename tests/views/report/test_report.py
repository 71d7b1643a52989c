"""`linfit report`, its page, and Python's results: read from MLflow, escaped, nothing fetched."""

from __future__ import annotations

import json
import os
import re
import shlex
import shutil
from collections.abc import Callable
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

import linfit as package
from linfit.errors import ConfigError, LinfitError
from linfit.views.analysis.compare import compare_methods
from linfit.views.analysis.sweep_data import SweepData
from linfit.views.report.artifacts import plot_sweep
from linfit.views.report.page import render_page
from linfit.views.results import Results

Linfit = Callable[..., Any]


class Tags(HTMLParser):
    """The tags of a page with their attributes, and the text in each kind of tag."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.texts: dict[str, list[str]] = {}
        self.open: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        while self.open and self.open.pop() != tag:
            pass

    def handle_data(self, data: str) -> None:
        if self.open:
            self.texts.setdefault(self.open[-1], []).append(data)


def page_of(swept: SweepData, question: str = "") -> tuple[str, Tags]:
    comparison = compare_methods(swept)
    text = render_page(swept, comparison, plot_sweep(swept, comparison), question)
    return text, Tags(text)


def data_of(text: str) -> Any:
    [found] = re.findall(r'<script type="application/json" id="data">(.*?)</script>', text, re.S)
    return json.loads(found)


@pytest.mark.matrix
def test_the_page_has_every_fit_and_every_part(usual: SweepData) -> None:
    text, tags = page_of(usual, "Which is best?")
    table = data_of(text)["table"]
    assert len(table["columns"][table["titles"].index("name")]) == 48
    assert table["titles"][:8] == [
        "row",
        "name",
        "excess_loss",
        "status",
        "loss",
        "optimizer",
        "optimizer.lr",
        "seed",
    ]
    assert table["titles"][-1] == "weights"  # and the ids of runs, where there are some
    assert len(data_of(text)["charts"]) == sum(tag == "figure" for tag, _ in tags.tags) >= 5
    assert "Which is best?" in text
    assert compare_methods(usual).summarize() in "".join(tags.texts["p"])
    assert "48 fits: 40 completed, 8 diverged" in "".join(tags.texts["p"])


@pytest.mark.parametrize(
    ("objective", "title", "descending"),
    [
        ("auto", "validation_loss", False),
        ("validation_r2", "validation_r2", True),
        ("excess_loss", "excess_loss", False),
    ],
)
def test_fits_stand_in_the_order_of_what_the_leaderboard_compares(
    objective: str, title: str, descending: bool, swept_of: Callable[..., SweepData]
) -> None:
    given = ("optimizer.lr=0.01,0.001", "seed=0,1", "steps=5", "split.validation=0.2")
    text, _ = page_of(swept_of(*given, f"objective={objective}"))
    data = data_of(text)
    assert data["table"]["titles"][data["sorted"]] == title
    assert data["descending"] == descending


def test_the_page_fetches_nothing_and_says_so_to_the_browser(usual: SweepData) -> None:
    text, tags = page_of(usual)
    attributes = [attribute for _, given in tags.tags for attribute in given.items()]
    addresses = {str(value) for key, value in attributes if key in ("src", "href")}
    assert {address for address in addresses if not address.startswith("data:")} == {
        "#leaderboard", "#pictures", "#fits", "#trouble", "#again"
    }  # fmt: skip
    policy = next(
        given["content"]
        for tag, given in tags.tags
        if given.get("http-equiv") == "Content-Security-Policy"
    )
    assert policy is not None and policy.startswith("default-src 'none'")
    assert "@import" not in text.split("</style>")[0]


def test_every_column_says_what_it_is(usual: SweepData) -> None:
    _, tags = page_of(usual)
    columns = set(tags.texts["abbr"])
    assert all(given["title"] for tag, given in tags.tags if tag == "abbr")
    assert columns >= {"rank", "method", "excess loss", "× first", "status", "optimizer.lr"}
    assert columns <= set(tags.texts["dt"])  # the legends


def test_what_a_user_named_is_text(usual: SweepData) -> None:
    named = SweepData(
        '</title><script>alert("name")</script>', "<img src=x onerror=alert(1)>", "", usual.files
    )
    named.__dict__["results"] = usual.results.assign(name="</script><script>alert(2)</script>")
    text, tags = page_of(named, "<b>?</b>")
    assert sum(tag == "script" for tag, _ in tags.tags) == 3  # data, Plotly, our own
    pictures = [given for tag, given in tags.tags if tag == "img"]
    assert all(str(given["src"]).startswith("data:image/svg+xml;base64,") for given in pictures)
    assert not [tag for tag, _ in tags.tags if tag == "b"]
    assert tags.texts["h1"] == ['</title><script>alert("name")</script>']
    assert data_of(text)["table"]["columns"][1][0] == "</script><script>alert(2)</script>"
    assert "<script>" not in Results(named)._repr_html_()


def test_diverged_and_failed_fits_are_listed_with_why(usual: SweepData) -> None:
    changed = SweepData(usual.name, usual.experiment, "", usual.files)
    results = usual.results.copy()
    error = pd.Series([None] * len(results), dtype=object)
    error[0] = "Traceback\n  here\nRuntimeError: <boom>"
    results.loc[results["diverged_at_step"].last_valid_index(), "diverged_at_step"] = 9
    changed.__dict__["results"] = results.assign(
        status=["failed", *results["status"][1:]], error=error
    )
    _, tags = page_of(changed)
    cells = tags.texts["td"]
    assert "RuntimeError: <boom>" in cells
    [why] = [cell for cell in cells if cell.startswith("at step")]  # the same of all eight
    assert why.startswith("at steps 2 to 9: the loss was not finite")
    assert why.endswith("; the learning rate 1 is above the largest stable one, 0.007803")
    folded = [text for text in tags.texts["summary"] if text != "What the columns mean"]
    assert folded == ["traceback", "and 7 more"]
    assert tags.texts["pre"][0] == "Traceback\n  here\nRuntimeError: <boom>"


@pytest.fixture
def recorded(workdir: Path) -> Results:
    return package.sweep(
        [
            "optimizer=sgd,adam",
            "optimizer.lr=0.001,1.0",
            "seed=range(0,6)",
            "steps=40",
            'name="a <b>"',
        ]
    )


@pytest.mark.matrix
@pytest.mark.read_only
def test_a_sweep_is_loaded_as_it_was(recorded: Results, linfit: Linfit, workdir: Path) -> None:
    loaded = package.load("last")
    pd.testing.assert_frame_equal(loaded.table, recorded.table)
    assert loaded.run_id == recorded.run_id
    pd.testing.assert_frame_equal(
        package.load(recorded.run_id[:10]).leaderboard, recorded.leaderboard
    )
    assert loaded.best["run_id"] == recorded.table.sort_values("excess_loss")["run_id"].iloc[0]
    assert list(loaded.table.columns[:6]) == [
        "row",
        "name",
        "run_id",
        "optimizer",
        "optimizer.lr",
        "seed",
    ]

    done = linfit("report")
    assert done.code == 0, done.err
    lines = done.out.splitlines()
    assert lines[0] == recorded.comparison.summarize()
    ranked = [
        [str(rank), entry.method] for rank, entry in enumerate(recorded.comparison.entries, 1)
    ]
    assert [line.split()[:2] for line in lines[2:4]] == ranked
    assert "a &lt;b&gt;" in (workdir / "report.html").read_text()
    found = json.loads(linfit("report", recorded.run_id, "--json", "--output", "other.html").out)
    assert found["leaderboard"][0]["factor"] == 1.0
    assert (workdir / found["report"]).exists()
    (workdir / "link.html").symlink_to("other.html")
    (workdir / "other.html").write_text("old", encoding="utf-8")
    assert linfit("report", "--output", "link.html").code == 0
    assert (workdir / "link.html").is_symlink()
    assert "<html" in (workdir / "other.html").read_text(encoding="utf-8")
    (workdir / "null").symlink_to(os.devnull)  # a device is written to, and stays one
    assert linfit("report", "--output", "null").code == 0
    assert not Path(os.devnull).is_file()

    wrong = linfit("report", "--output", "no/folder/report.html")
    assert (wrong.code, wrong.err.count("\n")) == (2, 1)
    assert "no/folder/report.html cannot be written" in wrong.err
    assert linfit("run", "steps=2").code == 0
    single = json.loads(linfit("show", "last", "--json").out)["run_id"]
    assert f"run {single} is no sweep" in linfit("report", single).err


def test_pictures_on_request(usual: SweepData) -> None:
    results = Results(usual)
    assert results.plot("heat_map", x="seed", y="optimizer").axes[0].get_xlabel() == "seed"
    assert results.plot("learning_rate").axes[0].get_xscale() == "log"
    with pytest.raises(ConfigError, match="no picture 'curvs': did you mean 'curves'"):
        results.plot("curvs")
    with pytest.raises(ConfigError, match="curves takes no x and y"):
        results.plot("curves", x="seed")


def test_a_picture_that_makes_no_sense_and_a_sweep_without_a_best(
    swept_of: Callable[..., SweepData],
) -> None:
    with pytest.raises(ConfigError, match="heat_map makes no sense for a sweep that varies seed"):
        Results(swept_of("seed=range(0,6)")).plot("heat_map")
    with pytest.raises(LinfitError, match="all 4 diverged or failed"):
        _ = Results(swept_of("optimizer=sgd", "optimizer.lr=1.0,10.0", "seed=0,1")).best


@pytest.mark.read_only
@pytest.mark.pictures
def test_a_recorded_sweep_has_its_report_on_its_page(
    linfit: Linfit, workdir: Path, client: Any
) -> None:
    done = linfit("run", "-m", "optimizer=sgd,adam", "optimizer.lr=0.001,0.01", "steps=5")
    assert done.err.count("\n") <= 2  # the bar
    experiment = client.get_experiment_by_name("adhoc")
    [parent] = client.search_runs([experiment.experiment_id], "tags.`linfit.kind` = 'sweep'")
    files = {file.path for file in client.list_artifacts(parent.info.run_id)}
    assert files >= {
        "report.html",
        "leaderboard.md",
        "leaderboard.csv",
        "leaderboard.parquet",
        "pictures",
    }
    drawn = {file.path for file in client.list_artifacts(parent.info.run_id, "pictures")}
    assert {
        "pictures/learning_rate.png",
        "pictures/learning_rate.svg",
        "pictures/heat_map.png",
    } <= drawn
    children = client.search_runs(
        [experiment.experiment_id], f"tags.`mlflow.parentRunId` = '{parent.info.run_id}'"
    )
    assert len(children) == 4
    assert not any(client.list_artifacts(child.info.run_id) for child in children)
    assert "report    outputs/sweeps/" in done.out


@pytest.mark.pictures
def test_the_report_says_what_was_asked_and_how_to_ask_it_again(
    linfit: Linfit, workdir: Path
) -> None:
    study = workdir / "experiments" / "which.yaml"
    study.parent.mkdir()
    study.write_text(
        "# @package _global_\n# Which of the two? linfit run which\n"
        "defaults: [/linfit, _self_]\nsteps: 5\n"
    )
    linfit("run", "which", "-m", "optimizer.lr=0.01,0.02")
    study.unlink()  # the sweep knows what it was asked
    [file] = workdir.glob("outputs/sweeps/*/report.html")
    tags = Tags(file.read_text())
    assert tags.texts["p"][0] == "Which of the two?"
    [commands] = tags.texts["pre"]
    run_id = tags.texts["code"][0]
    assert [line.split("  ")[0] for line in commands.splitlines()] == [
        "linfit run which -m optimizer.lr=0.01,0.02",
        *(f"linfit {command} {run_id}" for command in ("reproduce", "verify", "show")),
    ]


@pytest.mark.pictures
def test_every_command_of_the_report_runs_as_it_is_printed(
    linfit: Linfit,
    workdir: Path,
    migrated_store: Path,
    tmp_path_factory: pytest.TempPathFactory,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """With plug-ins, data elsewhere and another store they need more than an id."""
    elsewhere = tmp_path_factory.mktemp("not here")
    for name, last in (("a", 3), ("b", 5)):
        (elsewhere / name).mkdir()
        (elsewhere / name / "points.csv").write_text(f"x,y\n1,1\n2,2\n3,{last}\n")
    (elsewhere / "report_plugin.py").write_text("")
    monkeypatch.syspath_prepend(elsewhere)
    shutil.copy(migrated_store, elsewhere / "mlflow.db")
    data = ",".join(f'"{elsewhere}/{name}/points.csv"' for name in "ab")
    asked = [
        "dataset=csv",
        f"dataset.path={data}",
        "dataset.features=[x]",
        "dataset.target=y",
        "plugins=[report_plugin]",
        "steps=3",
    ]
    ran = linfit("run", "-m", *asked, f"tracking.uri=sqlite:///{elsewhere}/mlflow.db")
    assert ran.code == 0, ran.err
    [file] = workdir.glob("outputs/sweeps/*/report.html")
    printed = [
        shlex.split(line, comments=True)
        for line in Tags(file.read_text()).texts["pre"][0].splitlines()
    ]
    assert [words[1] for words in printed] == ["run", "reproduce", "verify", "show"]
    for words in printed:
        done = linfit(*words[1:])
        assert done.code == 0, (words, done.err)
    needless = [
        [word for word in words if word != "--trust"] for words in printed if "--trust" in words
    ]
    assert len(needless) == 2 and [linfit(*words[1:]).code for words in needless] == [2, 2]
