"""Read all that a working directory holds of a sweep, and compare it with an undisturbed sweep."""

from __future__ import annotations

import hashlib
import json
import re
import sqlite3
from collections import Counter, defaultdict
from collections.abc import Iterable
from contextlib import closing
from dataclasses import dataclass, field
from itertools import takewhile
from pathlib import Path
from typing import Any

import pyarrow as pa
from pyarrow import parquet

from linfit.errors import LinfitError
from linfit.tracking.model import read_weights
from linfit.tracking.schema import mlflow_names
from linfit.tracking.tables.parts import hash_table
from tests.faults.harness import FOLDER, recorded_fits

#: What is there, by what it is: equal texts are equal bits, but for ids and times.
Snapshot = dict[str, list[str]]
#: How a whole file ends.
ENDS = {".png": b"IEND\xaeB`\x82", ".svg": b"</svg>", ".html": b"</html>"}
#: The folder for temporary files.
SCRATCH = "tmp"
#: The ids of runs and models in paths, and as a command takes them.
ID = re.compile(r"\b(m-)?[0-9a-f]{32}\b|(?<=linfit report )[0-9a-f]{12}\b")
#: Columns of tables and tags of runs that differ from one sweep to the next, or are measured.
OWN_COLUMNS = ("run_id", "step_seconds")
OWN_TAGS = {
    mlflow_names.ID,
    mlflow_names.OWNER,
    mlflow_names.FILES,
    mlflow_names.FOLDER,
    "mlflow.runName",
}


@dataclass
class Verdict:
    """What is not as it should be, in words."""

    lost: list[str] = field(default_factory=list)
    twice: list[str] = field(default_factory=list)
    half: list[str] = field(default_factory=list)
    left: list[str] = field(default_factory=list)

    @property
    def counts(self) -> dict[str, int]:
        return {kind: len(found) for kind, found in vars(self).items()}


def compare(found: Snapshot, expected: Snapshot) -> Verdict:
    """Return how `found` differs from `expected`.

    Entries are missing, more frequent, of another content, or unexpected.
    """
    verdict = Verdict()
    for key in sorted(found.keys() | expected.keys()):
        here, there = found.get(key, []), expected.get(key, [])
        if not there:
            verdict.left.append(f"{key} ({len(here)})")
        elif len(here) < len(there):
            verdict.lost.append(key)
        elif len(here) > len(there):
            verdict.twice.append(key)
        elif Counter(here) != Counter(there):
            verdict.half.append(
                f"{key}: {tell_difference(repr(sorted(here)), repr(sorted(there)))}"
            )
    return verdict


def tell_difference(here: str, there: str) -> str:
    """Return both texts from shortly before they part."""
    same = takewhile(lambda pair: pair[0] == pair[1], zip(here, there, strict=False))
    begin = max(sum(1 for _ in same) - 60, 0)
    return f"…{here[begin : begin + 200]}… is not …{there[begin : begin + 200]}…"


def take_snapshot(workdir: Path) -> Snapshot:
    """Return the rows of the sweep's tables, its runs, and every file below `workdir`."""
    snapshot: Snapshot = defaultdict(list)
    names = {}
    for run, (row, *rest) in recorded_fits(workdir):
        names[run] = f"RUN {row}"
        snapshot[f"run {row}"].append(repr(rest))
    with closing(sqlite3.connect(workdir / "outputs" / "mlflow.db")) as store:
        for run, text in _parents(store, workdir):
            names[run] = "SWEEP"
            snapshot["parent"].append(text)
        for key, text in _troubles(store):
            snapshot[key].append(text)
    for name in (mlflow_names.RESULTS, mlflow_names.CURVES):
        for row, text in _rows(workdir / FOLDER / name):
            snapshot[f"{name} {row}"].append(text)
    for key, text in _files(workdir, names):
        snapshot[key].append(text)
    return dict(snapshot)


def _parents(store: sqlite3.Connection, workdir: Path) -> Iterable[tuple[str, str]]:
    """Yield the runs of the sweep itself, with what they are apart from ids and times."""
    query = (
        "SELECT run_uuid FROM tags JOIN runs USING (run_uuid) "
        "WHERE lifecycle_stage = 'active' AND key = ? AND value = ?"
    )
    folder = str((workdir / FOLDER).absolute())
    for (run,) in store.execute(query, (mlflow_names.FOLDER, folder)).fetchall():
        status = store.execute(
            "SELECT name, status FROM runs WHERE run_uuid = ?", (run,)
        ).fetchone()
        pairs = store.execute(
            "SELECT key, value FROM tags WHERE run_uuid = ? ORDER BY key", (run,)
        ).fetchall()
        tags = [(key, value) for key, value in pairs if key not in OWN_TAGS]
        params = store.execute(
            "SELECT key, value FROM params WHERE run_uuid = ? ORDER BY key", (run,)
        ).fetchall()
        numbers = "SELECT key, value, step FROM metrics WHERE run_uuid = ? ORDER BY key, step"
        changed = _find_changed(workdir / FOLDER, dict(pairs))
        yield (
            run,
            ID.sub(
                "ID",
                repr((status, tags, params, store.execute(numbers, (run,)).fetchall(), changed)),
            ),
        )


def _find_changed(folder: Path, tags: dict[str, str]) -> list[str]:
    """Return the files of a sweep that are not what its run says of them."""
    hashes: dict[str, str] = json.loads(tags.get(mlflow_names.FILES, "{}"))
    return [
        name
        for name, digest in hashes.items()
        if not (folder / name).exists() or hash_table(folder / name) != digest
    ]


def _troubles(store: sqlite3.Connection) -> Iterable[tuple[str, str]]:
    """Yield what no store has when nobody works with it.

    Runs that seem to be running, broken pages, references to nothing.
    """
    for run, name in store.execute("SELECT run_uuid, name FROM runs WHERE status = 'RUNNING'"):
        yield f"RUNNING {name}", run
    if (said := store.execute("PRAGMA quick_check").fetchall()) != [("ok",)]:
        yield "broken database", repr(said)
    if said := store.execute("PRAGMA foreign_key_check").fetchall():
        yield "broken reference", repr(said)


def _rows(file: Path) -> Iterable[tuple[int, str]]:
    """Yield the rows of a table of the sweep; none where it is not there or cannot be read."""
    try:
        table = parquet.read_table(file)
    except (OSError, pa.ArrowException):
        return
    for row in table.drop_columns(
        [name for name in OWN_COLUMNS if name in table.column_names]
    ).to_pylist():
        yield row["row"], repr(row)


def _files(workdir: Path, names: dict[str, str]) -> Iterable[tuple[str, str]]:
    """Yield every file and every empty folder by its path, with its content.

    Runs are called by their rows.
    """

    def call(found: re.Match[str]) -> str:
        return names.get(found[0], "MODEL" if found[1] else "ANOTHER RUN")

    for path in workdir.rglob("*"):
        if path.is_dir():
            if any(path.iterdir()) or path.name == SCRATCH:
                continue
            yield f"folder {ID.sub(call, str(path.relative_to(workdir)))}", "empty"
        else:
            yield ID.sub(call, str(path.relative_to(workdir))), describe(path)


def describe(file: Path) -> str:
    """Describe a file's content, as far as it is the same every time.

    Of other files, return whether they are whole.
    """
    content = file.read_bytes()
    if file.name == mlflow_names.CONFIG_FILE:
        return hashlib.sha256(content).hexdigest()
    if file.name == mlflow_names.WEIGHTS_FILE:
        return _describe_weights(file)
    if file.suffix in ENDS:
        return "whole" if content.rstrip().endswith(ENDS[file.suffix]) else "cut off"
    if file.suffix == ".parquet":
        return _describe_table(file)
    if file.suffix == ".json":
        return _describe_json(content)
    return "something" if content else "empty"


def _describe_weights(file: Path) -> str:
    """Return the header and the numbers, whose order changes from file to file."""
    try:
        tensors, header = read_weights(file)
    except LinfitError as error:
        return str(error)
    digests = {
        name: hashlib.sha256(tensor.tobytes()).hexdigest() for name, tensor in tensors.items()
    }
    return repr((sorted(header.items()), sorted(digests.items())))


def _describe_table(file: Path) -> str:
    try:
        found = parquet.read_table(file, page_checksum_verification=True)
        return f"{found.num_rows} rows of {found.column_names}"
    except (OSError, pa.ArrowException):
        return "cut off"


def _describe_json(content: bytes) -> str:
    try:
        found: Any = json.loads(content)
    except ValueError:
        return "cut off"
    return f"whole, {type(found).__name__}"
