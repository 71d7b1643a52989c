"""What is not as it was when a sweep began is said, and refused unless it is allowed."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from linfit.tracking.schema import mlflow_names
from tests.sweeps.conftest import SWEEP, Linfit, Reference, found, tables

DATA = ("dataset=csv", "dataset.path=data.csv", "dataset.features=[a]", "dataset.target=y")


@pytest.mark.parametrize("tracking", ["tracking.runs=all", "tracking.runs=best:3", "tracking=none"])
def test_what_changed_is_said_and_refused(
    tracking: str,
    linfit: Linfit,
    workdir: Path,
    client: Any,
    break_off: Any,
    monkeypatch: pytest.MonkeyPatch,
    reference: Reference,
) -> None:
    import torch

    break_off(9, KeyboardInterrupt())
    assert linfit(*SWEEP, tracking).code == 130
    with monkeypatch.context() as patch:
        patch.setattr(torch.backends.cpu, "get_cpu_capability", lambda: "ABACUS")
        patch.setattr(
            "linfit.tracking.provenance.environment._numpy_libraries",
            lambda: {"numpy_blas_kernel": "Slide rule"},
        )
        planned = linfit("resume", "--plan").out
        assert (
            "cpu_capability changed from" in planned
            and "numpy_blas_kernel changed from" in " ".join(planned.split())
        )
        refused = linfit("resume")
        assert refused.code == 2
        assert (
            "cpu_capability changed from" in refused.err
            and "to ABACUS" in refused.err
            and "--allow-changes" in refused.err
        )
        assert len(refused.err.splitlines()) == 1
        break_off(2, KeyboardInterrupt())
        assert linfit("resume", "--allow-changes").code == 130
        untracked = (
            ("--allow-changes",) if tracking == "tracking=none" else ()
        )  # else these changes have been allowed
        assert linfit("resume", *untracked).code == 0
    assert repr(tables()) == reference.tables
    assert untracked or "ABACUS" in found(client)[0].data.tags[mlflow_names.CHANGES]


def test_a_sweep_of_which_nothing_was_computed_belongs_to_what_computes_it(
    linfit: Linfit, workdir: Path, client: Any, break_off: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    break_off(0, KeyboardInterrupt())
    assert linfit(*SWEEP).code == 130
    monkeypatch.setattr(
        "linfit.tracking.provenance.code_digest.compute_code_digest",
        lambda plugins=(): "other code",
    )
    for before, code in ((4, 130), (99, 0)):
        break_off(before, KeyboardInterrupt())
        assert linfit("resume").code == code
    tags = found(client)[0].data.tags
    assert (tags[mlflow_names.CODE], mlflow_names.CHANGES in tags) == ("other code", False)


@pytest.mark.parametrize(
    ("tag", "text"),
    [
        (mlflow_names.ENVIRONMENT, "{"),
        (mlflow_names.ENVIRONMENT, "[1]"),
        (mlflow_names.CHANGES, '{"a": 1}'),
        (mlflow_names.CHANGES, '[{"a": 1}, 2]'),
    ],
)
def test_a_tag_that_was_changed_is_no_traceback(
    tag: str, text: str, linfit: Linfit, workdir: Path, client: Any, break_off: Any
) -> None:
    break_off(9, KeyboardInterrupt())
    assert linfit(*SWEEP).code == 130
    client.set_tag(found(client)[0].info.run_id, tag, text)
    done = linfit("resume")
    assert done.code == (2 if tag == mlflow_names.ENVIRONMENT else 0), done.err
    assert ("environment changed from unknown" in done.err) == (done.code == 2)


def test_changed_data_are_said_and_refused(
    linfit: Linfit, workdir: Path, client: Any, break_off: Any
) -> None:
    Path("data.csv").write_text("a,y\n1,2\n2,3\n3,5\n")
    break_off(1, KeyboardInterrupt())
    assert linfit("run", "-m", *DATA, "seed=range(0,6)", "steps=3").code == 130
    for last in (6, 7):
        Path("data.csv").write_text(f"a,y\n1,2\n2,3\n3,{last}\n")
        assert "data data.csv changed from" in linfit("resume", "--plan").out
        refused = linfit("resume")
        assert (refused.code, "data data.csv changed from" in refused.err) == (2, True)
        break_off(1, KeyboardInterrupt())
        assert linfit("resume", "--allow-changes").code == 130
    kept = Path("data.csv").read_bytes()
    Path("data.csv").unlink()
    assert linfit("resume").code == 2
    Path("data.csv").write_bytes(kept)
    assert linfit("resume").code == 0  # it is as it was allowed
    assert "data data.csv" in found(client)[0].data.tags[mlflow_names.CHANGES]
