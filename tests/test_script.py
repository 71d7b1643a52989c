"""The plain programs of `linfit script` run without linfit and compute the single engine's bits."""

from __future__ import annotations

import ast
import contextlib
import io
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from decimal import Decimal
from itertools import product
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pyarrow as pa
import pytest
import torch
from pyarrow import parquet

import linfit as package
from linfit.config import GROUPS, FitConfig
from linfit.engine.dispatch import fit
from linfit.errors import ConfigError
from linfit.method.optimizers import Adam, Optimizer
from linfit.script.program import CONTRIBUTING_GROUPS, render_script
from tests.helpers import (
    BATCH_GRADIENTS,
    DTYPES,
    GRADIENTS,
    LOSSES,
    MODELS,
    OPTIMIZERS,
    OTHER_LOSSES,
    TABLES,
    LossRow,
    OptimizerRow,
    Row,
    beside,
    config,
    cover_pairs,
    label,
    scratch_registry,
)

Linfit = Callable[..., Any]
STEPS, EVERY = 40, 4
#: (group, settings) of every component that contributes lines, as far as it has them.
LONGER = {row.name: row.longer for table in TABLES.values() for row in table}
PROGRAMMED = [row for row in OPTIMIZERS if GROUPS["optimizer"].choices[row.name].has_script()]
BY_HAND_OR_NOT = [row for row in PROGRAMMED if row.torch in (None, "Adam")]
WRITTEN = [row for row in GRADIENTS if GROUPS["gradient"].choices[row.name].has_script()]
COMBINATIONS = cover_pairs(
    MODELS,
    WRITTEN,
    LOSSES,
    BY_HAND_OR_NOT,
    allowed=lambda model, gradient, loss, optimizer: (
        gradient.takes(loss) and (loss.quadratic or not optimizer.knowing)
    ),
)
SETTINGS = [
    (group, given)
    for group in CONTRIBUTING_GROUPS
    for row in TABLES[group]
    if GROUPS[group].choices[row.name].has_script()
    for given in row.settings()
]


@pytest.fixture(autouse=True)
def _torchs_state() -> Iterator[None]:
    """A program sets threads, and its nn.Linear draws from the global generator."""
    threads = torch.get_num_threads()
    with torch.random.fork_rng():
        yield
    torch.set_num_threads(threads)


def ran(source: str) -> str:
    """What a program prints. Its MKL setting is this process's own already."""
    assert os.environ["MKL_CBWR"] == "AUTO"
    assert "linfit" not in names_of(source)
    printed = io.StringIO()
    with contextlib.redirect_stdout(printed):
        exec(compile(source, "<program>", "exec"), {"__name__": "__main__"})
    return printed.getvalue()


def names_of(source: str) -> set[str]:
    """The names and modules that a program uses: a path may hold any word."""
    nodes = list(ast.walk(ast.parse(source)))
    imported = [
        alias.name for node in nodes if isinstance(node, ast.Import) for alias in node.names
    ]
    modules = [node.module or "" for node in nodes if isinstance(node, ast.ImportFrom)]
    used = [node.id for node in nodes if isinstance(node, ast.Name)]
    return {name.partition(".")[0] for name in (*imported, *modules, *used)}


def read(printed: str) -> tuple[list[int], list[float], list[float]]:
    """Return steps, losses and final weights that a program has printed, with all their digits."""
    *table, last = printed.splitlines()
    steps, losses = zip(*(line.split() for line in table), strict=True)
    name, _, weights = last.partition(" ")
    assert name == "weights"
    return (
        [int(step) for step in steps],
        [float(loss) for loss in losses],
        [float(weight) for weight in weights.strip("[]").split(",")],
    )


def expected(given: FitConfig) -> tuple[list[int], list[float], list[float]]:
    every = given.record.every
    assert every is not None
    one = fit(given)
    points = list(zip(one.steps.tolist(), one.losses.tolist(), strict=True))
    shown = [point for point in points if point[0] % every == 0 or point == points[-1]]
    return [step for step, _ in shown], [loss for _, loss in shown], one.weights.ravel().tolist()


def same(given: FitConfig) -> str:
    """The program, whose numbers were found to be the engine's, bit for bit."""
    source = render_script(given, "a test")
    found, wanted = read(ran(source)), expected(given)
    assert repr(found) == repr(wanted)  # of which NaN and signed zeros are equal too
    return source


def num_lines(source: str) -> int:
    return len([line for line in source.splitlines() if line])


def short(**parts: Any) -> FitConfig:
    return config(**{"steps": STEPS, "record": {"every": EVERY}, **parts})


@pytest.mark.parametrize(
    ("group", "given", "dtype"),
    [(*setting, DTYPES[i % 2]) for i, setting in enumerate(SETTINGS)],
    ids=label,
)
def test_a_program_has_the_engines_bits(group: str, given: dict[str, Any], dtype: str) -> None:
    source = same(short(**{group: given}, **beside(group, given), dtype=dtype))
    if "path" not in given:  # whose numbers stand in the program
        assert 20 <= num_lines(source) <= 35 + LONGER.get(given["name"], 0)


@pytest.mark.parametrize(("model", "gradient", "loss", "optimizer"), COMBINATIONS, ids=label)
def test_every_combination_is_written_in_its_own_shape(
    model: Row, gradient: Row, loss: Row, optimizer: OptimizerRow
) -> None:
    data = {"name": "random_linear", "n": 20, "p": 3, "q": 2}
    parts = {
        "model": model.plain,
        "gradient": gradient.plain,
        "loss": loss.plain,
        "optimizer": optimizer.plain,
    }
    source = same(short(**parts, dataset=data, seed=5))
    assert ("nn.Linear" in source) == (model.name == "linear")
    assert ("loss.backward()" in source, "torch.func.grad_and_value" in source) == (
        optimizer.descends and gradient.name == "autograd",
        optimizer.descends and gradient.name == "func_grad",
    )
    of_torch = optimizer.torch is not None or optimizer.names_torch
    assert ("torch.optim" in source) == of_torch
    assert ("no_grad" in source) == (
        not of_torch and optimizer.descends and gradient.name == "autograd"
    )


@pytest.mark.parametrize("loss", OTHER_LOSSES, ids=label)
def test_lines_of_a_loss_leave_the_optimizers_names_alone(loss: LossRow) -> None:
    """A name that both assign would be the loss's in the next step's update."""
    parts = beside("loss", loss.plain)
    for row in PROGRAMMED:
        if row.knowing or not row.suits(loss):
            continue
        optimizer = {"lr": 0.1, **row.plain}
        same(short(steps=EVERY, loss=loss.plain, optimizer=optimizer, **parts))


@pytest.mark.parametrize(
    ("loss", "gradient", "model", "weighted", "penalty", "size"),
    cover_pairs(
        [row for row in (*LOSSES, *OTHER_LOSSES) if row.smooth],
        [*(row for row in WRITTEN if row.exact and row.name != "gram"), *BATCH_GRADIENTS],
        MODELS,
        [False, True],
        ["none", "ridge", "lasso"],
        [1, 5, 13],
    ),
    ids=label,
)
def test_batches_are_drawn_as_the_engine_draws_them(
    loss: LossRow,
    gradient: Row,
    model: Row,
    weighted: bool,
    penalty: str,
    size: int,
    tmp_path: Path,
) -> None:
    X = np.random.default_rng(2).standard_normal((13, 2))
    y = loss.targets(13, 3)
    target = y.argmax(axis=1) if loss.kind == "classes" else y[:, 0]
    np.save(tmp_path / "data.npy", np.column_stack([X, target, np.linspace(0, 2, 13)]))
    data = {"path": str(tmp_path / "data.npy"), "features": ["0", "1"], "target": "2"}
    given = short(
        dataset={"name": "npy", **data, "weight": "3" if weighted else None},
        loss=loss.name,
        gradient=gradient.plain,
        model=model.plain,
        penalty=penalty,
        optimizer={"name": ("manual_sgd", "adam")[size % 2], "lr": 1e-3},
        batch={"name": "minibatch", "size": size, "replacement": size == 5},
        dtype=DTYPES[size % 2],
    )
    same(given)


def test_every_combination_is_short() -> None:
    for model, gradient, loss, optimizer in product(MODELS, WRITTEN, LOSSES, PROGRAMMED):
        if gradient.takes(loss) and (loss.quadratic or not optimizer.knowing):
            parts = {
                "model": model.plain,
                "gradient": gradient.plain,
                "loss": loss.plain,
                "optimizer": optimizer.plain,
            }
            longest = 35 + optimizer.longer
            assert 20 <= num_lines(render_script(short(**parts), "a test")) <= longest, parts


def test_a_component_that_was_changed_has_lines_of_its_own_or_none() -> None:
    with scratch_registry():

        class Louder(Adam):
            """Adam, but not quite."""

            name: Literal["louder"] = "louder"  # type: ignore[assignment]

        assert Optimizer.choices["louder"] is Louder
        with pytest.raises(
            ConfigError,
            match=r"^optimizer=louder cannot be written as a plain program, "
            r"having no `script_lines`: "
            r"choose another",
        ):
            render_script(short(optimizer="louder"), "")


def test_a_diverged_fit_stops_where_the_engine_stops() -> None:
    source = same(short(optimizer={"name": "sgd", "lr": 0.1}))
    assert fit(short(optimizer={"name": "sgd", "lr": 0.1})).diverged_at_step is not None
    assert "1000000.0 * initial" in source


@pytest.mark.parametrize(
    ("rule", "gradient", "penalty"),
    cover_pairs(
        [
            {"excess_loss": 1e-3},
            {"gradient_norm": 1e-2},
            {"excess_loss": 1e-9, "gradient_norm": 1e-3},
        ],
        [row.name for row in WRITTEN],
        ["none", "ridge"],
    ),
)
def test_a_converged_fit_stops_where_the_engine_stops(
    rule: dict[str, float], gradient: str, penalty: str
) -> None:
    given = short(
        optimizer={"name": "sgd", "lr": 2e-3},
        stop=rule,
        steps=400,
        model="linear",
        gradient=gradient,
        penalty=penalty,
    )
    assert fit(given).status == "converged"
    same(given)


@pytest.mark.parametrize("weights", [[2.0, 3.0], [1e30, 0.0]], ids=["at the optimum", "far away"])
def test_where_a_fit_starts_does_not_matter(weights: list[float]) -> None:
    same(
        short(
            dataset={"name": "parabola", "noise": 0.0},
            init={"name": "given", "weights": weights},
            optimizer={"name": "sgd", "lr": 1e-3},
        )
    )


@pytest.mark.matrix
@pytest.mark.parametrize(
    "level", ["tensor_manual", "tensor_autograd", "linear_manual_update", "linear_adam"]
)
def test_the_articles_levels_are_short_and_print_its_table(
    level: str, linfit: Linfit, bare: Path
) -> None:
    source = linfit("script", f"article/{level}").out
    assert 20 <= num_lines(source) <= 35
    assert read(ran(source))[0] == [0, 250, 500, 750, 1000, 1001]


WIDE = {"name": "random_linear", "n": 4, "p": 6, "q": 2}
ILL = {
    "name": "polynomial",
    "degree": 5,
    "coefficients": [1.0, -1.0, 2.0, 0.5, 1.0, 3.0],
    "range": [8.0, 9.0],
}


@pytest.mark.parametrize(
    ("dataset", "optimizer", "penalty"),
    cover_pairs([WIDE, ILL], [row.name for row in PROGRAMMED if row.knowing], ["none", "ridge"]),
    ids=label,
)
def test_what_is_known_of_the_problem_is_computed_as_the_engine_does(
    dataset: dict[str, Any], optimizer: str, penalty: str
) -> None:
    source = same(
        short(
            dataset=dataset,
            optimizer=optimizer,
            penalty=penalty,
            dtype="float64",
            loss="mse",
            model="linear",
        )
    )
    assert ("np.vstack([X" in source) == (
        penalty == "ridge" and optimizer not in ("heavy_ball", "nesterov")
    )
    assert ("exact arithmetic" in source) == (optimizer == "closed_form" and dataset is ILL)
    assert ("of smallest norm" in source) == (
        optimizer == "closed_form" and dataset is WIDE and penalty == "none"
    )


@pytest.mark.parametrize("gradient", ["forward", "finite_difference"])
def test_numbers_stand_in_memory_as_the_engines_do(gradient: str) -> None:
    """Sums over several targets have other bits where the numbers stand transposed."""
    data = {"name": "random_linear", "n": 33, "p": 8, "q": 3}
    same(
        short(
            dataset=data,
            gradient=gradient,
            optimizer="conjugate_gradient",
            model="linear",
            loss="mse",
            seed=3,
        )
    )


@pytest.mark.parametrize("steps", [0, 1, 3])
def test_few_steps_are_a_table_too(steps: int) -> None:
    same(short(steps=steps, record={"every": 1}))


def test_data_that_are_many_are_read_from_their_file(tmp_path: Path) -> None:
    file = tmp_path / "data.csv"
    rows = "\n\n".join(f'{i}, {0.1 * i!r},"{(7 * i % 11) / 3!r}",10' for i in range(200))
    file.write_text('\ufeffa, \'b,"c, d\n",e\n' + rows, encoding="utf-8")
    given = {"name": "csv", "path": str(file), "features": ["a", " 'b", "e"], "target": "c, d\n"}
    source = same(
        short(dataset=given, init="zeros", optimizer={"name": "adam", "lr": 0.1}, dtype="float64")
    )
    assert "csv.DictReader" in source


def test_truth_values_of_a_large_csv_file_are_read_by_the_program(tmp_path: Path) -> None:
    file = tmp_path / "data.csv"
    numbers = np.random.default_rng(4).standard_normal((540, 2)).round(3).tolist()
    rows = [f"{x},{'True' if x > y else ' false'},{y}" for x, y in numbers]
    file.write_text("\n".join(["x,larger,y", *rows]) + "\n")
    given = {"name": "csv", "path": str(file), "features": ["x", "larger"], "target": "y"}
    assert "words.get" in same(short(dataset=given, loss="mse"))


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(
    "parts",
    [
        {
            "features": {"name": "raw", "intercept": True},
            "dataset": {"name": "random_linear", "n": 200, "p": 3},
        },
        {
            "features": {"name": "raw", "intercept": True, "scaling": "standardize"},
            "dataset": {"name": "random_linear", "n": 20, "p": 3},
        },
        {
            "features": {"name": "polynomial", "degree": 3},
            "dataset": {"name": "random_linear", "n": 20, "p": 1, "condition": 1.0},
        },
        {"split": {"validation": 0.2}},
    ],
    ids=["intercept", "standardized", "polynomial", "held out"],
)
def test_features_and_samples_held_out_are_written(parts: dict[str, Any], dtype: str) -> None:
    same(short(**parts, dtype=dtype, optimizer={"name": "adam", "lr": 0.1}, init="zeros"))


def test_features_of_many_samples_are_refused_in_one_line() -> None:
    many = short(
        features={"name": "raw", "scaling": "standardize"},
        dataset={"name": "random_linear", "n": 5000},
    )
    with pytest.raises(
        ConfigError,
        match=r"^features of so many samples cannot be written as a plain program, which has",
    ):
        render_script(many, "a test")


def test_data_of_many_columns_do_not_depend_on_numpys_threads() -> None:
    same(
        short(
            dataset={"name": "random_linear", "n": 10_000, "p": 64},
            dtype="float64",
            steps=4,
            optimizer={"name": "sgd", "lr": 1e-6},
        )
    )


RIDGE = {
    "features": {"name": "raw", "intercept": True},
    "penalty": {"name": "ridge", "strength": 0.5},
}


@pytest.mark.parametrize(
    ("loss", "gradient", "model"), cover_pairs(LOSSES, WRITTEN, MODELS), ids=label
)
def test_a_penalty_leaves_out_the_intercept_that_features_add(
    loss: Row, gradient: Row, model: Row
) -> None:
    parts = {
        "model": model.plain,
        "gradient": gradient.plain,
        "loss": loss.plain,
        "optimizer": {"name": "sgd", "lr": 1e-3},
    }
    stop = {"gradient_norm": 1e-9} if loss.name == "huber" else {"excess_loss": 1e-3}
    source = same(
        short(**parts, **RIDGE, stop=stop, dataset={"name": "random_linear", "n": 20, "q": 2})
    )
    assert ("[:, :-1]" if model.name == "linear" else "[:-1]") in source


@pytest.mark.parametrize("optimizer", [row for row in PROGRAMMED if row.knowing], ids=label)
@pytest.mark.parametrize("dtype", DTYPES)
def test_what_is_tuned_to_a_problem_leaves_out_the_intercept(optimizer: Row, dtype: str) -> None:
    for given in optimizer.settings():
        same(
            short(
                optimizer=given,
                dataset={"name": "random_linear", "n": 20, "q": 2},
                dtype=dtype,
                **RIDGE,
            )
        )


@pytest.mark.parametrize(
    ("mean_over", "dtype", "rows"), cover_pairs(["weights", "samples"], DTYPES, [12, 4000])
)
def test_weights_of_samples_count_so_many_times(
    mean_over: str, dtype: str, rows: int, tmp_path: Path
) -> None:
    i = np.arange(rows)
    np.save(tmp_path / "data.npy", np.stack([i % 7 / 7, i % 11, 3 * i % 13 / 3, i % 4], axis=1))
    data = {
        "name": "npy",
        "path": str(tmp_path / "data.npy"),
        "features": ["0", "1"],
        "target": "2",
        "weight": "3",
    }
    common = {"dataset": data, "mean_over": mean_over, "dtype": dtype, "init": "zeros"}
    average = {"name": "manual_sgd", "lr": 1e-2, "average": True}
    source = same(short(loss="mse", optimizer=average, **common))
    assert ("/ len(X)" in source) == (mean_over == "samples")
    same(short(loss="sse", optimizer=average, **common))
    same(short(loss="mse", optimizer="closed_form", **common))


@pytest.mark.matrix
@pytest.mark.parametrize("kind", ["parquet", "npy", "flat", "records", "npz", "sklearn"])
def test_data_of_every_kind_of_file_are_read_by_a_program(kind: str, tmp_path: Path) -> None:
    i = np.arange(200)
    columns = {"it's": i / 7, "b": i % 11, "y": (3 * i % 13) / 3}
    file, names = tmp_path / f"data.{'npz' if kind == 'npz' else 'npy'}", (["it's", "b"], "y")
    more: dict[str, Any] = {}
    if kind == "parquet":
        file = tmp_path / "data.parquet"
        parquet.write_table(
            pa.table({**columns, "b": pa.array([Decimal(int(b)) / 10 for b in columns["b"]])}), file
        )
    elif kind == "npy":
        np.save(file, np.stack([*columns.values(), np.where(i == 7, np.nan, i)], axis=1))
        names = (["0", "1"], "2")
        more = {"weight": "3", "missing": "drop"}
    elif kind == "flat":
        np.save(file, columns["y"])
        names = (["0"], "0")
    elif kind == "records":
        np.save(
            file,
            np.array(
                [*zip(*columns.values(), strict=True)], dtype=[(name, float) for name in columns]
            ),
        )
    else:
        np.savez(file, X=np.stack([columns["it's"], columns["b"]], axis=1), y=columns["y"])
        names = (["X.1", "X.0"], "y")
    given = {
        "name": "parquet" if kind == "parquet" else "npy",
        "path": str(file),
        "features": names[0],
        "target": names[1],
        **more,
    }
    source = same(
        short(
            dataset={"name": "sklearn", "set": "linnerud"} if kind == "sklearn" else given,
            init="zeros",
            dtype="float64",
        )
    )
    assert ("load_linnerud()" if kind == "sklearn" else repr(str(file))) in source


NASTY = "a, __import__('os').mkdir('made')\n]]  # \"\"\" {x} \u202e \\"


@pytest.mark.parametrize("rows", [5, 200])
def test_what_a_config_says_enters_a_program_as_data(
    rows: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    cells = "\n".join(f"{i / 7},{i % 3}" for i in range(rows))
    quoted = NASTY.replace('"', '""')
    Path("it's.csv").write_text(f'"{quoted}",y\n{cells}\n', encoding="utf-8")
    given = short(
        dataset={"name": "csv", "path": "it's.csv", "features": [NASTY], "target": "y"},
        init="zeros",
    )
    source = render_script(given, NASTY)
    assert source.splitlines()[0].count('"""') == 2
    assert repr(read(ran(source))) == repr(expected(given))
    assert [file.name for file in tmp_path.iterdir()] == ["it's.csv"]


@pytest.mark.matrix
@pytest.mark.read_only
def test_a_program_runs_by_itself(tmp_path: Path, linfit: Linfit, bare: Path) -> None:
    overrides = (
        "model=linear",
        "optimizer=rmsprop",
        "init=torch_default",
        "dataset=random_linear",
        "seed=7",
        "steps=40",
        "record.every=4",
    )
    (tmp_path / "program.py").write_text(linfit("script", *overrides).out, encoding="utf-8")
    code = "import sys; sys.modules['linfit'] = None; "
    code += "exec(open('program.py', encoding='utf-8').read())"
    environment = {name: value for name, value in os.environ.items() if name != "MKL_CBWR"}
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=tmp_path,
        env=environment,
        capture_output=True,
        text=True,
        check=True,
    )
    assert repr(read(done.stdout)) == repr(expected(package.compose(overrides)))


def test_a_study_is_told_from_one_of_its_fits(linfit: Linfit, bare: Path) -> None:
    said = linfit("script", "optimizers", "optimizer=sgd", "optimizer.lr=0.01")
    assert said.code == 0
    assert (
        said.err == "linfit: optimizers sweeps over seed: this is one fit, "
        "with the values that they have beside the sweep\n"
    )
    assert "torch.optim.SGD([W], lr=0.01)" in said.out
    assert linfit("script", "optimizers", "optimizer=sgd", "optimizer.lr=0.01", "seed=3").err == ""


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("seed=0,1",), "seed=0,1 has several values"),
        (("nothing",), "no experiment 'nothing'"),
        (("optimizer.lr=-1",), "optimizer.lr: got -1"),
        (
            ("dataset.n=1000000000000",),
            "dataset.n: got 1000000000000, choose a whole number ≥ 1 and ≤ 1000000000",
        ),
        (
            ("dataset=random_linear", "dataset.n=1000000000", "dataset.p=10000", "init=zeros"),
            "the data do not fit in memory",
        ),
        (("optimizer=newton",), "linfit: optimizer=newton cannot be written"),
        (
            (
                "dataset=csv",
                "dataset.path=x.csv",
                "dataset.features=a",
                "dataset.target=y",
                "init=zeros",
            ),
            "dataset.path 'x.csv' cannot be read",
        ),
    ],
)
def test_what_is_no_fit_is_one_line(
    arguments: tuple[str, ...], message: str, linfit: Linfit, bare: Path
) -> None:
    said = linfit("script", *arguments)
    assert (said.code, said.out, said.err.count("\n")) == (2, "", 1)
    assert message in said.err
    assert list(bare.iterdir()) == []


def test_only_what_is_not_torchs_default_is_written() -> None:
    assert "torch.optim.Adam([W], lr=0.001)\n" in render_script(short(optimizer="adam"), "")
    changed = short(optimizer={"name": "adam", "lr": 0.1, "betas": [0.8, 0.9], "amsgrad": True})
    assert "torch.optim.Adam([W], lr=0.1, betas=(0.8, 0.9), amsgrad=True)\n" in render_script(
        changed, ""
    )


def test_a_penalty_is_part_of_the_loss_whatever_the_gradient() -> None:
    for gradient, optimizer in product(WRITTEN, ("sgd", "manual_sgd")):
        same(
            short(
                penalty="ridge",
                gradient=gradient.plain,
                model="linear",
                loss="mse",
                optimizer=optimizer,
            )
        )


@pytest.mark.read_only
def test_a_run_is_written_as_it_was_stored(linfit: Linfit, workdir: Path, client: Any) -> None:
    (workdir / "data.csv").write_text("a,b\n1,2\n2,3.5\n4,4\n")
    given = (
        "dataset=csv",
        "dataset.path=data.csv",
        "dataset.features=[a]",
        "dataset.target=b",
        "steps=40",
        "record.every=4",
    )
    assert linfit("run", *given, "init=normal", "seed=3", "optimizer=sgd").code == 0
    written = linfit("script", "last")
    assert (written.code, written.err) == (0, "")
    assert repr(read(ran(written.out))) == repr(
        expected(package.compose([*given, "seed=3", "optimizer=sgd"]))
    )
    assert linfit("script", "last", "seed=4").err.endswith(
        "that of its stored config: overrides go with an experiment\n"
    )
    (workdir / "data.csv").write_text("a,b\n1,2\n2,3.5\n4,5\n")
    changed = linfit("script", "last")
    assert (changed.code, changed.out) == (2, "")
    assert "its data file 'data.csv' was changed since" in changed.err


def test_a_fit_of_a_sweep_is_written_too(linfit: Linfit, workdir: Path, client: Any) -> None:
    assert (
        linfit(
            "run", "-m", "seed=0,1", "steps=8", "record.every=4", "tracking.child_artifacts=true"
        ).code
        == 0
    )
    [experiment] = client.search_experiments(filter_string="name = 'adhoc'")
    runs = {
        run.info.run_name: run.info.run_id for run in client.search_runs([experiment.experiment_id])
    }
    written = linfit("script", runs["seed=1"])
    assert "linfit: the engine stacked fitted it" in written.err
    assert repr(read(ran(written.out))) == repr(
        expected(package.compose(["seed=1", "steps=8", "record.every=4"]))
    )
    [sweep] = [run_id for name, run_id in runs.items() if not name.startswith("seed=")]
    refused = linfit("script", sweep)
    assert (refused.code, refused.out) == (2, "")
    assert "is a sweep" in refused.err


def test_what_a_program_does_not_heed_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        "linfit.script.program.HONOURED_KEYS", {"seed", "dtype", "record", "stop", "threads"}
    )
    with pytest.raises(
        ConfigError, match=r"^steps cannot be written as a plain program: leave it at its default$"
    ):
        render_script(short(), "")
