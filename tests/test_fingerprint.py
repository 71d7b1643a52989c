"""The fingerprint as a law: another spelling keeps it, and what can change a number changes it."""

from __future__ import annotations

import random
from decimal import Decimal
from typing import Any

import hypothesis
from hypothesis import assume, given
from hypothesis import strategies as st
from omegaconf import OmegaConf
from pydantic import ValidationError

import linfit
from linfit.config import FitConfig
from linfit.sweeps.compose.compose import resolve_composed
from tests.helpers import LAW, TABLES

#: Groups whose components do not run everywhere, or do not decide the numbers.
LEFT_OUT = ("device", "engine", "tracking")
CHOSEN = tuple(group for group in TABLES if group not in LEFT_OUT)


def component(group: str) -> st.SearchStrategy[Any]:
    """Any component with any of its settings; half of the time the group's first.

    Otherwise too few combinations could be fitted.
    """
    return st.just(TABLES[group][0].plain) | st.sampled_from(
        [settings for row in TABLES[group] for settings in row.settings()]
    )


FIELDS = {group: component(group) for group in CHOSEN}
STOPS: dict[str, st.SearchStrategy[Any]] = {
    "divergence": st.floats(1.5, 1e12),
    "excess_loss": st.none() | st.floats(1e-9, 1.0),
    "gradient_norm": st.none() | st.floats(1e-9, 1.0),
}
SEEDS = st.integers(0, 2**32 - 1)
#: What decides numbers besides, and what does not.
DECISIVE: dict[str, st.SearchStrategy[Any]] = {
    **FIELDS,
    "seed": SEEDS,
    "steps": st.integers(0, 9),
    "dtype": st.sampled_from(["float32", "float64"]),
    "stop": st.fixed_dictionaries(STOPS),
    "split": st.fixed_dictionaries(
        {"validation": st.sampled_from([0.0, 0.25]), "seed": st.none() | SEEDS}
    )
    | st.fixed_dictionaries(
        {"name": st.just("kfold"), "fold": st.integers(0, 2), "seed": st.none() | SEEDS}
    ),
    "threads": st.integers(1, 2),
    "deterministic": st.booleans(),
}
#: What decides numbers in some configs only.
CONDITIONAL: dict[str, st.SearchStrategy[Any]] = {
    "mean_over": st.sampled_from(["weights", "samples"])
}
BESIDE: dict[str, st.SearchStrategy[Any]] = {
    "name": st.sampled_from(["one", "another"]),
    "record": st.integers(1, 9).map(lambda every: {"every": every}),
    "pictures": st.booleans(),
    "theory": st.sampled_from(["auto", "none"]),
    "tracking": st.sampled_from(["none", "mlflow"]),
    "engine": st.integers(2**20, 2**29).map(lambda memory: {"name": "stacked", "memory": memory}),
}
PARTS = st.fixed_dictionaries({**DECISIVE, **CONDITIONAL, "engine": st.just({"name": "stacked"})})


def valid(parts: dict[str, Any]) -> FitConfig:
    try:
        return FitConfig.model_validate(parts)
    except ValidationError:  # initial weights of another shape than the data's
        hypothesis.reject()


def spelt(value: Any, chance: random.Random) -> str:
    """A value as YAML, numbers in one of the ways that mean the same."""
    if isinstance(value, list | tuple):
        return f"[{', '.join(spelt(part, chance) for part in value)}]"
    if isinstance(value, float):
        exact = Decimal(repr(value))
        whole = [str(int(value))] if value.is_integer() and abs(value) < 2**53 else []
        return chance.choice([repr(value), f"{exact:e}", f"{exact:E}", *whole])
    return (
        "null"
        if value is None
        else str(value).lower()
        if isinstance(value, bool)
        else f"{value}"
        if isinstance(value, int)
        else f"{value!r}"
    )


def written(data: dict[str, Any], chance: random.Random, indent: str = "") -> str:
    """The data as YAML, keys in any order, with comments and blank lines anywhere."""
    lines = []
    for key in chance.sample(sorted(data), len(data)):
        lines += chance.choice([[], ["# a comment"], [""]])
        value = data[key]
        lines.append(
            f"{key}:\n{written(value, chance, indent + '  ')}"
            if isinstance(value, dict)
            else f"{key}: {spelt(value, chance)} # its value"
        )
    return "\n".join(
        indent + line if line and not line.startswith(indent + " ") else line for line in lines
    )


@LAW
@given(PARTS, st.integers(0, 2**32))
def test_order_comments_and_spelling_do_not_count(parts: dict[str, Any], seed: int) -> None:
    config = valid(parts)
    text = written(config.as_dict(), random.Random(seed))
    again = FitConfig.model_validate(resolve_composed(OmegaConf.create(text)))  # type: ignore[arg-type]
    assert again == config
    assert again.fingerprint() == config.fingerprint()


@LAW
@given(PARTS, st.sampled_from(sorted({**DECISIVE, **CONDITIONAL, **BESIDE})), st.data())
def test_the_same_fingerprint_means_the_same_bits(
    parts: dict[str, Any], key: str, data: st.DataObject
) -> None:
    """One part is changed: if the fingerprint stays, so do the bits.

    If the bits change, the fingerprint has therefore changed.
    """
    other = {**parts, key: data.draw({**DECISIVE, **CONDITIONAL, **BESIDE}[key])}
    before, after = valid(parts), valid(other)
    same = before.fingerprint() == after.fingerprint()
    if key in BESIDE:
        assert same
    if not same:
        return
    one, two = linfit.fit(before), linfit.fit(after)
    assert one.status is two.status
    if one.path is not None:
        assert one.weights.tobytes() == two.weights.tobytes()


@LAW
@given(PARTS, st.sampled_from(sorted(DECISIVE)), st.data())
def test_another_value_of_what_decides_numbers_is_another_fingerprint(
    parts: dict[str, Any], key: str, data: st.DataObject
) -> None:
    before, after = valid(parts), valid({**parts, key: data.draw(DECISIVE[key])})
    assume(getattr(before, key) != getattr(after, key))
    if key == "penalty":  # its convention about intercepts decides nothing where there is none
        assume(before.penalty.squared() != after.penalty.squared())
    assert before.fingerprint() != after.fingerprint()
