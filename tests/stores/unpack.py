"""Stores that earlier versions of linfit wrote, made ready for this one as a user would."""

from __future__ import annotations

import tarfile
from pathlib import Path

from sqlalchemy import create_engine

from linfit.tracking.relocation import relocate_store
from linfit.tracking.store.store import resolve_store


def unpack(archive: Path, folder: Path) -> Path:
    """Unpack a working directory with a store into `folder`, and return `folder`.

    The store's addresses become those of the new place.
    """
    from mlflow.store.db.utils import _upgrade_db

    with tarfile.open(archive) as opened:
        opened.extractall(folder, filter="data")
    uri = f"sqlite:///{folder}/outputs/mlflow.db"
    engine = create_engine(uri)
    _upgrade_db(engine)  # as `mlflow db upgrade` does, where a later MLflow is installed
    engine.dispose()
    relocate_store(resolve_store(uri), write=True)
    return folder
