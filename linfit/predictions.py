"""Predict a file's rows with a recorded fit, and write the predictions as CSV or Parquet.

n rows, c columns, q targets.
"""

from __future__ import annotations

import csv
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray

from linfit.config import FitConfig
from linfit.engine.caller_settings import isolate_from_caller
from linfit.engine.fit import find_held_out
from linfit.errors import ConfigError, LinfitError, shorten
from linfit.problem.datasets.files import CSV
from linfit.problem.datasets.readers.csv_text import CSVFormat, locate_invalid_bytes
from linfit.problem.datasets.readers.npy import list_array_columns, read_numpy_rows
from linfit.problem.datasets.readers.tables import (
    RowBlock,
    read_csv_rows,
    read_parquet_rows,
)
from linfit.problem.datasets.readers.text_codes import TextCodes
from linfit.problem.datasets.tabular_file import TabularFile
from linfit.problem.linfit_model_1 import LinearPredictor
from linfit.problem.types import Array, Mask
from linfit.publication import create_policy
from linfit.system.atomic_files import write_atomically
from linfit.system.host import quote_word, quote_words
from linfit.tracking.model import TrainedFit
from linfit.tracking.read.reader import RunReader, StoredRun
from linfit.tracking.read.trained import read_trained
from linfit.tracking.schema import mlflow_names
from linfit.tracking.store.store import resolve_store

PREDICTION = "prediction"
HELD_OUT = "held_out"
#: Endings of files that are read.
READABLE = (".csv", ".tsv", ".parquet", ".npy", ".npz")
#: Ending of a file that gzip compressed, after that of its kind: `.csv.gz`.
COMPRESSED = ".gz"
#: Endings of files that are written.
WRITABLE = (".csv", ".parquet")


@dataclass(frozen=True, eq=False)
class Predictions:
    """What a fit predicts for the rows of a file."""

    run_id: str
    columns: dict[str, NDArray[Any]]
    """`prediction`, or `prediction/NAME` of each target; `held_out` for the run's own data."""
    num_missing: int
    """Rows with a missing cell, whose prediction is NaN."""
    best_of: str = ""
    """The sweep whose best fit predicted; empty if a run was named."""
    fit_name: str = ""

    def __len__(self) -> int:
        return len(next(iter(self.columns.values())))


def explain_missing_arguments(given: str | None) -> str:
    """Return what to type after `linfit predict` where RUN or FILE is missing."""
    if given is None:
        return (
            "RUN and FILE are missing: linfit predict RUN FILE, as in linfit predict last new.csv"
        )
    if Path(given).suffix.lower() in READABLE or Path(given).exists():
        return f"RUN is missing: say which run, {quote_words(['linfit', 'predict', 'last', given])}"
    return f"FILE is missing: say which file, linfit predict {quote_word(given)} FILE"


@isolate_from_caller
def predict_file(
    reference: str,
    file: str | Path,
    uri: str | None = None,
    data: str | Path | None = None,
    trust: bool = False,
) -> Predictions:
    """Predict the rows of a CSV, Parquet or numpy file with a recorded fit.

    The file has the columns that the features of the fit are made of, by name; those of a plain
    numpy array are taken in their order. `reference` may name a sweep, which predicts with its best
    fit. LinfitError where the fit did not finish, or the file lacks a column or has a cell that is
    no number.
    """
    named = RunReader(resolve_store(uri)).find_run(reference)
    record = find_fit(named)
    config, trained = read_trained(record, create_policy(data, trust))
    path = Path(file)
    cells = _read_cells(path, trained, config)
    try:
        columns = _predict_cells(trained, cells)
    except (ValueError, MemoryError) as error:  # of weights that are not as linfit writes them
        why = shorten(str(error))
        raise LinfitError(f"run {record.run_id} cannot predict {file}: {why}") from error
    fingerprint = record.tags.get(mlflow_names.FINGERPRINT)
    held_out = find_held_out_rows(config, fingerprint, path, len(cells))
    if held_out is not None:
        columns[HELD_OUT] = held_out
    num_missing = int(np.isnan(cells).any(axis=1).sum())
    best_of = "" if record is named else named.run_id
    return Predictions(record.run_id, columns, num_missing, best_of, record.name)


def find_fit(record: StoredRun) -> StoredRun:
    """Return the run itself, or of a sweep its best fit."""
    if record.kind != mlflow_names.SWEEP:
        return record
    from linfit.views.results import load

    reader = record.reader
    best = load(record.run_id, reader.store.uri).best
    return reader.find_run(str(best["run_id"]))


def _predict_cells(trained: TrainedFit, cells: Array) -> dict[str, NDArray[Any]]:
    """Return the predictions `[n]` for columns `[n, c]`, whose texts are indices of levels."""
    predictor = trained.create_predictor()
    with np.errstate(over="ignore", invalid="ignore"):
        if isinstance(predictor, LinearPredictor):
            predicted = predictor.predict(cells)
            return dict(zip(name_predictions(trained.targets), predicted.T, strict=True))
        found = predictor.answer(cells)
    return dict(zip(name_predictions(tuple(found)), found.values(), strict=True))


def name_predictions(targets: tuple[str, ...]) -> list[str]:
    """Return the column of each target's predictions."""
    if len(targets) == 1:
        return [PREDICTION]
    return [f"{PREDICTION}/{target}" for target in targets]


# ---- the file ----


def _read_cells(file: Path, trained: TrainedFit, config: FitConfig) -> Array:
    """Return the columns `[n, c]` of a file, NaN where a cell is missing.

    Texts are indices of the levels that the fit knows.
    """
    ending = _find_ending(file)
    if ending not in READABLE:
        raise ConfigError(f"{str(file)!r} is of no kind that is read: {', '.join(READABLE)} are")
    with _convert_reader_errors(file, _find_format(ending, config)):
        columns = trained.columns
        texts = TextCodes(trained.categories.levels)
        blocks = [block for block, _ in _read_rows(file, ending, columns, config, texts)]
        if not blocks or not sum(map(len, blocks)):
            raise ValueError(f"{file} has no rows")
        cells = np.concatenate(blocks).astype(np.float64, copy=False)
        return trained.categories.recode(columns, cells, texts.levels, str(file))


def _read_rows(
    file: Path, ending: str, columns: tuple[str, ...], config: FitConfig, texts: TextCodes
) -> Iterator[RowBlock]:
    if ending == ".parquet":
        return read_parquet_rows(file, columns, str(file), texts)
    if ending in (".npy", ".npz"):
        return read_numpy_rows(file, _name_array_columns(file, ending, columns), str(file))
    return read_csv_rows(file, columns, str(file), True, _find_format(ending, config), texts)


def _find_ending(file: Path) -> str:
    """Return the ending that says the kind of a file; one in gzip has it before `.gz`."""
    plain = file.with_suffix("") if file.suffix.lower() == COMPRESSED else file
    return plain.suffix.lower()


def _find_format(ending: str, config: FitConfig) -> CSVFormat:
    """Return the format of the run's own data, with tabs in a file that says so."""
    form = config.dataset.format if isinstance(config.dataset, CSV) else CSVFormat()
    return replace(form, separator="\t") if ending == ".tsv" else form


def _name_array_columns(file: Path, ending: str, columns: tuple[str, ...]) -> Sequence[str]:
    """Return the names by which an array's columns are read.

    A plain array has numbers for names: its columns are the fit's, in their order.
    """
    is_plain = ending == ".npy" and not list_array_columns(file)("0").startswith("['")
    if not is_plain or all(map(str.isdigit, columns)):
        return columns
    count = _count_columns(file)
    if count != len(columns):
        named = shorten(", ".join(columns))
        raise ValueError(f"{file} has {count} columns, and the fit takes {len(columns)}: {named}")
    return [str(place) for place in range(count)]


def _count_columns(file: Path) -> int:
    shape = np.load(file, mmap_mode="r", allow_pickle=False).shape
    return int(shape[1]) if len(shape) == 2 else 1


@contextmanager
def _convert_reader_errors(file: Path, form: CSVFormat) -> Iterator[None]:
    """Raise what a reader raises as a ConfigError that names the file."""
    try:
        yield
    except UnicodeError as error:
        found = locate_invalid_bytes(file, str(file), form)
        raise ConfigError(found or f"{file} cannot be read: {error}") from error
    except (OSError, csv.Error) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise ConfigError(f"{file} cannot be read: {reason}") from error
    except ValueError as error:
        raise ConfigError(str(error).removeprefix("dataset.path ")) from error


# ---- the rows that were held out ----


def find_held_out_rows(
    config: FitConfig, fingerprint: object, file: Path, rows: int
) -> Mask | None:
    """Return a mask of the rows of the file that the fit held out.

    None where it held none out, or where the file is not the very data of the fit: with these, the
    config has the fit's fingerprint.
    """
    dataset = config.dataset
    if not config.split.holds_out() or not isinstance(dataset, TabularFile):
        return None
    dataset = dataset.model_copy(update={"path": str(file)})
    config = config.model_copy(update={"dataset": dataset})
    if config.fingerprint() != fingerprint:
        return None
    used = np.arange(rows)
    if dataset.missing == "drop":
        used = np.flatnonzero(_is_complete(dataset))
    held_out = np.zeros(rows, bool)
    held_out[used[find_held_out(config, len(used))]] = True
    return held_out


def _is_complete(dataset: TabularFile) -> Mask:
    """Return a mask of the rows without a missing cell."""
    weight = () if dataset.weight is None else (dataset.weight,)
    texts = TextCodes((*dataset.features, *dataset.target))
    rows = dataset.read_cells((*dataset.features, *dataset.target, *weight), texts)
    return np.concatenate([~np.isnan(block).any(axis=1) for block, _ in rows])


# ---- what is written ----


def write_predictions(predictions: Predictions, out: Path | None) -> None:
    """Write predictions to a CSV or Parquet file, whole or not at all, or as CSV to stdout."""
    if out is None:
        _write_csv(predictions, sys.stdout)
        return
    with write_atomically(out) as temporary:
        if out.suffix.lower() == ".parquet":
            _write_parquet(predictions, temporary)
        else:
            with temporary.open("w", encoding="utf-8", newline="") as content:
                _write_csv(predictions, content)


def require_writable(out: Path | None, source: Path) -> None:
    """Raise ConfigError unless predictions may be written to `out`."""
    if out is None:
        return
    if out.suffix.lower() not in WRITABLE:
        kinds = " and ".join(WRITABLE)
        raise ConfigError(f"{str(out)!r} is of no kind that is written: {kinds} are")
    if out.exists() and source.exists() and out.samefile(source):
        raise ConfigError(f"{str(out)!r} is the file that is read: choose another for --out")
    if not out.parent.is_dir():
        raise ConfigError(f"{str(out)!r} cannot be written: there is no folder {str(out.parent)!r}")


def _write_csv(predictions: Predictions, file: IO[str]) -> None:
    writer = csv.writer(file, lineterminator="\n")
    writer.writerow(predictions.columns)
    columns = [_format_cells(column) for column in predictions.columns.values()]
    writer.writerows(zip(*columns, strict=True))


def _format_cells(column: NDArray[Any]) -> list[str]:
    """Return the shortest text that reads back as the same numbers; NaN is an empty cell."""
    if column.dtype == object:
        return ["" if cell is None else str(cell) for cell in column]
    if column.dtype == bool:
        text = np.where(column, "true", "false")
    else:
        text = column.astype(str)
        text[np.isnan(column)] = ""
    found: list[str] = text.tolist()
    return found


def _write_parquet(predictions: Predictions, file: Path) -> None:
    import pyarrow as pa
    from pyarrow import parquet

    columns = {
        name: pa.array(np.ascontiguousarray(column), from_pandas=True)  # NaN is null
        for name, column in predictions.columns.items()
    }
    try:
        parquet.write_table(pa.table(columns), file)
    except pa.ArrowException as error:
        raise LinfitError(f"{file} cannot be written: {error}") from error
