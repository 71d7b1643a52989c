"""A data file is read once, and again only if it has changed or is large."""

from __future__ import annotations

import builtins
import hashlib
import io
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pytest

from linfit.problem.datasets import file_digest, kept_blocks
from linfit.problem.datasets.file_digest import hash_file
from linfit.problem.datasets.files import CSV, Npy
from linfit.problem.datasets.readers import tables
from linfit.problem.datasets.readers.tables import RowBlock
from tests.conftest import Ran
from tests.helpers import scratch_registry

Linfit = Callable[..., Ran]
ROWS = np.random.default_rng(4).standard_normal((40, 3)).tolist()
CHOSEN = (
    "dataset=csv",
    "dataset.path=data.csv",
    "dataset.features=[a,b]",
    "dataset.target=y",
    "steps=3",
    "optimizer=sgd",
)
FITTED = (*CHOSEN, "optimizer.lr=1e-3")
SUMMED = (*FITTED, "gradient=gram", "split.validation=0.2", "features.scaling=whiten")


def write(file: Path, rows: list[list[float]] = ROWS) -> CSV:
    file.write_text("a,b,y\n" + "".join(",".join(map(repr, row)) + "\n" for row in rows))
    return CSV(path=str(file), features=("a", "b"), target=("y",))


@pytest.fixture(autouse=True)
def _fresh_process(monkeypatch: pytest.MonkeyPatch) -> None:
    """As in a process that has read nothing, of files that changed long ago."""
    monkeypatch.setattr(file_digest, "SETTLED_NANOSECONDS", -(10**18))
    forget(monkeypatch)


def forget(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(file_digest, "_DIGESTS", {})
    monkeypatch.setattr(kept_blocks, "_CONTENTS", {})


@pytest.fixture
def opened(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The data files that are opened to be read, in order."""
    found: list[str] = []
    real = builtins.open

    def count(file: Any, mode: str = "r", *more: Any, **options: Any) -> Any:
        if str(file).endswith(".csv") and "r" in mode:
            found.append(str(file))
        return real(file, mode, *more, **options)

    monkeypatch.setattr(builtins, "open", count)
    monkeypatch.setattr(io, "open", count)
    return found


@pytest.mark.parametrize("small", [tables.SMALL_FILE, 0], ids=["by Python", "by Arrow"])
@pytest.mark.parametrize(
    "command",
    [
        ("run", *FITTED, "tracking=none"),
        ("run", *FITTED, "batch=minibatch", "batch.size=8", "tracking=none"),
        ("run", *SUMMED, "tracking=none"),
        ("run", "-m", *CHOSEN, "optimizer.lr=1e-3,2e-3", "dtype=float32,float64", "tracking=none"),
        ("plan", "-m", *CHOSEN, "optimizer.lr=1e-3,2e-3"),
        ("script", *FITTED),
    ],
    ids=["fit", "batches", "summary", "sweep", "plan", "script"],
)
def test_a_command_reads_a_file_once(
    command: tuple[str, ...],
    small: int,
    bare: Path,
    linfit: Linfit,
    opened: list[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(tables, "SMALL_FILE", small)
    write(bare / "data.csv")
    ran = linfit(*command)
    assert ran.code == 0, ran.err
    looks = command[0] == "script"  # at the first bytes, which say if gzip made the file
    assert opened == ["data.csv"] * (1 + looks)


def test_reproducing_hashes_a_file_before_it_reads_it(
    workdir: Path, linfit: Linfit, opened: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    write(workdir / "data.csv")
    assert linfit("run", *FITTED).code == 0
    assert len(opened) == 1
    forget(monkeypatch)
    assert "identical" in linfit("reproduce", "last").out
    assert len(opened) == 3


def test_a_large_file_is_streamed_and_still_counted_and_hashed_once(
    bare: Path, linfit: Linfit, opened: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(kept_blocks, "KEPT_BYTES", 500)
    dataset = write(bare / "data.csv")
    dataset.check_data("float32")
    dataset.check_data("float64")
    assert [*dataset.count_samples(0)] == [40]
    assert hash_file("data.csv") == hashlib.sha256(Path("data.csv").read_bytes()).hexdigest()
    del opened[:]
    for _ in range(2):
        assert dataset.load(0).shape == (40, 2, 1)
        assert len([*dataset.blocks(0)]) == 1
    assert len(opened) == 4


@pytest.mark.parametrize("small", [tables.SMALL_FILE, 0], ids=["by Python", "by Arrow"])
def test_what_is_kept_is_what_is_read(
    small: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tables, "SMALL_FILE", small)
    monkeypatch.setattr(tables, "ROWS", 16)
    file = tmp_path / "data.csv"
    dataset = write(file, [[2.0, *row[1:]] for row in ROWS]).model_copy(update={"weight": "a"})
    first = dataset.load(0)
    first.X[:] = first.y[:] = 7  # a caller may
    assert first.weights is not None
    first.weights[:] = 7
    with pytest.raises(ValueError, match="read-only"):
        next(dataset.blocks(0)).X[:] = 7
    kept = dataset.load(0)
    forget(monkeypatch)
    read = dataset.load(0)
    for one, other in ((kept.X, read.X), (kept.y, read.y), (kept.weights, read.weights)):
        assert one is not None and other is not None
        assert (one.tobytes(), one.strides) == (other.tobytes(), other.strides)
    assert kept.notes == read.notes == (f"{file}: column 'a' is constant, 2.0 in every row",)


@pytest.mark.parametrize("replaced", [False, True], ids=["written", "replaced"])
def test_a_change_after_the_check_is_seen(replaced: bool, tmp_path: Path) -> None:
    """Also where size and time are those of before."""
    file = tmp_path / "data.csv"
    dataset = write(file, [[1.0, 2.0, 3.0]] * 3)
    dataset.check_data("float32")
    digest = hash_file(str(file))
    before = file.stat()
    other = tmp_path / "other.csv" if replaced else file
    write(other, [[1.0, 2.0, 4.0]] * 3)
    os.utime(other, ns=(before.st_atime_ns, before.st_mtime_ns))
    other.replace(file)
    assert dataset.load(0).y.tolist() == [[4.0]] * 3
    assert hash_file(str(file)) != digest

    write(file, [[1.0, 2.0, 4.0]] * 4)
    assert [*dataset.count_samples(0)] == [4]
    write(file, [[1.0, 2.0, 1e39]])
    with pytest.raises(ValueError, match=r"line 2, column 'y': 1e[+]39 is beyond float32"):
        dataset.check_data("float32")
    file.unlink()
    for read in (dataset.load, dataset.blocks, dataset.count_samples):
        with pytest.raises(ValueError, match="cannot be read: No such file"):
            read(0)


def test_nothing_is_kept_of_a_file_that_changes_now(
    tmp_path: Path, opened: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(file_digest, "SETTLED_NANOSECONDS", 10**18)
    dataset = write(tmp_path / "data.csv")
    dataset.check_data("float32")
    dataset.load(0)
    assert len(opened) == 2
    assert (file_digest._DIGESTS, kept_blocks._CONTENTS) == ({}, {})


def test_nothing_is_kept_of_a_file_that_is_replaced_while_it_is_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tables, "ROWS", 16)
    blocks = write(tmp_path / "data.csv").blocks(0)
    next(blocks)
    write(tmp_path / "other.csv")
    (tmp_path / "other.csv").replace(tmp_path / "data.csv")
    assert len([*blocks]) == 2
    assert kept_blocks._CONTENTS == {}


def test_nothing_is_kept_of_an_array_that_a_memory_map_may_change(tmp_path: Path) -> None:
    np.save(tmp_path / "data.npy", np.array(ROWS))
    Npy.model_validate({"path": str(tmp_path / "data.npy"), "features": "0:2", "target": "2"}).load(
        0
    )
    assert kept_blocks._CONTENTS == {}


def test_a_number_too_large_for_one_dtype_is_refused_with_its_place_after_another(
    tmp_path: Path,
) -> None:
    dataset = write(tmp_path / "data.csv", [[1.0, -1e39, 2.0]])
    dataset.check_data("float64")
    with pytest.raises(ValueError, match=r"line 2, column 'b': -1e[+]39 is beyond float32"):
        dataset.check_data("float32")


def test_the_latest_files_are_kept_within_the_bound(
    tmp_path: Path, opened: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    files = [write(tmp_path / f"{i}.csv", ROWS[i:]) for i in range(3)]
    monkeypatch.setattr(kept_blocks, "KEPT_BYTES", 2500)
    for dataset in files:
        dataset.check_data("float32")
    del opened[:]
    assert [max(dataset.count_samples(0)) for dataset in files] == [40, 39, 38]
    assert [dataset.num_samples() for dataset in files] == [None] * 3
    for dataset in reversed(files):
        dataset.load(0)
    assert [Path(file).name for file in opened] == ["0.csv"]


def test_a_plug_ins_file_is_read_whenever_it_asks(tmp_path: Path) -> None:
    with scratch_registry():

        class Growing(CSV):
            name: Literal["growing"] = "growing"  # type: ignore[assignment]

            def read_rows(self, columns: tuple[str, ...]) -> Iterator[RowBlock]:
                calls.append(columns)
                yield np.full((len(calls), len(columns)), 1.0), str

        calls: list[Any] = []
        write(tmp_path / "data.csv")
        dataset = Growing(path=str(tmp_path / "data.csv"), features=("a",), target=("y",))
        assert [len(dataset.load(0).X) for _ in range(3)] == [1, 2, 3]
