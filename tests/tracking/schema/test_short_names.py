"""Names that people read: at most 60 characters, whole where they fit, and told apart."""

from __future__ import annotations

from typing import Any

import pytest
from mlflow.utils.validation import _validate_logged_model_name

from linfit.config import FitConfig
from linfit.tracking.schema.config_record import name_fit, record_config
from linfit.tracking.schema.grid_labels import GridLabel, find_label
from linfit.tracking.schema.short_names import (
    MAX_RUN_NAME,
    cut_middle,
    name_by_words,
    name_fit_by_words,
    name_model,
    number_name,
    write_value,
)

FAMILY = "👩‍👩‍👧"  # five characters that are drawn as one
LONG = "x" * 80

VALUES: dict[str, tuple[Any, str]] = {
    "text": ("größe", "größe"),
    "list": (["größe", "目标", 1], "[größe,目标,1]"),
    "mapping": ({"a": [True, None]}, "{a:[true,null]}"),
    "number": (0.1, "0.1"),
    "integer": (3, "3"),
    "truth": (False, "false"),
}


@pytest.mark.parametrize(("value", "written"), VALUES.values(), ids=VALUES)
def test_a_value_is_written_as_it_is_typed(value: Any, written: str) -> None:
    assert write_value(value) == written


NAMES = {
    "short": (["adam", "lr=0.1", "seed=3"], "adam lr=0.1 seed=3"),
    "alphabets": (["größe", "目标", FAMILY], f"größe 目标 {FAMILY}"),
    "control characters": (["a\nb\t c", "d\x1b"], "a b c d"),
    "right to left mark": (["a\u202eb"], "a b"),
    "one long word": (["adam", LONG, "seed=3"], f"adam {'x' * 24}…{'x' * 23} seed=3"),
    "many words": (
        [f"key{number}=0.1234" for number in range(20)],
        "key0=0.1234 key1=0.1234 key2=0.1234 … key19=0.1234",
    ),
}


@pytest.mark.parametrize(("words", "name"), NAMES.values(), ids=NAMES)
def test_words_are_joined_to_a_name(words: list[str], name: str) -> None:
    assert name_by_words(words) == name
    assert len(name) <= MAX_RUN_NAME


@pytest.mark.parametrize("most", range(8, 30))
def test_what_is_drawn_as_one_is_not_cut(most: int) -> None:
    cut = cut_middle(FAMILY * 8 + "e\u0301" * 8, most)
    assert len(cut) <= most
    start, end = cut.split("…")
    assert start == FAMILY * (len(start) // len(FAMILY))
    assert end == "e\u0301" * (len(end) // 2)


def test_fits_whose_names_are_cut_are_told_apart_by_their_rows() -> None:
    first = name_fit_by_words([LONG + "a" + LONG, "seed=0"])
    other = name_fit_by_words([LONG + "b" + LONG, "seed=0"])
    assert first == other
    names = [number_name(first, 999_998), number_name(other, 999_999)]
    assert names[0] != names[1]
    assert names[1].endswith("seed=0 #999999")
    assert max(map(len, names)) <= MAX_RUN_NAME
    whole = name_fit_by_words(["a…b", "seed=0"])
    assert number_name("", 7) == "fit 7"
    assert whole == "a…b seed=0"


def test_a_model_has_the_name_of_its_fit_as_far_as_mlflow_takes_it() -> None:
    name = name_model("größe a/b:c%d lr=0.1 \"e\" 'f' #3?")
    assert name == "größe a_b_c_d lr=0_1 _e_ _f_ _3_"
    _validate_logged_model_name(name)
    assert name_model("") == "model"


def test_a_label_stands_for_the_keys_that_are_not_named_beside_it() -> None:
    label = GridLabel('mit "Impuls" 動量', ("optimizer.lr", "seed"))
    overrides = ("optimizer=sgd", "optimizer.lr=0.1", label.override)
    assert find_label(overrides) == label
    assert find_label(overrides[:2]) is None
    assert find_label(["hydra.sweeper.label=broken"]) is None

    config = FitConfig.model_validate({"optimizer": {"name": "sgd", "lr": 0.1}, "seed": 3})
    varying = ("optimizer", "optimizer.lr", "optimizer.momentum", "seed")
    name = 'mit "Impuls" 動量 lr=0.1 seed=3'
    assert name_fit(config, varying, 0, overrides) == name
    record = record_config(config, varying, overrides)
    assert record.name_at(0) == name
    plain = record_config(config, varying, overrides[:2])
    assert (record.text, record.fingerprint, record.params) == (
        plain.text,
        plain.fingerprint,
        plain.params,
    )
