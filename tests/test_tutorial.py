"""The tutorial notebook runs from its first cell to its last, and prints what is stored in it."""

from __future__ import annotations

import re
import shutil
from pathlib import Path
from typing import Any

import nbclient
import nbformat
import pytest

import linfit

pytestmark = pytest.mark.slow
NOTEBOOK = Path(linfit.__file__).parents[1] / "docs" / "tutorial.ipynb"


def printed(notebook: Any) -> list[str]:
    """What each code cell printed or returned as text."""
    cells = [cell for cell in notebook.cells if cell.cell_type == "code"]
    outputs = [
        [
            output.get("text") or output.get("data", {}).get("text/plain", "")
            for output in cell.outputs
        ]
        for cell in cells
    ]
    return ["".join(texts) for texts in outputs]


def html_of(notebook: Any) -> list[str]:
    """What cells returned as HTML."""
    return [
        output.get("data", {}).get("text/html", "")
        for cell in notebook.cells
        for output in cell.get("outputs", ())
    ]


def rounded(text: str) -> str:
    """Round numbers to three digits, and replace those in scientific notation.

    Another processor may round them otherwise. Ids of runs and sizes of figures are replaced as
    well.
    """
    text = re.sub(r"\d(\.\d+)?e[-+]\d+|[0-9a-f]{32}|(?<=Picture size )\w+ with \d+", "#", text)
    return re.sub(r"\d+\.\d+", lambda number: f"{float(number[0]):.3g}", text)


@pytest.fixture
def notebook(bare: Path, migrated_store: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """The tutorial, executed anew, with a store that is there already: making one takes seconds."""
    shutil.copy(migrated_store, bare / "mlflow.db")
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{bare}/mlflow.db")
    # With some extras, MLflow shows progress bars, which warn.
    monkeypatch.setenv("PYTHONWARNINGS", "ignore:IProgress not found")
    for name in ("IPYTHONDIR", "JUPYTER_RUNTIME_DIR", "JUPYTER_CONFIG_DIR", "JUPYTER_DATA_DIR"):
        monkeypatch.setenv(name, str(bare / name.lower()))
    fresh = nbformat.read(NOTEBOOK, as_version=4)
    nbclient.NotebookClient(
        fresh, timeout=300, kernel_name="python3", resources={"metadata": {"path": str(bare)}}
    ).execute()
    return fresh


def test_the_tutorial_runs_and_prints_what_is_stored_in_it(notebook: Any) -> None:
    stored = printed(nbformat.read(NOTEBOOK, as_version=4))
    assert [rounded(text) for text in printed(notebook)] == [rounded(text) for text in stored]
    assert "".join(stored).count("loop ") == 4  # levels
    assert "diverged" in "".join(stored)
    shown = [
        set(output.data)
        for cell in notebook.cells
        for output in cell.get("outputs", ())
        if "data" in output
    ]
    assert {"image/png", "text/plain"} in shown  # a picture
    # A notebook shows this of a sweep.
    assert any("came nearest to the optimum" in text for text in html_of(notebook))
