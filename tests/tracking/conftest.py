"""Stores with an MLflow experiment, and recorders that write to them."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from linfit.settings import MLflowTracking
from linfit.tracking.store.store import Store
from linfit.tracking.write.client import ClientRecorder
from linfit.tracking.write.database import DatabaseRecorder
from linfit.tracking.write.open import open_recorder
from tests.tracking.written import NAME, ODD, Written, children, uri, write


@pytest.fixture(scope="session")
def template(migrated_store: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a store with the experiment: its copies differ in nothing, not even in their age."""
    file = tmp_path_factory.mktemp("template") / "mlflow.db"
    shutil.copy(migrated_store, file)
    ClientRecorder(Store(uri(file), str(file.parent / "artifacts")), NAME)
    return file


@pytest.fixture
def recorder(template: Path, tmp_path: Path) -> DatabaseRecorder:
    shutil.copy(template, tmp_path / "mlflow.db")
    opened = open_recorder(
        MLflowTracking(
            uri=uri(tmp_path / "mlflow.db"), artifacts=str(template.parent / "artifacts")
        ),
        NAME,
    )
    assert isinstance(opened, DatabaseRecorder)
    return opened


@pytest.fixture(scope="module")
def written(template: Path, tmp_path_factory: pytest.TempPathFactory) -> Written:
    return write([*children(), *ODD], template, tmp_path_factory.mktemp("written"))
