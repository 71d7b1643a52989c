"""Rewrite the addresses in a store that was copied or moved.

Every column of MLflow's that holds an address is rewritten, in one transaction.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from mlflow.store.db.base_sql_model import Base
from mlflow.store.model_registry.dbmodels import models as registry_tables
from mlflow.store.tracking.dbmodels import models as tracking_tables
from mlflow.tracking._tracking_service.utils import _get_store
from mlflow.utils.mlflow_tags import MLFLOW_ARTIFACT_LOCATION
from sqlalchemy import Connection, bindparam, select, update

from linfit.errors import ConfigError
from linfit.tracking import layout
from linfit.tracking.addresses import address_of, folder_of
from linfit.tracking.copies import Readable
from linfit.tracking.database import transaction
from linfit.tracking.migrations import require_current
from linfit.tracking.patience import persist
from linfit.tracking.store import Store, require
from linfit.tracking.whereabouts import Move, find_moves

Rewrite = Callable[[str, Sequence[Move]], str | None]
"""Returns a text with the new place in it; None where the text names nothing that has moved."""
#: The parameter of an update that is the new text; the others are the columns of the primary key.
NEW = "new_text"


@dataclass(frozen=True)
class Relocation:
    """The folders that have moved, and the number of addresses below them by kind."""

    moves: list[Move]
    counts: dict[str, int] = field(default_factory=dict)
    done: bool = False


def relocate(
    store: Store, old: Path | None = None, new: Path | None = None, write: bool = False
) -> Relocation:
    """Rewrite the addresses below the recorded places, or below `old`; count them without `write`.

    The new place is `new`, or the folder of a SQLite store. ConfigError where the store needs both
    to be named.
    """
    if store.is_server:
        raise ConfigError(
            f"{store} is a server: its addresses are rewritten in its database, which --uri names"
        )
    require(store)
    if write:
        require_current(store)
    moves = _choose_moves(store, old, new)
    readable = Readable(store)
    counts = persist(store, _rewrite_all, readable.uri, moves, write)
    return Relocation(moves, counts, write and any(counts.values()))


def _choose_moves(store: Store, old: Path | None, new: Path | None) -> list[Move]:
    if new is None and store.file is not None:
        new = store.file.parent
    if new is None or (old is None and store.file is None):
        raise ConfigError(
            f"no folder is beside {store}: name the old one and the new one with --from and --to"
        )
    if old is not None:
        return [Move(old.absolute(), new.absolute())]
    return [Move(move.old, new.absolute()) for move in find_moves(store, with_gone=True)]


def _rewrite_all(uri: str, moves: Sequence[Move], write: bool) -> dict[str, int]:
    counts: dict[str, int] = {}
    with transaction(_get_store(uri).engine) as connection:
        for place in PLACES:
            rows = list(place.find_rows(connection, moves))
            counts[place.kind] = counts.get(place.kind, 0) + len(rows)
            if write and rows:
                place.update_rows(connection, rows)
    return counts


def rewrite_address(text: str, moves: Sequence[Move]) -> str | None:
    """Return the address of artifacts in the new place."""
    folder = folder_of(text)
    new = None if folder is None else _move(folder, moves)
    return None if new is None else address_of(new)


def rewrite_path(text: str, moves: Sequence[Move]) -> str | None:
    """Return a path in the new place."""
    new = _move(Path(text), moves)
    return None if new is None else str(new)


def rewrite_source(text: str, moves: Sequence[Move]) -> str | None:
    """Return the source of a dataset, which is JSON, with its path in the new place."""
    try:
        source = json.loads(text)
        new = rewrite_path(source["uri"], moves)
    except (ValueError, KeyError, TypeError, RecursionError):
        return None
    return None if new is None else json.dumps({**source, "uri": new})


def _move(folder: Path, moves: Sequence[Move]) -> Path | None:
    for move in moves:
        new = move.moved(folder)
        if new is not None:
            return new
    return None


@dataclass(frozen=True)
class Place:
    """A column of a table that holds addresses, in every row or in the rows of one `key`."""

    kind: str
    model: type[Base]
    column: str
    rewrite: Rewrite = rewrite_address
    key: str | None = None

    def find_rows(self, connection: Connection, moves: Sequence[Move]) -> Iterator[dict[str, Any]]:
        """Yield the primary key and the new text of each row whose folder has moved."""
        table = self.model.__table__
        query = select(*table.primary_key, table.c[self.column].label(NEW))
        if self.key is not None:
            query = query.where(table.c["key"] == self.key)
        for row in connection.execute(query).mappings():
            text = row[NEW]
            new = self.rewrite(text, moves) if isinstance(text, str) else None
            if new is not None:
                key = {_parameter(column.name): row[column.name] for column in table.primary_key}
                yield {**key, NEW: new}

    def update_rows(self, connection: Connection, rows: Sequence[dict[str, Any]]) -> None:
        """Write the new text into each row."""
        table = self.model.__table__
        same = (column == bindparam(_parameter(column.name)) for column in table.primary_key)
        statement = update(table).where(*same).values({self.column: bindparam(NEW)})
        connection.execute(statement, list(rows))


def _parameter(column: str) -> str:
    """Return the name of a parameter; a column's own name is taken by the value assigned to it."""
    return f"key_{column}"


PLACES = (
    Place("experiments", tracking_tables.SqlExperiment, "artifact_location"),
    Place("runs", tracking_tables.SqlRun, "artifact_uri"),
    Place("models", tracking_tables.SqlLoggedModel, "artifact_location"),
    Place("models", registry_tables.SqlModelVersion, "source"),
    Place("models", registry_tables.SqlModelVersion, "storage_location"),
    Place("datasets", tracking_tables.SqlDataset, "dataset_source", rewrite_source),
    Place("traces", tracking_tables.SqlTraceTag, "value", key=MLFLOW_ARTIFACT_LOCATION),
    Place("tags", tracking_tables.SqlTag, "value", rewrite_path, layout.FOLDER),
)
