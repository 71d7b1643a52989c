"""The fit config: refusals and their texts, its plain data, and its fingerprint."""

from __future__ import annotations

import hashlib
import json
import shutil
from itertools import combinations, pairwise
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given, strategies
from omegaconf import OmegaConf
from pydantic import ValidationError

import linfit
from linfit.config import NOT_IN_FINGERPRINT as BESIDE
from linfit.config import (
    FitConfig,
    canonical_json,
    flatten_config,
    hash_data,
)
from linfit.config_errors import explain_validation_errors
from linfit.problem.datasets.synthetic import Dataset, RandomLinear
from linfit.problem.datasets.tabular_file import SHIPPED_FOLDER
from linfit.settings import CURVE_POINTS, Record, list_devices
from tests import helpers
from tests.helpers import (
    CONF,
    DEVICES,
    DTYPES,
    LAW,
    TABLES,
    DeviceRow,
    Row,
    config,
    label,
    rows,
)

OPTIMIZERS = ", ".join(sorted(row.name for row in helpers.OPTIMIZERS))
ADAM_KEYS = "amsgrad, betas, decoupled_weight_decay, eps, lr, maximize, name, weight_decay"
KEYS = ", ".join(sorted(FitConfig.model_fields))


def adam(**fields: Any) -> dict[str, Any]:
    return {"optimizer": {"name": "adam", **fields}}


def dataset(name: str, **fields: Any) -> dict[str, Any]:
    return {"dataset": {"name": name, **fields}}


def init(*weights: Any) -> dict[str, Any]:
    return {"init": {"name": "given", "weights": list(weights)}}


NO_COMPONENT: list[Any] = [None, 3, [], {}, {"lr": 1.0}, {"name": None}, {"name": ["adam"]}]
REFUSALS: list[tuple[dict[str, Any], str]] = [
    # unknown names
    ({"stepz": 3}, f"no key 'stepz': did you mean 'steps'? there are {KEYS}"),
    (
        {"optimizer": "adm"},
        f"optimizer: no optimizer 'adm': did you mean 'adam'? there are {OPTIMIZERS}",
    ),
    ({"optimizer": {"name": "quux"}}, f"optimizer: no optimizer 'quux': there are {OPTIMIZERS}"),
    (
        adam(learning_rate=1.0),
        f"optimizer: no key 'learning_rate': did you mean 'lr'? there are {ADAM_KEYS}",
    ),
    (adam(beta=1.0), f"optimizer: no key 'beta': did you mean 'betas'? there are {ADAM_KEYS}"),
    (
        {"record": {"evry": 3}},
        "record: no key 'evry': did you mean 'every'? there are every, tolerance",
    ),
    (
        {"stop": {"patience": 3}},
        "stop: no key 'patience': there are divergence, excess_loss, gradient_norm",
    ),
    # no component at all
    *(
        (
            {"optimizer": value},
            f"optimizer: must be a name or a mapping with a name, one of {OPTIMIZERS}",
        )
        for value in NO_COMPONENT
    ),
    # numbers
    (adam(lr=0), "optimizer.lr: got 0, choose a number > 0"),
    (adam(lr=-1.0), "optimizer.lr: got -1.0, choose a number > 0"),
    (adam(lr=float("nan")), "optimizer.lr: got nan, choose a finite number > 0"),
    (adam(lr=float("inf")), "optimizer.lr: got inf, choose a finite number > 0"),
    (adam(lr="0.1"), "optimizer.lr: got '0.1', choose a number > 0: write 0.1 without quotes"),
    (adam(lr=True), "optimizer.lr: got True, choose a number > 0"),
    (adam(betas=[0.9, 1.0]), "optimizer.betas.1: got 1.0, choose a number ≥ 0 and < 1"),
    (
        adam(betas=[-0.1, 0.9]),
        "optimizer.betas.0: got -0.1, choose a number ≥ 0 and < 1",
    ),
    (adam(betas=[0.9]), "optimizer.betas.1 is required: the list is too short"),
    (adam(eps=-1e-8), "optimizer.eps: got -1e-08, choose a number ≥ 0"),
    (adam(amsgrad=1), "optimizer.amsgrad: got 1, choose true or false"),
    (
        {"optimizer": {"name": "sgd", "nesterov": True}},
        "optimizer: nesterov needs momentum above 0 and dampening 0: "
        "set momentum=0.9 or nesterov=false",
    ),
    (
        {"optimizer": {"name": "sgd", "nesterov": True, "momentum": 0.9, "dampening": 0.1}},
        "optimizer: nesterov needs momentum above 0 and dampening 0: "
        "set momentum=0.9 or nesterov=false",
    ),
    ({"seed": -1}, "seed: got -1, choose a whole number ≥ 0 and ≤ 4294967295"),
    ({"seed": 2**32}, f"seed: got {2**32}, choose a whole number ≥ 0 and ≤ {2**32 - 1}"),
    ({"seed": True}, "seed: got True, choose a whole number ≥ 0 and ≤ 4294967295"),
    ({"seed": 1.0}, "seed: got 1.0, choose a whole number ≥ 0 and ≤ 4294967295: write 1"),
    ({"seed": None}, "seed: got None, choose a whole number ≥ 0 and ≤ 4294967295"),
    (
        dataset("parabola", seed=-1),
        "dataset.seed: got -1, choose a whole number ≥ 0 and ≤ 4294967295",
    ),
    (
        {"init": {"name": "normal", "seed": True}},
        "init.seed: got True, choose a whole number ≥ 0 and ≤ 4294967295",
    ),
    ({"steps": -1}, "steps: got -1, choose a whole number ≥ 0 and ≤ 1000000000"),
    ({"steps": 1e3}, "steps: got 1000.0, choose a whole number ≥ 0 and ≤ 1000000000: write 1000"),
    ({"threads": 0}, "threads: got 0, choose a whole number ≥ 1 and ≤ 1024"),
    ({"dtype": "float16"}, "dtype: got 'float16', choose one of float32, float64"),
    ({"record": {"every": 0}}, "record.every: got 0, choose a whole number ≥ 1"),
    ({"record": {"tolerance": 1.0}}, "record.tolerance: got 1.0, choose a number > 0 and < 1"),
    ({"record": {"tolerance": 0.0}}, "record.tolerance: got 0.0, choose a number > 0 and < 1"),
    ({"stop": {"divergence": 1.0}}, "stop.divergence: got 1.0, choose a number > 1"),
    (
        {"tracking": {"name": "mlflow", "uri": 3}},
        "tracking.uri: got 3, choose a text",
    ),
    ({"plugins": "my_module"}, "plugins: got 'my_module', write a list, [A,B,…]"),
    ({"name": ""}, "name: got '', give at least 1 character"),
    # datasets
    (dataset("parabola", n=0), "dataset.n: got 0, choose a whole number ≥ 1 and ≤ 1000000000"),
    (
        dataset("parabola", noise=-0.1),
        "dataset.noise: got -0.1, choose a number ≥ 0",
    ),
    (dataset("polynomial", degree=2), "dataset: degree 2 needs 3 coefficients, got 4"),
    (dataset("polynomial", range=[1, 1]), "dataset: range must increase, got [1.0, 1.0]"),
    (
        dataset("random_linear", condition=0.5),
        "dataset.condition: got 0.5, choose a number ≥ 1",
    ),
    (
        dataset("random_linear", n=1),
        "dataset: one singular value has condition number 1, got condition 10: "
        "give n and p of 2 or more",
    ),
    (
        {"dataset": "csv"},
        "dataset.path is required: give dataset.path=…; "
        "dataset.features is required: give dataset.features=…; "
        "dataset.target is required: give dataset.target=…",
    ),
    (
        dataset("csv", path="a.csv", features=[], target="y"),
        "dataset.features: got [], give at least 1 item",
    ),
    # initial weights
    ({"init": "given"}, "init.weights is required: give init.weights=…"),
    (
        init(1, 2, 3),
        "init.weights has 3 rows of 1 numbers, "
        "the problem needs 2 rows (features) of 1 (targets): write these, or choose init=zeros",
    ),
    (
        init([1, 2], [3]),
        "init.weights has 2 rows of 1, 2 numbers, "
        "the problem needs 2 rows (features) of 1 (targets): write these, or choose init=zeros",
    ),
    (init(1, float("nan")), "init.weights.1.0: got nan, choose a finite number"),
    (init(1, "2"), "init.weights.1.0: got '2', choose a number: write 2 without quotes"),
    # what the device cannot do
    (
        {"device": "mps", "dtype": "float64"},
        "device mps computes in float32 only, got dtype float64: "
        "choose dtype=float32 or device=cpu",
    ),
]


@pytest.mark.parametrize(("parts", "words"), REFUSALS, ids=[f"{i}" for i in range(len(REFUSALS))])
def test_a_refusal_says_what_came_and_what_is_allowed(parts: dict[str, Any], words: str) -> None:
    with pytest.raises(ValidationError) as refusal:
        FitConfig.model_validate(parts)
    assert explain_validation_errors(refusal.value) == words
    assert isinstance(refusal.value, ValueError)


def test_a_name_is_one_line() -> None:
    for name in ("a\nb", "a\x00", "\t"):
        with pytest.raises(ValidationError) as refusal:
            FitConfig(name=name)
        assert explain_validation_errors(refusal.value).startswith(f"name: got {name!r}, ")


def test_every_mistake_is_named() -> None:
    with pytest.raises(ValidationError) as refusal:
        FitConfig.model_validate(
            {"seed": -1, "steps": -2, "optimizer": {"name": "adam", "lr": 0, "eps": -1}}
        )
    assert explain_validation_errors(refusal.value).split("; ") == [
        "seed: got -1, choose a whole number ≥ 0 and ≤ 4294967295",
        "steps: got -2, choose a whole number ≥ 0 and ≤ 1000000000",
        "optimizer.lr: got 0, choose a number > 0",
        "optimizer.eps: got -1, choose a number ≥ 0",
    ]


@pytest.mark.parametrize("row", DEVICES, ids=label)
@pytest.mark.parametrize("dtype", DTYPES)
def test_a_device_is_refused_where_it_is_absent_or_lacks_the_dtype(
    row: DeviceRow, dtype: str
) -> None:
    if dtype not in row.dtypes:
        with pytest.raises(
            ValidationError,
            match=f"{row.name} computes in {', '.join(row.dtypes)} only, got dtype {dtype}",
        ):
            config(device=row.name, dtype=dtype)
    elif row.always or row.name in list_devices():
        assert config(device=row.name, dtype=dtype).resolved().device.name in list_devices()
    else:
        with pytest.raises(
            ValueError,
            match=f"device {row.name} is not there: this machine has cpu.*; "
            "choose one of them or device=auto",
        ):
            config(device=row.name, dtype=dtype).resolved()


def test_the_devices_are_those_of_torch() -> None:
    found = list_devices()
    assert "cpu" in found
    for device in found:
        torch.zeros(1, device=device)


# ---- written down and read back ----


@pytest.mark.parametrize("group", TABLES)
def test_a_config_survives_json(group: str) -> None:
    for row in TABLES[group]:
        for settings in row.settings():
            assert_survives_json(group, settings)


def assert_survives_json(group: str, settings: dict[str, Any]) -> None:
    parts: dict[str, Any] = {**helpers.beside(group, settings), group: settings}
    whole = FitConfig.model_validate({"name": "a name", "seed": 0, "plugins": ["json"], **parts})
    again = FitConfig.model_validate(json.loads(json.dumps(whole.as_dict(), allow_nan=False)))
    assert again == whole
    assert type(getattr(again, group)) is type(getattr(whole, group))
    assert again.as_dict() == whole.as_dict()
    assert again.fingerprint() == whole.fingerprint()
    for key, value in settings.items():
        if (group, key) == ("split", "name") and value == "holdout":
            continue  # left out, as before there were other splits
        written = whole.as_dict()[group][key]
        assert written in (value, [value]) or written == [[number] for number in value]


def test_the_default_config_is_the_shipped_one() -> None:
    stated = OmegaConf.to_container(OmegaConf.load(CONF / "linfit.yaml"))
    assert isinstance(stated, dict)
    chosen = {
        key: name
        for part in stated.pop("defaults")
        if isinstance(part, dict)
        for key, name in part.items()
    }
    groups = {key: name for key, name in chosen.items() if not str(key).startswith("override ")}
    del stated["hydra"]
    assert stated.pop("name") is None
    assert set(groups) | set(stated) | {"name"} == set(FitConfig.model_fields)
    assert FitConfig.model_validate({**groups, **stated}) == FitConfig()


def test_flattened_a_component_stands_under_its_groups_name() -> None:
    flat = flatten_config(
        config(seed=3, optimizer={"name": "adam", "lr": 0.5}, record={"every": 7}).as_dict()
    )
    assert flat["name"] == "adhoc"
    assert flat["optimizer"] == "adam"
    assert flat["optimizer.lr"] == 0.5
    assert flat["record.every"] == 7
    assert flat["dataset"] == "parabola"
    assert not any(isinstance(value, dict) for value in flat.values())
    assert not any(key.endswith(".name") for key in flat)


NAMES = strategies.text("abcd", min_size=1, max_size=4)
TREES = strategies.recursive(
    strategies.integers() | strategies.booleans() | strategies.none() | strategies.text(max_size=5),
    lambda parts: strategies.dictionaries(NAMES, parts, min_size=1, max_size=4),
    max_leaves=12,
)


@LAW
@given(strategies.dictionaries(NAMES, TREES, max_size=4))
def test_flattening_keeps_every_leaf(tree: dict[str, Any]) -> None:
    def leaves(part: Any, path: tuple[str, ...] = ()) -> list[tuple[str, Any]]:
        if isinstance(part, dict):
            return [leaf for key, value in part.items() for leaf in leaves(value, (*path, key))]
        return [(".".join(path), part)]

    assert flatten_config(tree) == dict(leaves(tree))


# ---- the fingerprint ----


@pytest.mark.matrix
def test_a_fingerprint_is_the_hash_of_what_decides_the_numbers() -> None:
    numbers = {
        "seed": 5,
        "dtype": "float32",
        "steps": 1000,
        "threads": 1,
        "dataset": {"name": "parabola", "n": 30, "noise": 0.1, "seed": 5},
        "model": {"name": "tensor"},
        "init": {"name": "normal", "mean": 0.0, "std": 1.0, "seed": 5},
        "loss": {"name": "sse"},
        "gradient": {"name": "autograd"},
        "optimizer": {
            "name": "adam",
            "lr": 0.001,
            "betas": [0.9, 0.999],
            "eps": 1e-08,
            "weight_decay": 0.0,
            "amsgrad": False,
            "maximize": False,
            "decoupled_weight_decay": False,
        },
        "device": {"name": "cpu"},
        "engine": {"name": "auto"},
        "stop": {"divergence": 1e6},
    }
    assert FitConfig(seed=5).numbers() == numbers
    text = json.dumps(numbers, sort_keys=True, separators=(",", ":"))
    assert FitConfig(seed=5).fingerprint() == hashlib.sha256(text.encode()).hexdigest()


def test_a_fingerprint_does_not_depend_on_the_order_of_keys() -> None:
    def reverse(data: Any) -> Any:
        return (
            {key: reverse(data[key]) for key in reversed(data)} if isinstance(data, dict) else data
        )

    whole = config(
        seed=3,
        optimizer={"name": "adam", "lr": 0.5, "eps": 1e-3},
        dataset={"name": "random_linear", "q": 2},
    )
    backwards = reverse(whole.as_dict())
    assert list(backwards) != list(whole.as_dict())
    assert FitConfig.model_validate(backwards).fingerprint() == whole.fingerprint()


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (adam(lr=0.01), adam(lr=1e-2)),
        (adam(lr=1), adam(lr=1.0)),
        (adam(betas=[0, 0.5]), adam(betas=(0.0, 0.5))),
        ({"stop": {"divergence": 10}}, {"stop": {"divergence": 10.0}}),
        (dataset("polynomial", range=[-1, 1]), dataset("polynomial", range=(-1.0, 1.0))),
        (init(1, 2), init([1.0], [2.0])),
        ({"optimizer": "adam"}, adam()),
        ({"optimizer": "adam"}, adam(lr=1e-3)),
        ({}, {"plugins": []}),
        (
            dataset("csv", path="linfit:article.csv", features="one", target="y"),
            dataset("csv", path="linfit:article.csv", features=["one"], target=["y"]),
        ),
    ],
    ids=str,
)
def test_the_same_value_written_otherwise_has_the_same_fingerprint(
    one: dict[str, Any], other: dict[str, Any]
) -> None:
    assert config(**one).fingerprint() == config(**other).fingerprint()


DECISIVE: dict[str, Any] = {
    "seed": 1,
    "dtype": "float64",
    "steps": 7,
    "threads": 2,
    "deterministic": False,
    "plugins": ["json"],
    "stop": {"divergence": 10.0},
    "split": {"validation": 0.25},
}
#: What decides numbers where samples have weights.
CONDITIONAL = {"mean_over"}
INDIFFERENT: dict[str, Any] = {
    "name": "other",
    "record": {"every": 3, "tolerance": 1e-3},
    "pictures": False,
    "objective": "loss",
    "theory": "none",
}


def test_every_key_of_a_config_is_known_to_decide_the_numbers_or_not() -> None:
    assert set(DECISIVE) | CONDITIONAL | set(INDIFFERENT) | set(TABLES) == set(
        FitConfig.model_fields
    )
    assert {*INDIFFERENT, *helpers.BESIDE_THE_NUMBERS} == set(BESIDE)


@pytest.mark.parametrize("key", DECISIVE)
def test_what_decides_the_numbers_changes_the_fingerprint(key: str) -> None:
    assert FitConfig.model_validate({key: DECISIVE[key]}).fingerprint() != FitConfig().fingerprint()


@pytest.mark.parametrize("key", INDIFFERENT)
def test_what_does_not_decide_the_numbers_does_not_change_the_fingerprint(key: str) -> None:
    changed = FitConfig.model_validate({key: INDIFFERENT[key]})
    assert changed != FitConfig()
    assert changed.fingerprint() == FitConfig().fingerprint()


@pytest.mark.parametrize("group", TABLES)
def test_all_settings_of_a_group_have_fingerprints_of_their_own(group: str) -> None:
    # A penalty may leave an intercept out, where there is one.
    beside = {"features": {"name": "raw", "intercept": True}} if group == "penalty" else {}
    prints = {}
    for row in TABLES[group]:
        for parts in row.settings():
            name = label({key: value for key, value in parts.items() if key not in row.beside})
            given = {**beside, **helpers.beside(group, parts), group: parts}
            prints[name] = FitConfig.model_validate(given).fingerprint()
    decides = group not in helpers.BESIDE_THE_NUMBERS
    for one, other in combinations(prints, 2):
        assert (prints[one] != prints[other]) == decides, (one, other)


@pytest.mark.parametrize(
    ("group", "row"),
    [(group, row) for group, row in rows() if getattr(row, "draws", False)],
    ids=label,
)
def test_a_sub_seed_counts_as_what_it_comes_to(group: str, row: Row) -> None:
    def fingerprint(seed: int, own: int | None) -> str:
        return config(seed=seed, **{group: {**row.plain, "seed": own}}).fingerprint()

    assert fingerprint(3, None) == fingerprint(3, 3)
    assert fingerprint(0, None) == fingerprint(0, 0)
    assert (
        len({fingerprint(3, None), fingerprint(3, 0), fingerprint(0, None), fingerprint(0, 3)}) == 4
    )


def test_the_device_counts_as_what_it_comes_to() -> None:
    auto = config(device="auto").resolved()
    assert auto.fingerprint() == config(device=auto.device.name).resolved().fingerprint()


def csv(path: Path | str, **parts: Any) -> FitConfig:
    return config(
        dataset={
            "name": "csv",
            "path": str(path),
            "features": ["x_squared", "one"],
            "target": "y",
            **parts,
        }
    )


def test_a_data_file_counts_by_its_content(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shipped = csv("linfit:article.csv").fingerprint()
    copy = tmp_path / "copy.csv"
    shutil.copy(SHIPPED_FOLDER / "article.csv", copy)
    assert csv(copy).fingerprint() == shipped
    monkeypatch.chdir(tmp_path)
    assert csv("copy.csv").fingerprint() == shipped
    assert csv("copy.csv", target="x").fingerprint() != shipped
    assert csv("copy.csv", features=["one", "x_squared"]).fingerprint() != shipped
    copy.write_text(copy.read_text().replace("-2.0,", "-2.5,", 1))
    assert csv(copy).fingerprint() != shipped
    copy.unlink()
    with pytest.raises(ValueError, match=r"data file 'copy\.csv' cannot be read: No such file"):
        csv("copy.csv").fingerprint()


def test_a_shipped_file_is_named_without_folders() -> None:
    for path in ("linfit:../config.py", "linfit:a/b.csv", "linfit:/etc/hosts"):
        with pytest.raises(
            ValueError, match=r"what linfit ships has no folders; there are .*article\.csv"
        ):
            csv(path).fingerprint()


def test_canonical_json_refuses_what_json_has_not() -> None:
    assert canonical_json({"b": [1, 2.0], "a": None}) == '{"a":null,"b":[1,2.0]}'
    assert hash_data({}) == hashlib.sha256(b"{}").hexdigest()
    with pytest.raises(ValueError, match="not JSON compliant"):
        canonical_json({"a": float("nan")})


# ---- which steps are recorded ----


@LAW
@given(strategies.integers(0, 10**6), strategies.none() | strategies.integers(1, 10**6))
def test_recorded_steps_increase_from_the_first_to_the_last(total: int, every: int | None) -> None:
    if every is not None and total // every > 10_000:
        every = total // 10_000 + 1
    steps = Record(every=every).recorded_steps(total)
    assert steps[0] == 0
    assert steps[-1] == total
    assert all(a < b for a, b in pairwise(steps))
    regular = set() if every is None else set(range(0, total + 1, every))
    assert regular <= set(steps)
    assert len(steps) <= CURVE_POINTS + 2 + len(regular)


def test_recorded_steps_are_spaced_for_a_logarithmic_axis() -> None:
    steps = Record().recorded_steps(100_000)
    assert 35 <= len(steps) <= 42
    assert [
        sum(10**k <= step < 10 ** (k + 1) for step in steps) for k in (1, 2, 3, 4)
    ] == pytest.approx([8, 8, 8, 8], abs=1)


def test_every_public_name_is_there() -> None:
    for name in linfit.__all__:
        assert getattr(linfit, name) is not None
        assert name in dir(linfit)
    with pytest.raises(AttributeError, match="no attribute 'fitt'"):
        linfit.fitt  # noqa: B018


def test_a_later_field_at_its_default_leaves_fingerprints_as_they_are(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(Dataset, "choices", dict(Dataset.choices))

    class Tilted(RandomLinear):
        omitted_at_default = frozenset({"tilt"})
        name: str = "tilted"  # type: ignore[assignment]
        tilt: float = 0.0

    before = FitConfig(dataset=RandomLinear()).numbers()["dataset"]
    assert FitConfig(dataset=Tilted()).numbers()["dataset"] == {**before, "name": "tilted"}
    assert FitConfig(dataset=Tilted(tilt=0.5)).numbers()["dataset"]["tilt"] == 0.5
