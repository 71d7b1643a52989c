"""Any recorded fit predicts: as an MLflow model that is logged on demand, and on a file's rows."""

from __future__ import annotations

import csv
import io
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import mlflow
import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from pyarrow import parquet

import linfit as lf
from linfit.errors import LinfitError
from linfit.publication import publish_model
from linfit.tracking.read import trained
from linfit.tracking.schema.short_names import name_model
from linfit.views.results import Results
from tests.conftest import Ran
from tests.helpers import forbid_pickles

Linfit = Callable[..., Ran]
STREAM = np.random.default_rng(5)
FRAME = pd.DataFrame({"length": STREAM.uniform(1, 5, 20), "mass": STREAM.uniform(-1, 1, 20)})
FRAME["force"] = FRAME["length"] * 2 - FRAME["mass"] + 0.1 * STREAM.standard_normal(20)
DATA = (
    "dataset=csv",
    "dataset.path=data.csv",
    "dataset.features=[mass,length]",
    "dataset.target=force",
)
SCALED = ("features=polynomial", "features.degree=2", "features.scaling=standardize")
QUICK = ("steps=30", "pictures=false", "record.every=10")


@pytest.fixture
def data(workdir: Path) -> Path:
    FRAME.to_csv("data.csv", index=False)
    return workdir


@pytest.fixture
def loaded(data: Path) -> Iterator[Callable[[str], Any]]:
    """Load a model of the working directory's store as a user of MLflow does."""

    def load(address: str) -> Any:
        mlflow.set_tracking_uri(f"sqlite:///{data}/outputs/mlflow.db")
        return mlflow.pyfunc.load_model(address)

    yield load
    mlflow.set_tracking_uri(None)


def swept(linfit: Linfit, *arguments: str) -> Results:
    done = linfit("run", "-m", *DATA, *QUICK, *arguments)
    assert done.code == 0, done.err
    return lf.load("last")


def rows_of(text: str) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(text)))


# ---- models on demand ----


@pytest.mark.parametrize("features", [(), SCALED], ids=["raw", "scaled"])
def test_a_fit_of_a_sweep_becomes_a_model_once(
    features: tuple[str, ...], linfit: Linfit, loaded: Any, monkeypatch: Any
) -> None:
    results = swept(linfit, *features, "optimizer.lr=0.01,0.1", "split.validation=0.25")
    row = results.table.iloc[0]
    [uri] = linfit("model", row["run_id"][:12]).out.split()
    assert uri.startswith("models:/m-")

    again = linfit("model", row["run_id"])
    assert again.out.split() == [uri]
    assert f"the model of run {row['run_id']} is in " in again.err

    forbid_pickles(monkeypatch)
    expected = lf.fit(results.swept.load_config(0))
    for address in (uri, f"runs:/{row['run_id']}/{name_model(row['name'])}"):
        predicted = loaded(address).predict(FRAME)
        assert list(predicted.columns) == ["force"]
        kept = np.delete(predicted.to_numpy(), expected.held_out, axis=0)
        assert expected.problem is not None
        own = expected.problem.cast("float32").X.astype(np.float32) @ expected.weights
        np.testing.assert_allclose(kept, own, rtol=1e-6)
    assert (results.model(row).predict(FRAME) == predicted).all(axis=None)
    assert results.model(0).predict(FRAME[["mass", "length"]].to_numpy()).shape == (20, 1)
    assert results.held_out(row).tolist() == expected.held_out.tolist()


def test_a_model_that_another_command_logs_meanwhile_is_the_only_one(
    linfit: Linfit, data: Path, client: Any, monkeypatch: Any
) -> None:
    run_id = swept(linfit, "seed=0,1").table["run_id"][0]
    find = trained.find_logged_model
    others: list[Any] = []

    def find_late(record: Any) -> Any:
        found = find(record)
        if not others:
            others.append(None)
            others[0] = publish_model(run_id)
        return found

    monkeypatch.setattr(trained, "find_logged_model", find_late)
    made = publish_model(run_id)
    assert (made.uri, made.is_new, others[0].is_new) == (others[0].uri, False, True)


def test_single_runs_and_sweeps_keep_the_model_that_they_have(linfit: Linfit, data: Path) -> None:
    assert linfit("run", *DATA, *QUICK).code == 0
    single = linfit("model", "last")
    assert " is in " in single.err
    swept(linfit, "seed=0,1")
    best = linfit("model", "last", "--json")
    assert '"new": false' in best.out
    assert single.out.strip() not in best.out


def test_a_model_comes_of_an_interrupted_sweep_too(
    linfit: Linfit, loaded: Any, client: Any
) -> None:
    """The tables of such a sweep are not joined: MLflow has few weights with all their bits."""
    results = swept(linfit, "seed=0,1", *SCALED)
    expected = results.model(1).predict(FRAME)
    row = results.table.iloc[1]
    client.delete_tag(results.run_id, "linfit.files")
    [uri] = linfit("model", row["run_id"]).out.split()
    assert (loaded(uri).predict(FRAME) == expected).all(axis=None)


# ---- files ----


@pytest.mark.parametrize("ending", ["csv", "parquet", "npy", "tsv"])
def test_a_file_of_any_kind_is_predicted(ending: str, linfit: Linfit, data: Path) -> None:
    results = swept(linfit, *SCALED, "seed=0,1")
    best = results.best
    file = f"new.{ending}"
    columns = FRAME[["mass", "length"]]
    if ending == "npy":
        np.save(file, columns.to_numpy())
    elif ending == "parquet":
        FRAME.to_parquet(file)
    else:
        FRAME.to_csv(file, index=False, sep="\t" if ending == "tsv" else ",")
    done = linfit("predict", "last", file)
    assert done.code == 0
    said = f"linfit: predicted by {best['name']}, run {best['run_id']}, the best fit of sweep "
    assert done.err == f"{said}{results.run_id}\n"
    found = np.array([row["prediction"] for row in rows_of(done.out)], np.float32)
    expected = results.model(best).predict(columns.to_numpy())[:, 0]
    assert found.tolist() == expected.tolist(), "with all bits"
    assert list(rows_of(done.out)[0]) == ["prediction"], "no row was held out"


def test_of_its_own_data_the_rows_held_out_are_marked(linfit: Linfit, data: Path) -> None:
    frame = FRAME.copy()
    frame.loc[[3, 11], ["mass", "force"]] = np.nan, np.nan
    frame.to_csv("data.csv", index=False)
    frame.drop(columns="force").to_csv("other.csv", index=False)
    arguments = ("dataset.missing=drop", "split.validation=0.25", "dtype=float64")
    assert linfit("run", *DATA, *QUICK, *arguments).code == 0
    Path("data.csv").rename("elsewhere.csv")

    done = linfit("predict", "last", "elsewhere.csv", "--out", "out.parquet")
    assert done.code == 0, done.err
    assert "20 predictions of run" in done.out and "2 of 20 rows lack a cell" in done.err
    table = parquet.read_table("out.parquet")
    assert table.schema.types == [pa.float64(), pa.bool_()]
    assert table["prediction"].null_count == 2
    marked = np.flatnonzero(table["held_out"])

    Path("elsewhere.csv").rename("data.csv")
    fit = lf.fit(lf.compose([*DATA, *QUICK, *arguments]))
    assert marked.tolist() == np.delete(np.arange(20), [3, 11])[fit.held_out].tolist()
    assert fit.validation_losses is not None
    residuals = (table["prediction"].to_numpy() - frame["force"])[marked]
    assert float((residuals**2).sum()) == pytest.approx(fit.validation_losses[-1])
    assert "held_out" not in linfit("predict", "last", "other.csv").out


def test_several_targets_have_a_column_each(linfit: Linfit, workdir: Path) -> None:
    assert linfit("run", "dataset=random_linear", "dataset.q=2", *QUICK).code == 0
    np.save("X.npy", STREAM.standard_normal((3, 5)))
    header = linfit("predict", "last", "X.npy").out.splitlines()[0]
    assert header == "prediction/y0,prediction/y1"


WRONG: dict[str, tuple[str, list[str], str]] = {
    "absent": ("", ["gone.csv"], "gone.csv cannot be read: No such file or directory"),
    "a folder": ("", ["outputs"], "'outputs' is of no kind that is read: .csv, .tsv"),
    "no column": ("mas,length\n1,2\n", ["w.csv"], "w.csv has no column 'mass': did you mean 'mas'"),
    "no number": ("mass,length\n1,2\n3,x\n", ["w.csv"], "w.csv, line 3, column 'length': 'x' is"),
    "no rows": ("mass,length\n", ["w.csv"], "w.csv has no rows"),
    "no Parquet": ("mass", ["w.parquet"], "'w.parquet' is no Parquet file"),
    "no array": ("mass", ["w.npy"], "w.npy"),
    "no kind": ("mass,length\n1,2\n", ["w.csv", "--out", "o.xlsx"], "'o.xlsx' is of no kind that"),
    "itself": ("mass,length\n1,2\n", ["w.csv", "--out", "./w.csv"], "is the file that is read"),
    "no folder": ("mass,length\n1,2\n", ["w.csv", "--out", "no/o.csv"], "there is no folder 'no'"),
}


def test_what_cannot_be_predicted_is_told_in_one_line(linfit: Linfit, data: Path) -> None:
    assert linfit("run", *DATA, *QUICK).code == 0
    for text, arguments, said in WRONG.values():
        for ending in ("csv", "parquet", "npy"):
            Path(f"w.{ending}").write_text(text)
        before = {*Path().rglob("*")}
        found = linfit("predict", "last", *arguments)
        assert (found.code, found.out, found.err.count("\n")) == (2, "", 1), arguments
        assert said in found.err
        assert {*Path().rglob("*")} == before
    for alone, said in (
        ([], "RUN and FILE are missing: linfit predict RUN FILE"),
        (["w.csv"], "RUN is missing: say which run, linfit predict last w.csv"),
        (["gone.npy"], "RUN is missing: say which run, linfit predict last gone.npy"),
        (["last"], "FILE is missing: say which file, linfit predict last FILE"),
    ):
        found = linfit("predict", *alone)
        assert (found.code, found.out, found.err.count("\n")) == (2, "", 1), alone
        assert said in found.err
    np.save("w.npy", np.zeros((4, 3)))
    found = linfit("predict", "last", "w.npy")
    assert "w.npy has 3 columns, and the fit takes 2: mass, length" in found.err


def test_a_fit_that_did_not_finish_predicts_nothing(
    linfit: Linfit, data: Path, client: Any
) -> None:
    assert linfit("run", *DATA, *QUICK, "optimizer=sgd", "optimizer.lr=10").code == 0
    run_id = client.search_runs(["1"])[0].info.run_id
    assert_refused(linfit, "last", f"run {run_id} diverged at step ")
    client.set_tag(run_id, "linfit.status", "failed")
    assert_refused(linfit, "last", f"run {run_id} failed: it has no weights")
    client.delete_tag(run_id, "linfit.status")
    client.set_terminated(run_id, "KILLED")
    assert_refused(linfit, "last", "it did not finish, it is KILLED")
    assert_refused(linfit, "0123", "whose id begins with '0123'")

    results = swept(linfit, "optimizer=sgd", "optimizer.lr=10,20")
    assert_refused(linfit, results.table["run_id"][1], "diverged at step")
    assert "no fit of" in linfit("predict", "last", "data.csv").err
    assert "has no model of its own" in linfit("model", "last").err
    with pytest.raises(LinfitError, match=r"row 1 of .* diverged"):
        results.model(1)


def assert_refused(linfit: Linfit, reference: str, said: str) -> None:
    for arguments in (["predict", reference, "data.csv"], ["model", reference]):
        found = linfit(*arguments)
        assert (found.code, found.out, found.err.count("\n")) == (2, "", 1), found.err
        assert said in found.err


def test_of_a_sweep_whose_data_have_changed_no_fit_predicts(linfit: Linfit, data: Path) -> None:
    results = swept(linfit, "seed=0,1")
    Path("kept").mkdir()
    Path("data.csv").rename("kept/data.csv")
    run_id = results.table["run_id"][0]
    gone = linfit("predict", run_id, "kept/data.csv")
    assert gone.code == 2 and "'data.csv'" in gone.err
    assert linfit("predict", run_id, "kept/data.csv", "--data", "kept").code == 0
    (FRAME * 2).to_csv("data.csv", index=False)
    assert "its data file 'data.csv' was changed since" in linfit("model", run_id).err
