"""By which loss the fits of a sweep are compared.

An excess loss compares fits of one problem. Fits of several problems compare by the loss of samples held out, or else by the
training loss, where these are losses of the same samples in the same units; otherwise they do not compare at all.
"""

from __future__ import annotations

import math
from collections.abc import Hashable, Iterable, Iterator, Mapping
from typing import Any, NamedTuple

from pydantic_core import from_json

from linfit.config import FitConfig, is_repetition
from linfit.engine.fit import Status
from linfit.errors import LinfitError
from linfit.problem.losses import Loss
from linfit.tracking.layout import EXCESS, LOSS, VALIDATION

#: The sections of a config that decide which problem is solved, beside its seeds.
PROBLEM = ("dataset", "features", "split", "loss", "mean_over", "penalty")
#: The column of `results.parquet` with what a job returns: its config's objective.
OBJECTIVE = "objective"
#: What is said where fits cannot be compared.
INCOMPARABLE = "The problems cannot be compared: their losses differ in units, samples or penalty; objective=loss compares them all the same"


class ProblemKey(NamedTuple):
    """What decides which problem a fit solves, without seeds: fits with equal keys solve one problem."""

    data: Hashable
    features: Hashable
    loss: Hashable
    penalty: Hashable
    held_out: Hashable
    """What decides how many samples are held out, where their loss is a sum; the same for all where
    it is a mean. None where none are held out."""


def problem_key(data: Mapping[str, Any]) -> ProblemKey:
    """Return the key of a fit's problem; `data` is its config as plain data, or the sections `PROBLEM` of it."""
    dataset, features, split, loss, mean_over, penalty = (
        _frozen(data.get(part), part) for part in PROBLEM
    )
    share = (data.get("split") or {}).get("validation")
    held_out = (share, (data.get("dataset") or {}).get("n")) if _is_sum(data.get("loss")) else True
    return ProblemKey(
        (dataset, split), features, (loss, mean_over), penalty, held_out if share else None
    )


def _is_sum(loss: Any) -> bool:
    """Return whether a loss, as plain data, grows with the number of samples; of an unknown one it is not known."""
    kind: Any = Loss.choices.get(loss.get("name", "") if isinstance(loss, Mapping) else loss)
    return kind is None or not kind.model_construct().averages()


def _frozen(value: Any, key: str = "") -> Hashable:
    """Return plain data as something that compares and hashes, without what repeats a fit."""
    if isinstance(value, Mapping):
        inner = [(name, f"{key}.{name}") for name in value]
        return tuple(
            (name, _frozen(value[name], full)) for name, full in inner if not _repeats(full)
        )
    if isinstance(value, list | tuple):
        return tuple(_frozen(part) for part in value)
    plain: Hashable = value
    return plain


def _repeats(key: str) -> bool:
    return key.endswith("seed") and is_repetition(key)


class Contest:
    """The objective of a sweep and the problems that its fits solve, as far as they are known."""

    def __init__(self, objective: str = "auto", problems: Iterable[ProblemKey] = ()) -> None:
        self.objective = objective
        self.problems = set(problems)

    @classmethod
    def of_configs(cls, configs: Iterable[FitConfig]) -> Contest:
        """Return the contest of a sweep's configs, which have one objective."""
        contest = cls()
        contest.add(configs)
        return contest

    @classmethod
    def of_texts(cls, objective: str, texts: Iterable[str]) -> Contest:
        """Return the contest of configs as they are stored; LinfitError for a text that is none."""
        try:
            return cls(objective, (problem_key(from_json(text)["config"]) for text in texts))
        except (ValueError, TypeError, KeyError, AttributeError) as error:
            raise LinfitError(f"a stored config is not as linfit writes it: {error}") from error

    def add(self, configs: Iterable[FitConfig]) -> None:
        """Take in more fits of the sweep."""
        for config in _different(configs):
            self.objective = config.objective
            self.problems.add(problem_key(config.model_dump(mode="json", include=set(PROBLEM))))

    @property
    def by(self) -> str | None:
        """The recorded loss by which the fits are compared; None where they cannot be."""
        if self.objective != "auto":
            return self.objective
        losses = {problem.loss for problem in self.problems}
        held_out = {problem.held_out for problem in self.problems}
        if len(losses) == len(held_out) == 1 and None not in held_out:
            return VALIDATION
        if len(self.problems) <= 1:
            return EXCESS
        samples = {(problem.data, problem.penalty) for problem in self.problems}
        return LOSS if len(losses) == len(samples) == 1 else None


def _different(configs: Iterable[FitConfig]) -> Iterator[FitConfig]:
    """Yield the configs, but for those whose problem is made of the very objects of the one before."""
    last: tuple[Any, ...] = ()
    for config in configs:
        parts = tuple(getattr(config, part) for part in PROBLEM)
        if not last or any(part is not before for part, before in zip(parts, last, strict=True)):
            yield config
        last = parts


def compared_value(result: Mapping[str, Any], by: str | None) -> float:
    """Return the number by which a row of `results.parquet` is compared; infinity unless the fit finished.

    Of tables of before, which have no objective, the validation loss or else the loss stands in for it.
    """
    if result["status"] not in (Status.COMPLETED, Status.CONVERGED):
        return math.inf
    own = (result.get(key) for key in (OBJECTIVE, VALIDATION, LOSS))
    value = result[EXCESS] if by in (EXCESS, None) else next(one for one in own if one is not None)
    return float(value) if math.isfinite(value) else math.inf
