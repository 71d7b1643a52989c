"""How torch computes inside a fit, and that the caller finds it as it was."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Literal

import pytest
import torch

from linfit.engine.determinism import DETERMINISTIC_FLAGS, torch_settings
from linfit.engine.dispatch import fit
from linfit.engine.fit import Status
from linfit.method.init import Zeros
from linfit.problem.threads import limit_blas_threads
from tests.helpers import config, scratch_registry

ENGINES = ("single", "stacked")


def backends() -> tuple[Any, ...]:
    return torch.backends.cuda.matmul, torch.backends.mkldnn.matmul  # type: ignore[attr-defined]


def settings() -> dict[str, Any]:
    return {
        "threads": torch.get_num_threads(),
        "mode": torch.get_deterministic_debug_mode(),
        "precision": tuple(backend.fp32_precision for backend in backends()),
        **{name: getattr(place, name) for place, name, _ in DETERMINISTIC_FLAGS},
    }


@pytest.fixture
def callers() -> Iterator[dict[str, Any]]:
    """A caller who wants nothing of what linfit sets; everything is put back afterwards."""
    before, flags = (
        (torch.get_num_threads(), torch.get_deterministic_debug_mode()),
        [getattr(*flag[:2]) for flag in DETERMINISTIC_FLAGS],
    )
    torch.set_num_threads(2)
    torch.set_deterministic_debug_mode("warn")
    torch.set_float32_matmul_precision("medium")
    for place, name, value in DETERMINISTIC_FLAGS:
        setattr(place, name, not value)
    yield settings()
    torch.set_float32_matmul_precision("highest")
    torch.set_num_threads(before[0])
    torch.set_deterministic_debug_mode(before[1])
    for (place, name, _), value in zip(DETERMINISTIC_FLAGS, flags, strict=True):
        setattr(place, name, value)


@pytest.fixture
def seen() -> Iterator[list[dict[str, Any]]]:
    """The settings that the steps of a fit meet."""
    met: list[dict[str, Any]] = []
    with scratch_registry():

        class Watching(Zeros):
            name: Literal["watching"] = "watching"  # type: ignore[assignment]

            def draw(self, *arguments: Any) -> torch.Tensor:
                met.append(settings())
                return super().draw(*arguments)

        yield met


@pytest.mark.matrix
@pytest.mark.parametrize("deterministic", [True, False])
def test_what_holds_inside_and_is_put_back(callers: dict[str, Any], deterministic: bool) -> None:
    with torch_settings(config(deterministic=deterministic)):
        inside = settings()
    assert settings() == callers
    if not deterministic:
        assert inside == {**callers, "threads": 1}
        return
    assert inside["threads"] == 1
    assert inside["mode"] == 2
    assert set(inside["precision"]) <= {"ieee", "none"}
    assert {name: inside[name] for _, name, _ in DETERMINISTIC_FLAGS} == {
        name: value for _, name, value in DETERMINISTIC_FLAGS
    }


@pytest.mark.parametrize(
    "parts",
    [
        {
            "dataset": {"name": "random_linear", "n": 10_000, "p": 64},
            "optimizer": "closed_form",
            "steps": 1,
        },
        {
            "dataset": {"name": "random_linear", "n": 10_000, "p": 64},
            "gradient": "gram",
            "optimizer": "heavy_ball",
            "steps": 20,
        },
        {
            "dataset": {"name": "random_linear", "n": 2_000, "p": 20},
            "features": {"name": "raw", "scaling": "whiten", "intercept": True},
        },
    ],
)
@pytest.mark.parametrize("engine", ENGINES)
def test_how_many_threads_numpy_has_changes_nothing(engine: str, parts: dict[str, Any]) -> None:
    """Hash data, features, optimum, losses and weights: numpy's own threads would change some."""
    found = []
    for count in (1, 2):
        with limit_blas_threads(count):
            result = fit(config(**{"steps": 3, "dtype": "float64", "engine": engine, **parts}))
            assert (
                result.problem is not None
                and result.optimum is not None
                and result.path is not None
            )
            arrays = (
                result.path.losses,
                result.path.weights,
                result.excess_losses,
                result.optimum.root,
            )
            found.append((result.problem.digest, *(array.tobytes() for array in arrays)))
    assert found[0] == found[1]


def test_a_fit_of_the_single_engine_computes_so(
    callers: dict[str, Any], seen: list[dict[str, Any]]
) -> None:
    assert fit(config(init="watching", engine="single", steps=2)).status is Status.COMPLETED
    assert [met["mode"] for met in seen] == [2]
    assert settings() == callers


def test_a_block_of_the_stacked_engine_computes_so(
    callers: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    from linfit.engine.stacked import run as stacked

    met: list[dict[str, Any]] = []
    run = stacked.run_block

    def watched(*arguments: Any) -> Any:
        met.append(settings())
        return run(*arguments)

    monkeypatch.setattr(stacked, "run_block", watched)
    fit(
        [
            config(engine="stacked", seed=seed, steps=2, deterministic=on)
            for seed in (0, 1)
            for on in (True, False)
        ]
    )
    assert [entry["mode"] for entry in met] == [2, 1]
    assert settings() == callers


@pytest.mark.parametrize("engine", ENGINES)
def test_settings_are_put_back_after_a_fit_that_raises(
    callers: dict[str, Any], engine: str
) -> None:
    dataset = {"name": "polynomial", "range": [0, 1e39]}
    assert fit(config(dataset=dataset, engine=engine)).status is Status.FAILED
    assert settings() == callers


def test_what_was_set_through_torchs_newer_interface_is_put_back() -> None:
    before = [backend.fp32_precision for backend in backends()]
    try:
        backends()[0].fp32_precision = "tf32"
        met = settings()
        with torch_settings(config()):
            assert torch.get_float32_matmul_precision() == "highest"
        assert settings() == met
    finally:
        torch.set_float32_matmul_precision("highest")
        for backend, precision in zip(backends(), before, strict=True):
            backend.fp32_precision = precision


@pytest.mark.parametrize("engine", ENGINES)
def test_on_the_cpu_it_changes_no_bit(engine: str) -> None:
    one, other = (
        fit(config(engine=engine, steps=30, deterministic=deterministic))
        for deterministic in (True, False)
    )
    assert one.losses.tobytes() == other.losses.tobytes()
    assert one.weights.tobytes() == other.weights.tobytes()


def test_what_has_no_deterministic_algorithm_raises() -> None:
    values, bins = torch.ones(3), torch.tensor([0, 1, 1])
    with torch_settings(config()), pytest.raises(RuntimeError, match="deterministic"):
        torch.empty(2).resize_(8).put_(bins, values, accumulate=False)
