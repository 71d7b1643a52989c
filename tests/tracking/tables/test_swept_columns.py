"""What a sweep varies stands in its results: a typed column for each key, which a query reads."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from pyarrow import parquet

from linfit.errors import LinfitError
from linfit.tracking.tables.swept_columns import build_typed_array, read_swept_columns
from tests.conftest import Ran

PAGE = Path(__file__).parents[3] / "docs" / "sizing.md"
QUERIES = re.findall(r"```sql\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.DOTALL)
Linfit = Callable[..., Ran]


def results_in(folder: str = "outputs/sweeps") -> pa.Table:
    [file] = Path().glob(f"{folder}/*/results.parquet")
    return parquet.read_table(file)


@pytest.mark.parametrize(
    ("values", "kind"),
    [
        ([1, 2, None], pa.int64()),
        ([1, 0.5], pa.float64()),
        ([True, None], pa.bool_()),
        (["adam", "sgd"], pa.string()),
        ([None, None], pa.string()),
        ([1, "one", [0.9, 0.99], True], pa.string()),
        ([2**63], pa.float64()),
    ],
    ids=str,
)
def test_numbers_are_numbers_and_text_is_text(values: list[Any], kind: pa.DataType) -> None:
    array = build_typed_array(values)
    assert array.type == kind
    assert [value is None for value in array.to_pylist()] == [value is None for value in values]
    if kind != pa.string():
        assert array.to_pylist() == values


def test_a_sweep_has_a_column_for_each_key_that_varies(linfit: Linfit, bare: Path) -> None:
    (bare / "conf" / "optimizer").mkdir(parents=True)
    (bare / "conf" / "optimizer" / "fast.yaml").write_text("name: adam\nlr: 0.5\n")
    arguments = (
        "optimizer=fast,sgd",
        "optimizer.lr=0.001,0.1",
        "loss=sse,mse",
        "dtype=float32,float64",
        "stop.excess_loss=null,0.1",
        "split={validation:0.2},{validation:0.5}",
    )
    done = linfit("run", "-m", "tracking=none", "pictures=false", "steps=3", *arguments)
    assert done.code == 0, done.err
    table = results_in()
    rows = table.to_pylist()
    assert len(rows) == 64
    kinds = {field.name: field.type for field in table.schema}
    assert kinds["optimizer.lr"] == pa.float64()
    assert kinds["stop.excess_loss"] == pa.float64()
    assert {row["optimizer"] for row in rows} == {"fast", "sgd"}, "as they were chosen"
    assert {row["loss function"] for row in rows} == {"sse", "mse"}
    assert {row["dtype"] for row in rows} == {"float32", "float64"}
    assert {row["split.validation"] for row in rows} == {0.2, 0.5}
    assert {row["stop.excess_loss"] for row in rows} == {None, 0.1}
    for row in rows:
        assert f"lr={row['optimizer.lr']:g}" in row["name"].split()
    assert table.column_names.count("loss") == 1


def test_of_a_sweep_in_batches_the_columns_are_settled_at_the_end(
    linfit: Linfit, workdir: Path
) -> None:
    """Hydra's own sweeper hands over a batch at a time: `seed` varies only from the second on."""
    arguments = ("hydra/sweeper=basic", "hydra.sweeper.max_batch_size=2", "pictures=false")
    swept = ("seed=0,1", "optimizer.lr=0.01,0.1", "steps=3")
    assert linfit("run", "-m", *arguments, *swept).code == 0
    table = results_in().sort_by("row")
    assert table["seed"].to_pylist() == [0, 0, 1, 1]
    assert table["optimizer.lr"].to_pylist() == [0.01, 0.1, 0.01, 0.1]
    assert table["seed"].type == pa.int64()


def test_a_manifest_that_makes_no_sense_is_named(tmp_path: Path) -> None:
    planned = {"row": [0], "overrides": [["seed=0"]], "config": ["[1]"]}
    parquet.write_table(pa.table(planned), tmp_path / "manifest.parquet")
    with pytest.raises(LinfitError, match=r"manifest\.parquet is not as linfit writes it"):
        read_swept_columns(tmp_path / "manifest.parquet", [0], ["seed"], ())


@pytest.fixture
def asked(linfit: Linfit, bare: Path) -> pa.Table:
    """The results of a sweep that the page's queries are about, in the working directory."""
    arguments = ("optimizer=sgd,adam", "optimizer.lr=0.001,0.1,10", "seed=0,1", "steps=5")
    done = linfit("run", "-m", "tracking=none", "pictures=false", *arguments)
    assert done.code == 0, done.err
    return results_in()


def test_the_page_asks_for_columns_that_there_are(asked: pa.Table) -> None:
    assert len(QUERIES) >= 3
    for query in QUERIES:
        quoted = set(re.findall(r'"([^"]+)"', query))
        plain = set(re.findall(r"\b(?:row|seed|status|excess_loss|run_id|optimizer)\b", query))
        assert quoted | plain <= set(asked.column_names)


def test_duckdb_answers_every_query_of_the_page(asked: pa.Table) -> None:
    duckdb = pytest.importorskip("duckdb", reason="duckdb, which no lock has, is not installed")
    settings, best, curves = [duckdb.sql(query).fetchall() for query in QUERIES]
    assert {(optimizer, lr) for optimizer, lr, *_ in settings} == {
        (optimizer, lr) for optimizer in ("sgd", "adam") for lr in (0.001, 0.1, 10.0)
    }
    least = min(row["excess_loss"] for row in asked.to_pylist() if row["status"] == "completed")
    assert min(excess for *_, excess, _ in best) == least
    assert [name for name, *_ in sorted(best)] == ["adam", "sgd"]
    assert {step for _, _, step, _ in curves} == {0, 1, 2, 3, 4, 5}
