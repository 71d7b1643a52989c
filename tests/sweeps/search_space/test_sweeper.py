"""Kinds of sweeps: their jobs in order, and what is refused before anything runs."""

from __future__ import annotations

import math
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from hydra._internal.callbacks import Callbacks
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.plugins import Plugins
from hydra.types import HydraContext, RunMode
from hypothesis import given, settings
from hypothesis import strategies as st

import linfit
from linfit.errors import ConfigError
from linfit.sweeps.compose.arguments import parse_flags
from linfit.sweeps.compose.request import start_hydra
from linfit.sweeps.plan.enumerate import enumerate_jobs
from linfit.sweeps.run.hydra_app import execute
from linfit.sweeps.run.hydra_task import HydraTask
from linfit.sweeps.search_space.axes import MAX_FITS, render_value
from linfit.sweeps.search_space.filters import JobFilter
from linfit.sweeps.search_space.run_names import name_sweep
from linfit.sweeps.search_space.sweeper import (
    SweepSpec,
    defer_swept_values,
    generate_jobs,
    validate_sweep_spec,
)
from linfit.tracking.schema.grid_labels import GridLabel


@pytest.fixture(autouse=True)
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working directory of its own, in which nothing may appear unless a sweep ran."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


def jobs(*arguments: str, **settings: Any) -> list[list[str]]:
    return list(generate_jobs(validate_sweep_spec(settings), arguments))


def test_a_grid_varies_the_last_key_fastest_and_the_command_line_wins() -> None:
    assert jobs("seed=0,1", "steps=5", params={"optimizer": "adam,sgd", "seed": 7}) == [
        ["optimizer=adam", "seed=0", "steps=5"],
        ["optimizer=adam", "seed=1", "steps=5"],
        ["optimizer=sgd", "seed=0", "steps=5"],
        ["optimizer=sgd", "seed=1", "steps=5"],
    ]
    assert jobs("++seed=1", params={"seed": "1,2"}) == [["++seed=1"]]
    assert jobs() == [[]]


def test_every_kind_of_value_becomes_an_override_that_hydra_reads_back() -> None:
    assert jobs("seed=range(0,3)") == [["seed=0"], ["seed=1"], ["seed=2"]]
    assert jobs("a=range(0,1,0.5)") == [["a=0.0"], ["a=0.5"]]
    assert jobs("a='x,y',[1,2],null,{b:1}") == [["a='x,y'"], ["a=[1,2]"], ["a=null"], ["a={b:1}"]]
    assert jobs("a=choice('x?a=1&b=2','true',x)") == [["a='x?a=1&b=2'"], ["a='true'"], ["a=x"]]
    assert jobs("~a", "+b=1,2") == [["~a", "+b=1"], ["~a", "+b=2"]]
    assert jobs("a=choice(1,2)", "b=sort(3,1)") == [
        ["a=1", "b=1"],
        ["a=1", "b=3"],
        ["a=2", "b=1"],
        ["a=2", "b=3"],
    ]


def test_shuffle_is_seeded() -> None:
    one, same, other = (jobs("seed=shuffle(range(0,20))", seed=seed) for seed in (0, 0, 1))
    assert one == same != other
    assert sorted(one) == sorted(other) == sorted([f"seed={i}"] for i in range(20))


def test_paired_keys_vary_together_and_are_crossed_with_the_grid() -> None:
    pairs = [{"keys": ["optimizer", "optimizer.lr"], "values": [["sgd", 0.1], ["adam", 0.01]]}]
    assert jobs("seed=0,1", pairs=pairs) == [
        ["optimizer=sgd", "optimizer.lr=0.1", "seed=0"],
        ["optimizer=sgd", "optimizer.lr=0.1", "seed=1"],
        ["optimizer=adam", "optimizer.lr=0.01", "seed=0"],
        ["optimizer=adam", "optimizer.lr=0.01", "seed=1"],
    ]
    assert jobs("optimizer.lr=1", pairs=pairs) == [
        ["optimizer=sgd", "optimizer.lr=1"],
        ["optimizer=adam", "optimizer.lr=1"],
    ]
    assert jobs("optimizer.lr=1", "optimizer=sgd", pairs=pairs) == [
        ["optimizer.lr=1", "optimizer=sgd"]
    ]
    assert jobs(pairs=[{"keys": ["a", "b"], "values": [["x, y", [1, None]]]}]) == [
        ["a='x, y'", "b=[1,null]"]
    ]


def test_grids_come_one_after_the_other_each_with_params_and_pairs() -> None:
    grids = [{"steps": "1,2"}, {"dtype": "float64"}]
    assert jobs(grids=grids, params={"seed": 0}, pairs=[{"keys": ["a"], "values": [[1]]}]) == [
        ["a=1", "steps=1", "seed=0"],
        ["a=1", "steps=2", "seed=0"],
        ["a=1", "dtype=float64", "seed=0"],
    ]
    assert jobs("steps=9", grids=grids) == [["steps=9"], ["dtype=float64", "steps=9"]]


@pytest.mark.matrix
def test_draws_are_seeded_and_lie_where_they_should() -> None:
    space = [
        "a=interval(-1,1)",
        "b=tag(log,interval(1e-4,1))",
        "c=int(interval(1,6))",
        "d=tag(log,int(interval(1,100)))",
        "e=x,y",
        "f=range(0,4)",
    ]
    drawn = jobs(*space, sample=4000)
    assert drawn == jobs(*space, sample=4000)
    assert drawn != jobs(*space, sample=4000, seed=1)
    columns = [
        [override.partition("=")[2] for override in column] for column in zip(*drawn, strict=True)
    ]
    a, b = (list(map(float, column)) for column in columns[:2])
    c, d = (list(map(int, column)) for column in columns[2:4])
    assert -1 <= min(a) < -0.99 < 0.99 < max(a) < 1
    assert abs(sum(a) / len(a)) < 0.05
    assert 1e-4 <= min(b) < max(b) < 1
    assert abs(sum(map(math.log10, b)) / len(b) + 2) < 0.1
    assert {value: abs(c.count(value) / len(c) - 1 / 6) < 0.03 for value in c} == dict.fromkeys(
        range(1, 7), True
    )
    assert min(d) == 1
    assert max(d) > 90
    assert abs(sum(value < 10 for value in d) / len(d) - 0.5) < 0.12
    assert {
        value: abs(columns[4].count(value) / len(drawn) - 0.5) < 0.03 for value in columns[4]
    } == {"x": True, "y": True}
    assert set(columns[5]) == set("0123")


def test_more_draws_begin_with_fewer_and_a_key_more_leaves_the_others() -> None:
    few, many = (jobs("a=interval(0,1)", "b=1,2,3", sample=sample) for sample in (5, 50))
    assert many[:5] == few
    assert [
        job[:2] for job in jobs("a=interval(0,1)", "b=1,2,3", "c=interval(0,1)", sample=5)
    ] == few


def test_the_label_of_a_grid_is_the_last_override_of_its_jobs() -> None:
    grids = [{"m": "0,0.9", "label": "mit Impuls", "n": 1}, {"o": "adam"}]
    label = 'hydra.sweeper.label=["mit Impuls","m","seed"]'
    assert jobs("seed=0,1", grids=grids) == [
        ["m=0", "n=1", "seed=0", label],
        ["m=0", "n=1", "seed=1", label],
        ["m=0.9", "n=1", "seed=0", label],
        ["m=0.9", "n=1", "seed=1", label],
        ["o=adam", "seed=0"],
        ["o=adam", "seed=1"],
    ]
    assert jobs("m=1", "n=2", grids=grids[:1]) == [
        ["m=1", "n=2", GridLabel("mit Impuls", ()).override]
    ]
    drawn = jobs(sample=40, grids=[{"m": "interval(0,1)", "label": "drawn"}, {"n": "1,2"}])
    unlabelled = jobs(sample=40, grids=[{"m": "interval(0,1)"}, {"n": "1,2"}])
    assert [own[:1] for own in drawn] == unlabelled
    assert {own[-1] for own in drawn if own[0].startswith("m=")} == {
        GridLabel("drawn", ("m",)).override
    }


def test_the_labels_of_a_pair_stand_for_the_keys_of_its_rows() -> None:
    pairs = [{"keys": ["o", "lr"], "values": [["sgd", 0.1], ["adam", 0.01]], "labels": ["A", "B"]}]
    first, second = (GridLabel(text, ("seed",)).override for text in "AB")
    assert jobs("seed=0,1", pairs=pairs) == [
        ["o=sgd", "lr=0.1", first, "seed=0"],
        ["o=sgd", "lr=0.1", first, "seed=1"],
        ["o=adam", "lr=0.01", second, "seed=0"],
        ["o=adam", "lr=0.01", second, "seed=1"],
    ]
    assert jobs("o=sgd", "lr=1", pairs=pairs) == [["o=sgd", "lr=1"]]
    several = [{**pairs[0], "values": [["sgd", "geomspace(0.1,1,2)"], ["adam", 0.01]]}]
    found = [job[2] for job in jobs(pairs=several)]
    assert found == [GridLabel("A", ("lr",)).override] * 2 + [GridLabel("B", ()).override]


PAIR = {"keys": ["seed"], "values": [[0], [1]]}
#: Labels of a pair's rows, other settings, and what is said.
BAD_ROW_LABELS = {
    "too few": (["a"], {}, r"pairs\[0\].labels: got 1, must be one for each of the 2 rows"),
    "no text": (["a", 5], {}, r"pairs\[0\].labels\[1\]: got 5, must be text of 1 to 60"),
    "twice": (["a", "a"], {}, r"labels\[0\] and pairs\[0\].labels\[1\] are both labelled 'a'"),
    "of a grid too": (
        ["a", "b"],
        {"grids": [{"steps": 1, "label": "c"}]},
        r"grids\[0\] and pairs\[0\].labels\[0\] are both labelled, and a fit has one label",
    ),
}


@pytest.mark.parametrize(("labels", "more", "message"), BAD_ROW_LABELS.values(), ids=BAD_ROW_LABELS)
def test_labels_of_rows_that_cannot_be_are_refused(
    labels: list[Any], more: dict[str, Any], message: str
) -> None:
    with pytest.raises(ConfigError, match=message) as bad:
        jobs(pairs=[{**PAIR, "labels": labels}], **more)
    assert "\n" not in str(bad.value)


BAD_LABELS = {
    "empty": "",
    "number": 5,
    "list": ["a"],
    "lines": "a\nb",
    "blanks": " a",
    "long": "x" * 61,
}


@pytest.mark.parametrize("label", BAD_LABELS.values(), ids=BAD_LABELS)
def test_a_label_that_cannot_stand_in_a_name_is_refused(label: Any) -> None:
    with pytest.raises(
        ConfigError, match=r"grids\[1\].label: got .*, must be text of 1 to 60"
    ) as bad:
        jobs(grids=[{"seed": 0}, {"seed": 1, "label": label}])
    assert "\n" not in str(bad.value)


def test_a_label_of_two_different_grids_is_refused() -> None:
    grids = [{"seed": 0, "label": "a"}, {"seed": 1, "label": "b"}, {"seed": 2, "label": "a"}]
    with pytest.raises(ConfigError, match=r"grids\[0\] and grids\[2\] are both labelled 'a'"):
        jobs(grids=grids)
    assert len(jobs(grids=[grids[0], grids[0]])) == 2


#: Keys that vary, the number of fits if it is known, and the name of a sweep without an experiment.
SWEEP_NAMES = {
    "some": (("optimizer", "optimizer.lr", "seed"), 90, "optimizer × lr × seed, 90 fits"),
    "same end": (("dataset.seed", "seed"), 4, "dataset.seed × seed, 4 fits"),
    "one": ((), 1, "1 fit"),
    "many fits": (("seed",), 12_000, "seed, 12,000 fits"),
    "unknown number": (("optimizer.lr",), None, "lr"),
    "nothing known": ((), None, "sweep"),
    "no numbers": (("plugins", "seed"), 2, "seed, 2 fits"),
    "many keys": (
        tuple(f"features.option_{letter}" for letter in "abcdefghij"),
        1024,
        "option_a × option_b × option_c × … × option_j, 1,024 fits",
    ),
}


@pytest.mark.parametrize(("varying", "count", "name"), SWEEP_NAMES.values(), ids=SWEEP_NAMES)
def test_a_sweep_without_an_experiment_is_named_by_what_varies(
    varying: tuple[str, ...], count: int | None, name: str
) -> None:
    assert name_sweep("linfit", varying, count) == name
    assert name_sweep("article/levels", varying, count) == "levels"


def test_draws_take_rows_of_pairs_and_one_of_the_grids() -> None:
    pairs = [{"keys": ["o", "lr"], "values": [["sgd", 0.1], ["adam", 0.01]]}]
    drawn = jobs(sample=60, pairs=pairs, grids=[{"g": 1}, {"h": "interval(0,1)"}])
    assert {tuple(job[:2]) for job in drawn} == {("o=sgd", "lr=0.1"), ("o=adam", "lr=0.01")}
    assert {job[2].partition("=")[0] for job in drawn} == {"g", "h"}
    assert len(jobs("a=range(0,1000000000)", "b=range(0,1000000000)", sample=3)) == 3


@pytest.mark.matrix
def test_a_filter_drops_combinations() -> None:
    assert jobs("o=adam,sgd", "o.lr=0.1,1", filter="o == 'adam' or o.lr < 1") == [
        ["o=adam", "o.lr=0.1"],
        ["o=adam", "o.lr=1"],
        ["o=sgd", "o.lr=0.1"],
    ]
    drawn = jobs("a=interval(0,1)", "b=interval(0,1)", sample=50, filter="a + b < 0.5")
    assert len(drawn) == 50
    assert jobs(grids=[{"m": "0,0.9"}, {"o": "adam"}], filter="not m > 0") == [["m=0"], ["o=adam"]]


@pytest.mark.parametrize(
    ("expression", "expected"),
    [
        ("lr < 0.2", True),
        ("0 < lr <= 0.1", True),
        ("optimizer.lr == 0.5", True),
        ("name in ['a', 'b']", True),
        ("name not in ('a',)", False),
        ("2 * lr ** 2 + 1 == 1.02", True),
        ("-lr < 0", True),
        ("null_key == null", True),
        ("null_key < 1 or null_key >= 1", False),
        ("null_key * 2 == null", True),
        ("flag == true and not flag == false", True),
        ("flag", True),
        ("seed % 2 == 1 and seed // 2 == 1", True),
        ("betas == [0.9, 0.99]", True),
        ("'x' == name", False),
    ],
)
def test_filter_expressions(expression: str, expected: bool) -> None:
    values = {
        "lr": 0.1,
        "optimizer.lr": 0.5,
        "name": "a",
        "flag": True,
        "seed": 3,
        "betas": [0.9, 0.99],
    }
    assert JobFilter(expression, [*values, "null_key"]).should_keep(values) is expected


@pytest.mark.parametrize(
    "expression",
    [
        "__import__('os')",
        "lr.__class__",
        "[x for x in lr]",
        "lambda: 1",
        "lr[0]",
        "(lr := 1)",
        "f'{lr}'",
        "lr if lr else lr",
        "b'x'",
        "lr is 1",
        "1j",
    ],
)
def test_a_filter_is_no_code(expression: str) -> None:
    with pytest.raises(ConfigError, match=r"only keys, values|no swept key"):
        JobFilter(expression, ["lr"])


@given(st.text(max_size=30))
@settings(max_examples=200, derandomize=True, deadline=None)
def test_any_text_as_filter_is_computed_or_refused(expression: str) -> None:
    with suppress(ConfigError):
        assert isinstance(JobFilter(expression, ["lr"]).should_keep({"lr": 1}), bool)


@given(
    st.recursive(
        st.none()
        | st.booleans()
        | st.integers()
        | st.floats(allow_nan=False)
        | st.text(max_size=6),
        lambda part: st.lists(part, max_size=3),
    )
)
@settings(max_examples=200, derandomize=True, deadline=None)
def test_data_are_written_as_hydra_reads_them(value: Any) -> None:
    if isinstance(value, str) and ("${" in value or "\n" in value):
        return
    assert repr(
        OverridesParser.create().parse_override(f"a={render_value(value)}").value()
    ) == repr(value)


HUGE = ["seed=range(0,1000)", "steps=range(0,1000)", "optimizer.lr=range(1,1001)"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["seed=range(0,0)"], r"seed=range\(0,0\) has no values"),
        (["seed=choice()"], r"seed=choice\(\).*empty choice"),
        (["optimizer.lr=", "seed=1,2"], r"optimizer.lr: got ''.*\(in optimizer.lr= seed=1\)"),
        (["seed=range(0,1,0)"], "step 0"),
        (
            ["seed=1,2", "hydra.sweeper.filter='seed > 5'"],
            "filter 'seed > 5' drops every combination",
        ),
        (["seed=1,2", "hydra.sweeper.filter='seed >'"], "filter 'seed >' does not parse"),
        (["seed=1,2", "hydra.sweeper.filter='sed > 1'"], "no swept key 'sed': did you mean 'seed'"),
        (
            ["optimizer=sgd,adam", "hydra.sweeper.filter='optimizer == adam'"],
            "no swept key 'adam'.*text stands in quotes",
        ),
        (["seed=1,2", "hydra.sweeper.filter='seed + 1'"], "gives 2: it has to be true or false"),
        (["seed=1,a", "hydra.sweeper.filter='seed < 2'"], "cannot be computed for seed=a"),
        (
            HUGE,
            r"1,000,000,000 fits \(1,000 seed × 1,000 steps × 1,000 optimizer.lr\), "
            r"the limit is 1,000,000: .*hydra.sweeper.sample",
        ),
        (["seed=range(0,1000000000)"], "1,000,000,000 fits"),
        (["optimizer.lr=range(0,1,0.00000001)"], "100,000,000 values, the limit"),
        (["optimizer.lrr=0.1,0.2"], r"no key 'lrr': did you mean 'lr'.*\(in optimizer.lrr=0.1\)"),
        (
            ["optimizer=sgd,closed_form", "optimizer.lr=0.1,0.2"],
            r"\(in optimizer=closed_form optimizer.lr=0.1\): closed_form has no lr, so leave it "
            r"out, or .* hydra.sweeper.grids=\[{optimizer:closed_form},{optimizer:…,optimizer.lr:",
        ),
        (["optimzer=adam,sgd"], "no key 'optimzer': did you mean 'optimizer'"),
        (
            ["optimizer=adam,sgdd"],
            r"no optimizer 'sgdd': did you mean 'sgd'.*\(in optimizer=sgdd\)",
        ),
        (
            ["optimizer=sgd,adam", "optimizer.lr=0.1,-1", "seed=range(0,5000)"],
            r"optimizer.lr: got -1.*\(in optimizer=sgd optimizer.lr=-1 seed=0\)",
        ),
        (["seed=1,2", "name=a,b"], "name cannot be swept"),
        (["seed=1", "hydra.sweeper.sample=4"], "hydra.sweeper.sample=4 has nothing to draw"),
        (["seed=1,2", "hydra.sweeper.sample=0"], "hydra.sweeper.sample: got 0"),
        (["seed=1,2", f"hydra.sweeper.sample={MAX_FITS + 1}"], "hydra.sweeper.sample: got 1000001"),
        (
            ["optimizer.lr=interval(0,1)"],
            "optimizer.lr is drawn from an interval: say how many draws, hydra.sweeper.sample=100",
        ),
        (
            ["optimizer.lr=interval(1,0)", "hydra.sweeper.sample=4"],
            "from a smaller to a larger number",
        ),
        (
            ["optimizer.lr=tag(log,interval(0,1))", "hydra.sweeper.sample=4"],
            "a log scale needs an interval above 0",
        ),
        (
            ["optimizer.lr=tag(lg,interval(1,2))", "hydra.sweeper.sample=4"],
            "no tag 'lg': did you mean 'log'",
        ),
        (
            ["seed=range(0,9)", "hydra.sweeper.sample=4", "hydra.sweeper.filter='seed < 0'"],
            "keeps 0 of 10,000 draws",
        ),
        (
            ["hydra.sweeper.pairs=[{keys:[seed,steps],values:[[1,2],[3]]}]"],
            r"pairs\[0\]: \[3\] has 1 values for the 2 keys seed, steps",
        ),
        (
            ["hydra.sweeper.pairs=[{keys:[seed],vals:[]}]"],
            "pairs.0: no key 'vals': did you mean 'values'",
        ),
        (["seed=0,1", "hydra.sweeper.label=[a]"], "label the grid itself"),
        (
            ["hydra.sweeper.grids=[{seed:1},{seed:[1,2]}]"],
            r"grids\[1\].seed is a list: write what stands on the command line",
        ),
        (
            ["hydra.sweeper.grids=[{seed:1}]", "hydra.sweeper.pairs=[{keys:[seed],values:[[1]]}]"],
            "seed stands twice",
        ),
    ],
)
def test_what_cannot_be_swept_is_said_in_one_line_before_anything_is_written(
    elsewhere: Path, arguments: list[str], message: str
) -> None:
    with pytest.raises(ConfigError, match=message) as refused:
        execute(["-m", *arguments])
    assert "\n" not in str(refused.value)
    assert list(elsewhere.iterdir()) == []


def test_a_study_and_the_command_line_say_the_same(elsewhere: Path) -> None:
    (elsewhere / "experiments").mkdir()
    study = (
        "defaults: [/linfit, _self_]\nhydra: {mode: MULTIRUN, sweeper: "
        "{pairs: [{keys: [seed, steps], values: [[1, 2], [3, 4]]}], filter: seed > 1}}\n"
    )
    (elsewhere / "experiments" / "study.yaml").write_text(study)
    written = enumerate_jobs(["study"])
    said = enumerate_jobs(
        [
            "-m",
            "hydra.sweeper.pairs=[{keys:[seed,steps],values:[[1,2],[3,4]]}]",
            "hydra.sweeper.filter='seed > 1'",
        ]
    )
    assert (
        [job.overrides for job in written.jobs]
        == [job.overrides for job in said.jobs]
        == [("seed=3", "steps=4")]
    )


def test_a_fixed_value_is_for_the_components_that_are_swept(elsewhere: Path) -> None:
    arguments = [
        "-m",
        "tracking=none",
        "steps=2",
        "optimizer=sgd,rmsprop",
        "optimizer.momentum=0.5",
    ]
    assert [
        job.config.as_dict()["optimizer"]["momentum"] for job in enumerate_jobs(arguments).jobs
    ] == [0.5, 0.5]
    result = execute(arguments)
    assert [job.overrides[-1] for job in result.jobs] == ["optimizer.momentum=0.5"] * 2
    with pytest.raises(
        ConfigError, match=r"no key 'momentum'.*\(in optimizer=adam optimizer.momentum=0.5\)"
    ):
        enumerate_jobs(["-m", "optimizer=sgd,adam", "optimizer.momentum=0.5"])


def test_deferring_leaves_the_rest_as_it_is() -> None:
    kept = [
        "seed=1",
        "+optimizer.new=1",
        "optimizer=sgd",
        "optimizer.lr=1,2",
        "optimizer.lr=",
        "~optimizer.lr",
        "stop.divergence=2",
        "a b",
    ]
    assert defer_swept_values(kept[:-1]) == kept[:-1]
    assert defer_swept_values(kept) == kept
    assert defer_swept_values(["optimizer.betas=[1,2]", "dataset.path='a b'"]) == [
        "optimizer.betas=choice([1,2])",
        "dataset.path=choice('a b')",
    ]


@pytest.mark.matrix
def test_the_articles_levels_are_one_sweep_of_four_experiments() -> None:
    levels = enumerate_jobs(["article/levels"])
    alone = ["tensor_manual", "tensor_autograd", "linear_manual_update", "linear_adam"]
    assert levels.sweep
    assert [job.config for job in levels.jobs] == [
        linfit.compose([f"article/{name}"]) for name in alone
    ]


def test_enumeration_gives_the_names_under_which_runs_are_kept(elsewhere: Path) -> None:
    arguments = ["-m", "tracking=none", "steps=2", "optimizer=adam,sgd", "seed=0,1"]
    enumeration = enumerate_jobs(arguments)
    assert list(elsewhere.iterdir()) == []
    result = execute(arguments)
    assert (
        list(enumeration.name_runs())
        == [done.name for done in result.completed]
        == ["adam seed=0", "adam seed=1", "sgd seed=0", "sgd seed=1"]
    )
    assert [job.config for job in enumeration.jobs] == [job.config for job in result.jobs]
    alone = enumerate_jobs(["article/linear_adam", "optimizer.lr=0.1"])
    assert (alone.sweep, list(alone.name_runs())) == (False, ["linear_adam lr=0.1"])


@pytest.mark.matrix
def test_hydras_basic_sweeper_has_its_batches_run_by_linfit(elsewhere: Path) -> None:
    result = execute(
        [
            "-m",
            "hydra/sweeper=basic",
            "hydra.sweeper.max_batch_size=2",
            "tracking=none",
            "steps=2",
            "seed=0,1,2",
        ]
    )
    assert [job.config.seed for job in result.jobs] == [0, 1, 2]
    (folder,) = (elsewhere / "outputs" / "sweeps").iterdir()
    assert {"multirun.yaml", "manifest.parquet", "results.parquet"} <= {
        file.name for file in folder.iterdir()
    }


def test_a_sweeper_that_learns_gets_what_it_reads() -> None:
    """Launch as sweepers that choose by results: read each return, then launch again."""
    flags = parse_flags(["-m"])
    task = HydraTask()
    with start_hydra(flags) as hydra:
        config = hydra.compose_config(
            "linfit",
            ["tracking=none", "hydra.mode=MULTIRUN"],
            run_mode=RunMode.MULTIRUN,
            with_log_configuration=False,
        )
        context = HydraContext(config_loader=hydra.config_loader, callbacks=Callbacks())
        launcher = Plugins.instance().instantiate_launcher(
            hydra_context=context, task_function=task, config=config
        )
        losses: dict[int, float] = {}
        for batch in ([5, 10], [20]):
            returned = launcher.launch(
                [["tracking=none", f"steps={steps}"] for steps in batch],
                initial_job_idx=len(losses),
            )
            losses |= {job.cfg.steps: job.return_value for job in returned if job.cfg is not None}
            assert [job.overrides for job in returned] == [
                ["tracking=none", f"steps={steps}"] for steps in batch
            ]
        assert returned[0].hydra_cfg is not None
        assert returned[0].hydra_cfg.hydra.job.num == 2
    result = task.finish()
    assert losses[5] > losses[10] > losses[20]
    assert [job.config.steps for job in result.jobs] == [5, 10, 20]


def test_a_folder_that_holds_a_sweep_is_not_written_over() -> None:
    execute(["-m", "tracking=none", "steps=1", "seed=0,1", "hydra.sweep.dir=here"])
    with pytest.raises(ConfigError, match="here holds another sweep"):
        execute(["-m", "tracking=none", "steps=1", "seed=0,1", "hydra.sweep.dir=here"])


def test_settings_have_no_default_that_sweeps() -> None:
    assert SweepSpec() == validate_sweep_spec(
        {"_target_": "any", "max_batch_size": 3, "params": None}
    )
