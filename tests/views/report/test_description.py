"""Descriptions of runs and MLflow experiments in MLflow's UI, and its saved views."""

from __future__ import annotations

import base64
import html
import json
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import linfit as package
from linfit.tracking.schema import descriptions, saved_views

Linfit = Callable[..., Any]
PAIR = ("-m", "optimizer=sgd,adam", "optimizer.lr=0.001,1.0", "seed=0,1", "steps=30")


def state(tag: str) -> dict[str, Any]:
    """The page that a saved view shows, as MLflow's UI unpacks it."""
    envelope = json.loads(tag)
    kind, packed = envelope["state"].split(";")
    assert kind == "deflate"
    assert isinstance(envelope["name"], str)
    assert isinstance(envelope["createdAt"], int)
    content: dict[str, Any] = json.loads(zlib.decompress(base64.b64decode(packed)))
    return content


def run_of(client: Any, experiment: str, kind: str) -> Any:
    found = client.get_experiment_by_name(experiment)
    return client.search_runs([found.experiment_id], f"tags.`linfit.kind` = '{kind}'")[0]


def excess_losses(client: Any, experiment: str) -> list[float]:
    """The excess losses of the fits that finished."""
    found = client.get_experiment_by_name(experiment)
    completed = "tags.`linfit.status` = 'completed' AND tags.`linfit.kind` = 'fit'"
    runs = client.search_runs([found.experiment_id], completed)
    return [run.data.metrics["excess_loss"] for run in runs]


# ---- runs ----


def test_a_single_run_says_what_was_asked_what_came_out_and_how_to_run_it_again(
    linfit: Linfit, client: Any
) -> None:
    linfit("run", "article/linear_adam", "steps=50")
    note = run_of(client, "article", "fit").data.tags[descriptions.NOTE_TAG]
    asked, came, again = note.split("\n\n")[:3]
    assert asked == "**Level 4: nn.Linear, autograd and torch.optim.Adam**"
    assert came.startswith("Completed after 50 updates with loss ")
    assert "the exact optimum is x_squared = 2.02422, one = 2.96617" in html.unescape(came)
    assert again == "Again: `linfit run article/linear_adam steps=50`"


def test_a_sweep_says_how_its_fits_ended_and_names_the_best(linfit: Linfit, client: Any) -> None:
    linfit("run", *PAIR)
    parent = run_of(client, "adhoc", "sweep")
    note = parent.data.tags[descriptions.NOTE_TAG]
    assert "8 fits: 6 completed, 2 diverged." in note
    experiment_id = parent.info.experiment_id
    completed = "tags.`linfit.status` = 'completed' AND tags.`linfit.kind` = 'fit'"
    fits = client.search_runs([experiment_id], completed)
    best = min(fits, key=lambda run: run.data.metrics["excess_loss"])
    address = f"#/experiments/{experiment_id}/runs/{best.info.run_id}"
    page = f"{address}?workflowType=machine_learning"
    assert f"[`{best.info.run_name}`]({page})" in note
    assert (
        "Again: `linfit run -m optimizer=sgd,adam optimizer.lr=0.001,1.0 seed=0,1 steps=30`" in note
    )
    assert descriptions.NOTE_TAG not in best.data.tags  # a child has none


@pytest.mark.pictures
def test_a_sweeps_page_shows_leaderboard_report_and_pictures(linfit: Linfit, client: Any) -> None:
    linfit("run", *PAIR)
    parent = run_of(client, "adhoc", "sweep")
    note = parent.data.tags[descriptions.NOTE_TAG]
    assert (
        "| rank&nbsp;&nbsp; | method&nbsp;&nbsp; |" in note
    )  # MLflow's UI leaves no room between cells
    assert (
        f"(#/experiments/{parent.info.experiment_id}/runs/{parent.info.run_id}/artifacts/report.html?"
        in note
    )
    pictures = {
        file.path
        for file in client.list_artifacts(parent.info.run_id, "pictures")
        if file.path.endswith(".png")
    }
    assert pictures
    assert all(
        f"path={path.replace('/', '%2F')}&run_uuid={parent.info.run_id}" in note
        for path in pictures
    )
    assert len(note) <= descriptions.MAX_RUN_NOTE


def test_an_interrupted_run_still_says_what_was_asked(
    linfit: Linfit, client: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupt(*anything: Any) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("linfit.sweeps.run.single_run.fit_as_completed", interrupt)
    linfit("run", "seed=4")
    run = run_of(client, "adhoc", "fit")
    assert run.info.status == "KILLED"
    assert run.data.tags[descriptions.NOTE_TAG].endswith("Asked by `linfit run seed=4`")


def test_a_store_that_refuses_a_description_does_not_fail_the_run(
    linfit: Linfit, client: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*anything: Any) -> None:
        raise OSError("no")

    monkeypatch.setattr("linfit.tracking.write.database.DatabaseRecorder.set_tags", refuse)
    done = linfit("run", "steps=3")
    assert done.code == 0
    assert "linfit: the description could not be made" in done.err


# ---- experiments ----


def test_an_experiment_keeps_what_each_of_its_files_asked_and_what_a_person_wrote(
    linfit: Linfit, client: Any
) -> None:
    linfit("run", "article/linear_adam", "steps=5")
    own = client.get_experiment_by_name("article")
    client.set_experiment_tag(
        own.experiment_id,
        descriptions.NOTE_TAG,
        own.tags[descriptions.NOTE_TAG] + descriptions.NOTE_RULE + "My own thoughts",
    )
    linfit("run", "article/tensor_manual", "steps=5")
    linfit("run", "article/linear_adam", "steps=7")
    tags = client.get_experiment_by_name("article").tags
    blocks = tags[descriptions.NOTE_TAG].split(descriptions.NOTE_RULE)
    assert [block.partition("\n")[0][:9] for block in blocks] == [
        "**Level 4",
        "**Level 1",
        "My own th",
    ]
    assert "steps=7" in blocks[0]
    assert tags["mlflow.experimentKind"] == "custom_model_development"


def test_names_and_questions_are_shown_as_text(linfit: Linfit, client: Any, workdir: Path) -> None:
    (workdir / "experiments").mkdir()
    (workdir / "experiments" / "hostile.yaml").write_text(
        "# @package _global_\n# Is <script>alert(1)</script> *bold*?\n"
        "defaults: [/linfit, _self_]\nname: <script>alert(2)</script>\n"
    )
    linfit("run", "hostile", "steps=3")
    experiment = client.get_experiment_by_name("<script>alert(2)</script>")
    note = experiment.tags[descriptions.NOTE_TAG]
    asked = note.partition("\n")[0]
    assert "<" not in asked
    assert html.unescape(asked) == "**Is <script>alert(1)</script> *bold*?**"
    outside_code = "".join(note.split("`")[::2])
    assert "<" not in outside_code


@pytest.mark.parametrize(
    ("text", "shown"),
    [("a b", "`a b`"), ("a`b", "`` a`b ``"), ("a``b`", "``` a``b` ```"), ("a\nb", "`a b`")],
)
def test_code_is_fenced_by_more_backticks_than_it_has(text: str, shown: str) -> None:
    assert descriptions.format_code(text) == shown


def test_a_number_ends_no_line_at_its_minus_and_code_is_copied_as_it_is() -> None:
    text = "a 1.2e-05 to 3e-7, `lr=1e-05`, ``x` 1e-3``, some-thing-2, e-5"
    shown = "a 1.2e‑05 to 3e‑7, `lr=1e-05`, ``x` 1e-3``, some-thing-2, e-5"  # noqa: RUF001
    assert descriptions.keep_numbers_whole(text) == shown


def test_a_command_is_without_passwords_and_output_folders() -> None:
    typed = descriptions.format_run_command(
        ["a b", "tracking.uri=http://me:secret@host", "hydra.sweep.dir=/x", "filter='c'"]
    )
    assert typed == """linfit run 'a b' 'tracking.uri=http://me:***@host' 'filter='"'"'c'"'"''"""


def test_a_description_is_no_longer_than_mlflow_keeps() -> None:
    block = "**new**\n\nanswer"
    old = descriptions.NOTE_RULE.join(f"**{i}**\n\n{'x' * 1500}" for i in range(5))
    assert len(descriptions.replace_note_block(old, block)) <= descriptions.MAX_EXPERIMENT_NOTE
    assert descriptions.replace_note_block(old, block).startswith(block)
    assert descriptions.join_paragraphs(["a" * 5000, "b" * 5000, "c"]) == "a" * 5000 + "\n\nc"


# ---- saved views ----


@pytest.mark.matrix
def test_the_leaderboard_has_swept_numbers_as_columns_that_sort(
    linfit: Linfit, client: Any
) -> None:
    linfit("run", *PAIR)
    tags = client.get_experiment_by_name("adhoc").tags
    board = state(tags[saved_views.VIEW_TAG_PREFIX + saved_views.LEADERBOARD_VIEW])
    assert board["selectedColumns"][:5] == [
        "tags.`linfit.status`",
        "metrics.`excess_loss`",
        "params.`optimizer`",
        "metrics.`hparam/optimizer.lr`",
        "metrics.`hparam/seed`",
    ]
    assert (board["orderByKey"], board["orderByAsc"]) == ("metrics.`excess_loss`", True)
    found = client.search_runs(
        [client.get_experiment_by_name("adhoc").experiment_id], board["searchFilter"]
    )
    assert len(found) == 8
    selected = (column for column in board["selectedColumns"] if column.startswith("metrics."))
    known = {key for run in found for key in run.data.metrics}
    assert {column.split("`")[1] for column in selected} <= {*known, "steps_to_tolerance"}


def test_the_curves_stand_on_log_axes_without_means_over_seeds(linfit: Linfit, client: Any) -> None:
    linfit("run", *PAIR)
    curves = state(
        client.get_experiment_by_name("adhoc").tags[
            saved_views.VIEW_TAG_PREFIX + saved_views.CURVES_VIEW
        ]
    )
    assert [chart["metricKey"] for chart in curves["compareRunCharts"]] == ["excess_loss", "loss"]
    assert {
        (chart["scaleType"], chart["xAxisScaleType"]) for chart in curves["compareRunCharts"]
    } == {("log", "log")}
    assert curves["groupBy"] is None


def test_a_sweep_that_is_run_again_shows_each_fit_once(linfit: Linfit, client: Any) -> None:
    for _ in range(2):
        linfit("run", *PAIR)
    experiment = client.get_experiment_by_name("adhoc")
    shown = {
        view: state(experiment.tags[saved_views.VIEW_TAG_PREFIX + view])["searchFilter"]
        for view in (
            saved_views.LEADERBOARD_VIEW,
            saved_views.CURVES_VIEW,
            saved_views.SWEEPS_VIEW,
        )
    }
    found = [len(client.search_runs([experiment.experiment_id], words)) for words in shown.values()]
    assert found == [8, 8, 2]


@pytest.mark.pictures
@pytest.mark.parametrize("pictures", ["true", "false"])
def test_a_sweeps_run_names_the_first_of_the_leaderboard(
    linfit: Linfit, client: Any, pictures: str
) -> None:
    linfit("run", *PAIR, f"pictures={pictures}")
    parent = run_of(client, "adhoc", "sweep").data
    assert parent.tags["linfit.best_method"] == package.load("last").comparison.entries[0].name
    best = min(excess_losses(client, "adhoc"))
    assert parent.metrics["best_excess_loss"] == best


def test_a_single_run_makes_the_views_but_does_not_replace_a_sweeps(
    linfit: Linfit, client: Any
) -> None:
    linfit("run", "steps=3")
    first = client.get_experiment_by_name("adhoc").tags
    linfit("run", *PAIR)
    swept = client.get_experiment_by_name("adhoc").tags
    linfit("run", "steps=3")
    after = client.get_experiment_by_name("adhoc").tags
    board = saved_views.VIEW_TAG_PREFIX + saved_views.LEADERBOARD_VIEW
    assert first[board] != swept[board] == after[board]
    assert all(len(value) <= descriptions.MAX_EXPERIMENT_NOTE for value in after.values())


def test_very_many_swept_keys_make_a_view_that_mlflow_still_keeps() -> None:
    keys = [f"group.very_long_hyperparameter_name_{i}" for i in range(200)]
    made = saved_views.build_views(0, keys, keys)
    assert all(len(tag) <= descriptions.MAX_EXPERIMENT_NOTE for tag in made.values())


def test_the_pages_of_the_newest_run_are_known(linfit: Linfit, client: Any) -> None:
    from linfit.tracking.store.store import resolve_store
    from linfit.views.ui.server import find_pages

    assert find_pages(resolve_store()) == {}
    linfit("run", "article/linear_adam", "steps=2")
    experiment = client.get_experiment_by_name("article").experiment_id
    found = find_pages(resolve_store())
    assert list(found) == ["runs", "sweeps", "leaderboard", "curves"]
    assert all(
        page.startswith(f"#/experiments/{experiment}/runs?workflowType=machine_learning")
        for page in found.values()
    )
