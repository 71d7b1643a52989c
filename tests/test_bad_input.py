"""Wrong input, as a user types it: one line that says what came, what is allowed and what to do.

Nothing runs and nothing is written, also where one of many fits of a sweep is wrong.
"""

from __future__ import annotations

import gzip
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

import linfit as api
from linfit.errors import LinfitError
from linfit.problem.datasets.arrays import Arrays
from linfit.problem.losses import Poisson
from tests.conftest import Ran

Linfit = Callable[..., Ran]

ON_X = "dataset=csv dataset.path=d.csv dataset.features=[x] dataset.target=y"
ON_TEXT = "dataset=csv dataset.path=d.csv dataset.features=[x,t] dataset.target=y"
TWO_TARGETS = "dataset=csv dataset.path=d.csv dataset.features=[x] dataset.target=[y,z]"
CUT = "pictures=false steps=5"


def column(cells: str) -> str:
    """A file of columns x, 0, 1 …, and y."""
    return "x,y\n" + "".join(f"{i},{cell}\n" for i, cell in enumerate(cells.split()))


#: Content of d.csv, what is typed, and what the line holds.
DATA: list[tuple[str | bytes, str, list[str]]] = [
    # targets that a loss does not take
    (
        column("0 1 2 1 0"),
        f"{ON_X} loss=logistic",
        ["'y' has 3 classes, 0, 1, 2", "line 4", "loss logistic takes two", "loss=cross_entropy"],
    ),
    (column("a b c"), f"{ON_X} loss=logistic", ["'a', 'b', 'c'", "two classes", "leave the samp"]),
    (
        column("Yes no yes"),
        f"{ON_X} loss=logistic",
        ["'Yes' and 'yes' differ in case or blanks alone", "spell them alike"],
    ),
    (column("-1 0 1"), f"{ON_X} loss=squared_hinge", ["3 classes, -1, 0, 1", "or -1 and 1"]),
    (column("0 1 -1"), f"{ON_X} loss=poisson", ["has -1.0 (line 4)", "counts", "mend the cell"]),
    (column("0 1 1.5"), f"{ON_X} loss=poisson", ["has 1.5 (line 4)", "whole numbers", "loss=mse"]),
    (column("yes no"), f"{ON_X} loss=poisson", ["is text, 'yes', 'no'", "counts", "loss=mse"]),
    (column("1 1 1"), f"{ON_X} loss=logistic", ["has one class, 1", "two classes", "add samples"]),
    (column("u u"), f"{ON_X} loss=cross_entropy", ["has one class, 'u'", "two", "another target"]),
    (
        "x,y,w\n1,u,0\n2,v,1\n3,v,1\n",
        f"{ON_X} dataset.weight=w loss=logistic",
        ["all training samples of class 'u' weigh 0", "leave them out"],
    ),
    (
        "x,y,z\n1,0,1\n2,1,2\n",
        f"{TWO_TARGETS} loss=logistic",
        ["target 'z' has 2.0 (line 3)", "of several targets 0 and 1", "name one target"],
    ),
    (
        "x,y,z\n1,0,1\n2,1,2\n",
        f"{TWO_TARGETS} loss=cross_entropy",
        ["2 targets, 'y', 'z'", "takes one", "name one as dataset.target"],
    ),
    (
        column("a b c"),
        f"{ON_X} loss=cross_entropy init=given init.weights=[[1,2]]",
        ["1 rows of 2 numbers", "1 rows (features) of 3 (targets)", "write these"],
    ),
    (column("0 0.5 1"), f"{ON_X} loss=cross_entropy", ["0.5 (line 3)", "whole numbers", "mend"]),
    (
        column(" ".join(map(str, range(1001)))),
        f"{ON_X} loss=cross_entropy",
        ["1,001 different values", "1,000 classes at most", "group them"],
    ),
    (column("a b"), f"{ON_X} loss=mse", ["is text, 'a', 'b'", "takes numbers", "logistic"]),
    (
        column("a b a b c"),
        f"{ON_X} loss=cross_entropy split.validation=0.4 split.seed=3",
        ["has 'b' in a sample that is held out (line 3)", "'a', 'c'", "another split.seed"],
    ),
    (
        "x,t,y\n1,u,1\n2,v,2\n3,w,3\n4,q,4\n5,z,5\n",
        f"{ON_TEXT} split.validation=0.4",
        ["column 't': no training sample has", "they have", "leave such rows out"],
    ),
    (column("1 1e300"), f"{ON_X} loss=poisson", ["line 3, column 'y'", "beyond float32", "choose"]),
    (
        column("1 1e200"),
        f"{ON_X} loss=poisson dtype=float64",
        ["line 3, column 'y': 1e+200 is too large", "scale the data"],
    ),
    # cells and files
    (
        "x,t,y\n1,2,3\n4,five,6\n",
        ON_TEXT,
        ["line 3, column 't': 'five'", "number", "mend the"],
    ),
    ("x,t,y\n1,a,3\n4,5,6\n", ON_TEXT, ["line 3, column 't': '5'", "one or the other", "n5 for 5"]),
    ("x,t,y\n1,2,3\n4,,6\n", ON_TEXT, ["line 3, column 't'", "missing", "dataset.missing=drop"]),
    ("x,t,y\n1,a,3\n4,NA,6\n", ON_TEXT, ["line 3, column 't'", "missing", "fill it in"]),
    ("x,t,y\n1,,3\n", f"{ON_TEXT} dataset.missing=drop", ["no rows but such with missing", "give"]),
    ('x,t,y\n1,"2,5",3\n', ON_TEXT, ["line 2, column 't': '2,5'", "write 2.5", "dataset.decimal"]),
    ("x;t;y\n1;2,5;3\n", ON_TEXT, ["one column 'x;t;y'", "dataset.separator=';'"]),
    ("x;t;y\n1;2,5;3\n", f"{ON_TEXT} dataset.separator=;", ["'2,5'", "dataset.decimal=,"]),
    ("x,t,y\n1,2,3\n", f"{ON_TEXT} dataset.decimal=','", ["is both", "name the file's separator"]),
    ("x,t,y\n1,2,3\n", f"{ON_TEXT} dataset.decimal=x", ["got 'x', choose one of ., ,"]),
    ("x,t,y\n1,é,3\n".encode("latin-1"), ON_TEXT, ["line 2, column 't'", "0xe9", "save the file"]),
    ("x,t,y\n1,2,3\n", f"{ON_TEXT} dataset.encoding=klingon", ["'klingon'", "utf-8, latin-1"]),
    ("x,t,y\n1,2,3\n", f"{ON_TEXT} dataset.encoding=utf-16", ["'d.csv'", "BOM", "name the file's"]),
    (
        gzip.compress(b"x,t,y\n1,2,3\n" * 900, mtime=0)[:60],
        ON_TEXT,
        ["'d.csv'", "cut off", "compress it"],
    ),
    ("x,y,w\n1,2,1\n2,3,-1\n", f"{ON_X} dataset.weight=w", ["line 3, column 'w': -1.0", "0 or mo"]),
    ("x,y,w\n1,2,1\n2,3,nan\n", f"{ON_X} dataset.weight=w", ["line 3, column 'w'", "missing"]),
    (
        "x,y,w\n1,2,0\n2,3,0\n",
        f"{ON_X} dataset.weight=w loss=mse",
        ["weights of all", "leave"],
    ),
    (column("1 2"), f"{ON_X} dataset.weight=v", ["no column 'v'", "there are x, y"]),
    # what losses of classes cannot do
    (
        column("0 1 0"),
        f"{ON_X} loss=logistic gradient=gram",
        ["gram", "not logistic", "gradient="],
    ),
    (column("0 1 0"), f"{ON_X} loss=logistic objective=r2", ["r2 is no measure of", "accuracy"]),
    (
        column("0 1 0"),
        f"{ON_X} loss=logistic optimizer=closed_form",
        ["closed_form", "not logistic", "choose another optimizer"],
    ),
]
#: What is typed, and what the line holds.
SETTINGS: list[tuple[str, list[str]]] = [
    ("loss=quantile loss.quantile=0", ["loss.quantile: got 0", "choose a number > 0 and < 1"]),
    ("loss=quantile loss.quantile=1", ["loss.quantile: got 1", "choose a number > 0 and < 1"]),
    ("loss=quantile loss.quantile=half", ["got 'half'", "choose a number > 0 and < 1"]),
    ("loss=quantile loss.quantile='0.5'", ["got '0.5'", "write 0.5 without quotes"]),
    ("loss=quantile penalty=ridge", ["quantile", "not with ridge", "penalty=none"]),
    ("loss=quantile optimizer=newton", ["newton", "quantile has not", "optimizer=adam"]),
    ("loss=quantile optimizer=lbfgs", ["lbfgs", "of quantile jumps", "optimizer=adam"]),
    ("loss=quantile optimizer=fista", ["quantile has no bound", "give optimizer.lr"]),
    ("loss=huber loss.delta=0", ["loss.delta: got 0", "choose a number > 0"]),
    ("loss=mae", ["no loss 'mae'", "'quantile' is nearest in meaning"]),
    ("penalty=ridge penalty.strength=-1", ["penalty.strength: got -1", "choose a number ≥ 0"]),
    ("penalty=ridge penalty.strength=nan", ["got nan", "choose a finite number ≥ 0"]),
    ("penalty=ridge penalty.strength=strong", ["got 'strong'", "choose a number ≥ 0"]),
    ("penalty=elastic_net penalty.l1_ratio=-0.1", ["got -0.1", "choose a number ≥ 0 and ≤ 1"]),
    ("penalty=elastic_net penalty.l1_ratio=1.1", ["got 1.1", "choose a number ≥ 0 and ≤ 1"]),
    ("penalty=ridge penalty.l1_ratio=0.5", ["no key 'l1_ratio'", "goes with penalty=elastic_net"]),
    ("penalty.strength=0.5", ["no key 'strength'", "elastic_net or lasso or ridge"]),
    ("penalty=lasso optimizer=newton", ["newton", "penalty lasso is not", "optimizer=fista"]),
    ("penalty=lasso optimizer=lbfgs", ["lbfgs", "penalty lasso jumps", "optimizer=fista"]),
    ("penalty=lasso optimizer=closed_form", ["closed_form", "lasso is not", "penalty=ridge"]),
    ("penalty=lasso stop.gradient_norm=0.1", ["lasso has not", "choose stop.excess_loss"]),
    ("split=kfold split.fold=5", ["fold=5", "0 to 4", "split.k=6"]),
    ("split=kfold split.fold=-1", ["split.fold: got -1", "choose a whole number ≥ 0"]),
    ("split=kfold split.k=31", ["31 parts of 30 samples", "choose k ≤ 30"]),
    ("split=kfold split.k=1", ["split.k: got 1", "choose a whole number ≥ 2"]),
    ("split.fold=1", ["no key 'fold'", "split.fold goes with split=kfold"]),
    ("objective=accuracy", ["accuracy is no measure of loss sse", "choose one of r2, rmse, mae"]),
    ("objective=auc", ["objective: got 'auc'", "did you mean 'roc_auc'?", "choose one of"]),
    ("objective=validation_r2", ["held out", "add split.validation=0.2"]),
    ("dataset=sklearn", ["dataset.set is required", "choose one of diabetes, linnerud"]),
    ("dataset=sklearn dataset.set=boston", ["got 'boston'", "choose one of diabetes"]),
    ("dataset=sklearn dataset.set=breast-cancer", ["did you mean 'breast_cancer'?"]),
    ("dataset=classes dataset.n=1", ["2 classes of 1 samples", "choose dataset.n of at least 2"]),
    ("dataset=classes dataset.separation=-1", ["got -1", "choose a number > 0"]),
    ("dataset=classes dataset.label_noise=1.5", ["got 1.5", "choose a number ≥ 0 and < 1"]),
    ("dataset=counts dataset.spread=9", ["got 9", "choose a number ≥ 0 and ≤ 4"]),
    ("dataset=sparse_linear dataset.nonzero=51", ["51 nonzero", "at most 50", "dataset.p of"]),
    # grids, and one bad fit of many
    ("-m optimizer.lr=geomspace(0,1,9)", ["geomspace(0,1,9)", "ends above 0", "or linspace"]),
    ("-m optimizer.lr=geomspace(-1,1,3)", ["geomspace(-1,1,3)", "ends above 0"]),
    ("-m optimizer.lr=geomspace(1,2)", ["geomspace(1,2)", "two ends and how many", "write it as"]),
    ("-m optimizer.lr=linspace(0,1,0)", ["not 0", "from 2 to 10,000", "linspace(0,1,11)"]),
    ("-m optimizer.lr=linspace(0,1,1000000000)", ["not 1000000000", "from 2 to 10,000"]),
    ("-m optimizer.lr=linspace(1,1,3)", ["fewer than 3 numbers from 1 to 1", "ends further apart"]),
    ("-m optimizer.lr=logspace(-3,0,4)", ["logspace", "write geomspace(1e-4,1,9)"]),
    ("optimizer.lr=geomspace(1e-3,1,4)", ["several values", "add -m to sweep"]),
    ("-m penalty=ridge penalty.strength=0.1,-1,1", ["got -1", "(in penalty=ridge", "strength=-1"]),
    ("-m loss=quantile loss.quantile=0.1,1", ["got 1", "> 0 and < 1", "loss.quantile=1"]),
    ("-m split=kfold split.fold=range(0,6)", ["fold=5", "0 to 4", "split.fold=5"]),
    ("-m loss=mse,poisson", ["has 11.01", "counts, whole numbers from 0 on", "loss poisson"]),
    ("-m objective=r2,accuracy", ["accuracy is no measure", "(in objective=accuracy"]),
    ("--json loss=quantile loss.quantile=2", ["got 2", "choose a number > 0 and < 1"]),
]


def assert_refused(linfit: Linfit, typed: str, words: list[str]) -> None:
    before = {*Path().rglob("*")}
    ran = linfit("run", *typed.split(), *CUT.split())
    assert (ran.code, ran.out, ran.err.count("\n")) == (2, "", 1), ran.err
    assert ran.err.startswith("linfit: ")
    assert [word for word in words if word not in ran.err] == [], ran.err
    assert "nput should" not in ran.err  # pydantic's words
    assert {*Path().rglob("*")} == before


@pytest.mark.usefixtures("bare")
@pytest.mark.parametrize(("content", "typed", "words"), DATA, ids=range(len(DATA)))
def test_bad_data_are_refused(
    content: str | bytes, typed: str, words: list[str], linfit: Linfit
) -> None:
    Path("d.csv").write_bytes(content.encode() if isinstance(content, str) else content)
    assert_refused(linfit, typed, words)


@pytest.mark.usefixtures("bare")
@pytest.mark.parametrize(("typed", "words"), SETTINGS, ids=[typed for typed, _ in SETTINGS])
def test_bad_settings_are_refused(typed: str, words: list[str], linfit: Linfit) -> None:
    assert_refused(linfit, typed, words)


X = np.arange(6.0).reshape(3, 2)
FRAME = pd.DataFrame({"a": [1.0, 2.0, 3.0], "y": ["u", "U", "v"]})


def sweep_over(dataset: Arrays, *typed: str) -> None:
    api.sweep([*dataset.overrides, "seed=0,1", *CUT.split(), *typed])


PYTHON: dict[str, tuple[Callable[[], Any], str]] = {
    "classes": (
        lambda: sweep_over(api.arrays(X, [0, 1, 2]), "loss=logistic"),
        r"3 classes, 0, 1, 2 \(2 in 1 of 3 samples, first in row 2, counted from 0\): loss logist",
    ),
    "look-alikes": (
        lambda: sweep_over(api.arrays(FRAME, target="y"), "loss=logistic"),
        "'U' and 'u' differ in case or blanks alone, spell them alike",
    ),
    "a count": (
        lambda: sweep_over(api.arrays(X, [0, 1, -2]), "loss=poisson"),
        r"has -2.0 \(row 2, counted from 0\): loss poisson takes counts",
    ),
    "a weight": (lambda: api.arrays(X, [0, 1, 2], weight=[1, -1, 1]), "row 1 .* negative weight"),
    "a value": (
        lambda: api.sweep(["loss=quantile", "loss.quantile=0.5,1", *CUT.split()]),
        "got 1, choose a number > 0 and < 1",
    ),
}


@pytest.mark.usefixtures("bare")
@pytest.mark.parametrize("case", PYTHON)
def test_bad_input_from_python_is_refused(case: str) -> None:
    call, words = PYTHON[case]
    with pytest.raises((ValueError, LinfitError), match=words):
        call()
    assert [*Path().rglob("*")] == []


def test_a_fit_in_python_that_cannot_begin_says_why() -> None:
    found = api.fit(api.FitConfig(dataset=api.arrays(X, [0, 1, -2]), loss=Poisson()))
    assert found.status is api.Status.FAILED
    assert found.error is not None
    assert "target 'y' has -2.0: the loss takes counts" in found.error.splitlines()[-1]
