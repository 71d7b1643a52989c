"""Keys and components of other libraries: each is answered by what is meant in linfit."""

from __future__ import annotations

import pytest

from linfit import synonyms
from linfit.config import GROUPS, FitConfig
from linfit.errors import ConfigError
from linfit.settings import Stop
from linfit.sweeps.compose.request import compose, open_request
from linfit.sweeps.plan.enumerate import enumerate_jobs

#: What is typed, and the words of the message that answer it.
ANSWERS = {
    "optimizer.learning_rate=0.1": "did you mean 'lr'?",
    "learning_rate=0.1": "did you mean 'optimizer.lr'?",
    "Learning-Rate=0.1": "did you mean 'optimizer.lr'?",
    "lr=0.1": "did you mean 'optimizer.lr'?",
    "epochs=10": "did you mean 'steps'?",
    "optimizer.max_iter=10": "did you mean 'steps'?",
    "+iterations=10": "did you mean 'steps'?",
    "random_state=0": "did you mean 'seed'?",
    "n_splits=5": "split.k goes with split=kfold",
    "split=cv": "did you mean 'kfold'?",
    "batch_size=16": "batch.size goes with batch=minibatch",
    "batch.size=16": "batch.size goes with batch=minibatch",
    "momentum=0.9": "optimizer.momentum goes with optimizer=heavy_ball or nesterov or rmsprop or",
    "optimizer.beta1=0.9": "did you mean 'betas'?",
    "weight_decay=0.1": "did you mean 'optimizer.weight_decay'?",
    "penalty.alpha=0.1": "penalty.strength goes with penalty=elastic_net or lasso or ridge",
    "alpha=0.1": "did you mean 'penalty.strength'?",
    "noise=0.1": "did you mean 'dataset.noise'?",
    "degree=3": "features.degree goes with features=polynomial",
    "loss=mae": "'quantile' is nearest in meaning, there are cross_entropy, huber",
    "loss=l2": "did you mean 'mse'?",
    "penalty=l2": "did you mean 'ridge'?",
    "features=standardize": "did you mean 'features.scaling=standardize'? there are fourier",
    "optimizer=tiger": "; a plug-in's needs its module in plugins and conf/optimizer/tiger.yaml",
    "steps=1e4": "steps: got 10000.0, choose a whole number ≥ 0 and ≤ 1000000000: write 10000",
    "split.validation=25": "choose a number ≥ 0 and < 1: it is a share of the samples, no count",
}


@pytest.mark.parametrize(("typed", "answer"), ANSWERS.items(), ids=ANSWERS)
def test_a_name_of_another_library_is_answered(typed: str, answer: str) -> None:
    with pytest.raises(ConfigError) as refusal:
        compose([typed])
    assert answer in str(refusal.value)
    assert "\n" not in str(refusal.value)


def test_every_key_and_component_that_is_meant_exists() -> None:
    fields = set(FitConfig.model_fields)
    for group, base in GROUPS.items():
        fields |= {f"{group}.{key}" for kind in base.choices.values() for key in kind.model_fields}
    for section, kind in (("stop", Stop),):
        fields |= {f"{section}.{key}" for key in kind.model_fields}
    assert set(synonyms.KEY_WORDS) | set(synonyms.VALUE_HINTS) <= fields
    for table in (synonyms.COMPONENT_WORDS, synonyms.NEAREST_COMPONENTS):
        for group, words in table.items():
            assert {meant for meant in words if "=" not in meant} <= set(GROUPS[group].choices)
    for overrides in ("features.scaling=standardize", "features.scaling=whiten"):
        assert overrides in synonyms.COMPONENT_WORDS["features"]
        compose([overrides])


def test_a_sweeper_that_is_not_installed_says_what_to_install() -> None:
    with pytest.raises(ConfigError, match=r"nevergrad': there are .*; to have it, pip install "):
        enumerate_jobs(["-m", "hydra/sweeper=nevergrad", "seed=0,1"])


@pytest.mark.parametrize("words", [["sweep"], ["big", "sweep"]])
def test_a_value_with_a_blank_and_without_quotes_is_told(words: list[str]) -> None:
    quoted = f"stands in quotes: 'name=my {' '.join(words)}'"
    with pytest.raises(ConfigError, match=quoted), open_request(["name=my", *words, "steps=3"]):
        pass
    with open_request(["steps=3", "optimizers"]) as request:
        assert request.experiment == "optimizers"
