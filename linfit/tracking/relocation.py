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
from linfit.tracking.schema import mlflow_names
from linfit.tracking.store.addresses import find_folder, format_address
from linfit.tracking.store.copies import ReadableDatabase
from linfit.tracking.store.migrations import require_current
from linfit.tracking.store.retry import call_with_retry
from linfit.tracking.store.store import Store, require_store
from linfit.tracking.store.whereabouts import FolderMove, find_moves
from linfit.tracking.write.database import begin_transaction

RewriteText = Callable[[str, Sequence[FolderMove]], str | None]
"""Returns a text with the new place in it; None where the text names nothing that has moved."""
#: The parameter of an update that is the new text; the others are the columns of the primary key.
NEW_TEXT = "new_text"


@dataclass(frozen=True)
class Relocation:
    """Moved folders, with the number of addresses below by kind."""

    moves: list[FolderMove]
    counts: dict[str, int] = field(default_factory=dict)
    done: bool = False


def relocate_store(
    store: Store, old: Path | None = None, new: Path | None = None, write: bool = False
) -> Relocation:
    """Rewrite the addresses below the recorded places, or below `old`.

    Without `write` they are only counted. The new place is `new`, or the folder of a SQLite store.
    ConfigError where the store needs both to be named.
    """
    if store.is_server:
        raise ConfigError(
            f"{store} is a server: its addresses are rewritten in its database, which --uri names"
        )
    require_store(store)
    if write:
        require_current(store)
    moves = _choose_moves(store, old, new)
    readable = ReadableDatabase(store)
    counts = call_with_retry(store, _rewrite_all, readable.uri, moves, write)
    return Relocation(moves, counts, write and any(counts.values()))


def _choose_moves(store: Store, old: Path | None, new: Path | None) -> list[FolderMove]:
    if new is None and store.file is not None:
        new = store.file.parent
    if new is None or (old is None and store.file is None):
        raise ConfigError(
            f"no folder is beside {store}: name the old one and the new one with --from and --to"
        )
    if old is not None:
        return [FolderMove(old.absolute(), new.absolute())]
    return [FolderMove(move.old, new.absolute()) for move in find_moves(store, with_gone=True)]


def _rewrite_all(uri: str, moves: Sequence[FolderMove], write: bool) -> dict[str, int]:
    counts: dict[str, int] = {}
    with begin_transaction(_get_store(uri).engine) as connection:
        for place in ADDRESS_COLUMNS:
            rows = list(place.find_rows(connection, moves))
            counts[place.kind] = counts.get(place.kind, 0) + len(rows)
            if write and rows:
                place.update_rows(connection, rows)
    return counts


def rewrite_address(text: str, moves: Sequence[FolderMove]) -> str | None:
    """Return the address of artifacts in the new place."""
    folder = find_folder(text)
    if folder is None or (new := _move(folder, moves)) is None:
        return None
    return format_address(new)


def rewrite_path(text: str, moves: Sequence[FolderMove]) -> str | None:
    """Return a path in the new place."""
    new = _move(Path(text), moves)
    return None if new is None else str(new)


def rewrite_source(text: str, moves: Sequence[FolderMove]) -> str | None:
    """Return the JSON source of a dataset with its new path."""
    try:
        source = json.loads(text)
        new = rewrite_path(source["uri"], moves)
    except (ValueError, KeyError, TypeError, RecursionError):
        return None
    if new is None:
        return None
    return json.dumps({**source, "uri": new})


def _move(folder: Path, moves: Sequence[FolderMove]) -> Path | None:
    for move in moves:
        new = move.move_folder(folder)
        if new is not None:
            return new
    return None


@dataclass(frozen=True)
class AddressColumn:
    """A column of a table that holds addresses.

    It holds them in every row, or in the rows of one `key`.
    """

    kind: str
    model: type[Base]
    column: str
    rewrite: RewriteText = rewrite_address
    key: str | None = None

    def find_rows(
        self, connection: Connection, moves: Sequence[FolderMove]
    ) -> Iterator[dict[str, Any]]:
        """Yield primary key and new text of rows whose folder moved."""
        table = self.model.__table__
        query = select(*table.primary_key, table.c[self.column].label(NEW_TEXT))
        if self.key is not None:
            query = query.where(table.c["key"] == self.key)
        for row in connection.execute(query).mappings():
            text = row[NEW_TEXT]
            if isinstance(text, str) and (new := self.rewrite(text, moves)) is not None:
                key = {_parameter(column.name): row[column.name] for column in table.primary_key}
                yield {**key, NEW_TEXT: new}

    def update_rows(self, connection: Connection, rows: Sequence[dict[str, Any]]) -> None:
        """Write the new text into each row."""
        table = self.model.__table__
        same = (column == bindparam(_parameter(column.name)) for column in table.primary_key)
        statement = update(table).where(*same).values({self.column: bindparam(NEW_TEXT)})
        connection.execute(statement, list(rows))


def _parameter(column: str) -> str:
    """Return the name of a parameter; a column's own name is taken by the value assigned to it."""
    return f"key_{column}"


ADDRESS_COLUMNS = (
    AddressColumn("experiments", tracking_tables.SqlExperiment, "artifact_location"),
    AddressColumn("runs", tracking_tables.SqlRun, "artifact_uri"),
    AddressColumn("models", tracking_tables.SqlLoggedModel, "artifact_location"),
    AddressColumn("models", registry_tables.SqlModelVersion, "source"),
    AddressColumn("models", registry_tables.SqlModelVersion, "storage_location"),
    AddressColumn("datasets", tracking_tables.SqlDataset, "dataset_source", rewrite_source),
    AddressColumn("traces", tracking_tables.SqlTraceTag, "value", key=MLFLOW_ARTIFACT_LOCATION),
    AddressColumn("tags", tracking_tables.SqlTag, "value", rewrite_path, mlflow_names.FOLDER),
)
