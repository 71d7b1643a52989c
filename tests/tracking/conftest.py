"""Stores to write into."""

from __future__ import annotations

from pathlib import Path

import pytest

from linfit.tracking.store import Store, prepare


@pytest.fixture(scope="session")
def migrated_store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An empty MLflow store in SQLite: made once, because migrating takes seconds and copying none."""
    file = tmp_path_factory.mktemp("store") / "mlflow.db"
    prepare(Store(f"sqlite:///{file}", None))
    return file
