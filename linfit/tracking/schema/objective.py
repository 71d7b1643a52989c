"""Choose the loss by which the fits of a sweep are compared.

An excess loss compares fits of one problem. Fits of several problems are compared by the validation
loss, or else by the training loss, if these are losses of the same samples in the same units.
Otherwise they cannot be compared.
"""

from __future__ import annotations

import math
from collections.abc import Hashable, Iterable, Iterator, Mapping
from typing import Any, NamedTuple

from pydantic_core import from_json

from linfit.config import FitConfig, is_seed_key
from linfit.engine.fit import Status
from linfit.errors import LinfitError
from linfit.problem.losses import Loss
from linfit.problem.measures import find_measure
from linfit.tracking.schema.mlflow_names import EXCESS, LOSS, VALIDATION

#: The sections of a config that define the problem, apart from its seeds.
PROBLEM_SECTIONS = ("dataset", "features", "split", "loss", "mean_over", "penalty")
#: The key of a config that says if the optimum is computed.
THEORY_KEY = "theory"
COMPARED_SECTIONS = (*PROBLEM_SECTIONS, THEORY_KEY)
#: The column of `results.parquet` with the value that a job returns: the objective of its config.
OBJECTIVE_COLUMN = "objective"
#: The note on fits that cannot be compared.
INCOMPARABLE_HINT = (
    "The problems cannot be compared: their losses differ in units, samples or penalty; "
    "objective=loss compares them all the same"
)


class ProblemKey(NamedTuple):
    """The problem of a fit, without seeds.

    Fits with equal keys solve one problem.
    """

    data: Hashable
    features: Hashable
    loss: Hashable
    penalty: Hashable
    held_out: Hashable
    """What defines the number of validation samples, if their loss is a sum; True if it is a mean.

    None if there are no validation samples.
    """
    has_answer: bool = True
    """False if no optimum is computed, so that there is no excess loss."""


def identify_problem(data: Mapping[str, Any]) -> ProblemKey:
    """Return the key of a fit's problem.

    `data` is the config as plain data, at least its sections `PROBLEM_SECTIONS` and `THEORY_KEY`.
    """
    parts = {part: _freeze(data.get(part), part) for part in PROBLEM_SECTIONS}
    held_out: Hashable = None
    split = data.get("split") or {}
    if share := split.get("validation") or split.get("k"):
        samples = (data.get("dataset") or {}).get("n")
        held_out = True
        if is_summed_loss(data.get("loss")):
            held_out = (share, samples)
    return ProblemKey(
        data=(parts["dataset"], parts["split"]),
        features=parts["features"],
        loss=(parts["loss"], parts["mean_over"]),
        penalty=parts["penalty"],
        held_out=held_out,
        has_answer=data.get(THEORY_KEY) != "none",
    )


def is_summed_loss(loss: Any) -> bool:
    """Return True if a loss, as plain data, grows with the number of samples, or is unknown."""
    name = loss.get("name", "") if isinstance(loss, Mapping) else loss
    kind: Any = Loss.choices.get(name)
    return kind is None or not kind.model_construct().averages()


def _freeze(value: Any, key: str = "") -> Hashable:
    """Return plain data in a form that compares and hashes, without the keys that repeat a fit."""
    if isinstance(value, Mapping):
        frozen = []
        for name, inner in value.items():
            full = f"{key}.{name}"
            if not _repeats(full):
                frozen.append((name, _freeze(inner, full)))
        return tuple(frozen)
    if isinstance(value, list | tuple):
        return tuple(map(_freeze, value))
    plain: Hashable = value
    return plain


def _repeats(key: str) -> bool:
    return key.endswith(("seed", "fold")) and is_seed_key(key)


class SweepObjective:
    """The objective of a sweep, and its fits' problems so far."""

    def __init__(self, objective: str = "auto", problems: Iterable[ProblemKey] = ()) -> None:
        self.objective = objective
        self.problems = set(problems)

    @classmethod
    def from_configs(cls, configs: Iterable[FitConfig]) -> SweepObjective:
        """Return the contest of configs, which have one objective."""
        contest = cls()
        contest.add_configs(configs)
        return contest

    @classmethod
    def from_stored(cls, objective: str, texts: Iterable[str]) -> SweepObjective:
        """Return the contest of stored configs.

        LinfitError for a text that is no config.
        """
        try:
            return cls(objective, (identify_problem(from_json(text)["config"]) for text in texts))
        except (ValueError, TypeError, KeyError, AttributeError) as error:
            raise LinfitError(f"a stored config is not as linfit writes it: {error}") from error

    def add_configs(self, configs: Iterable[FitConfig]) -> None:
        """Add the problems of more fits."""
        for config in _different(configs):
            self.objective = config.objective
            self.problems.add(
                identify_problem(config.model_dump(mode="json", include={*COMPARED_SECTIONS}))
            )

    @property
    def ranking_loss(self) -> str | None:
        """The recorded loss by which the fits are compared.

        None if they cannot be compared.
        """
        if self.objective != "auto":
            return self.objective
        losses = {problem.loss for problem in self.problems}
        held_out = {problem.held_out for problem in self.problems}
        if len(losses) == len(held_out) == 1 and None not in held_out:
            return VALIDATION
        if len(self.problems) <= 1:
            has_answers = all(problem.has_answer for problem in self.problems)
            return EXCESS if has_answers else LOSS
        samples = {(problem.data, problem.penalty) for problem in self.problems}
        return LOSS if len(losses) == len(samples) == 1 else None


def _different(configs: Iterable[FitConfig]) -> Iterator[FitConfig]:
    """Yield configs, except those whose problem consists of the same objects as the last one's."""
    last: tuple[Any, ...] = ()
    for config in configs:
        parts = tuple(getattr(config, part) for part in COMPARED_SECTIONS)
        if not last or any(part is not before for part, before in zip(parts, last, strict=True)):
            yield config
        last = parts


def describe_objective(by: str) -> str:
    """Return the name of a recorded loss or measure in words, as fits are compared by it.

    Lower is better: the larger of two accuracies is the lower `1 − accuracy`.
    """
    measure = find_measure(by)
    words = by.replace("_", " ")
    return f"1 − {words}" if measure is not None and measure.higher_is_better else words


def orient_value(by: str | None, value: float) -> float:
    """Return a recorded loss or measure as the number by which fits are compared."""
    measure = find_measure(by or "")
    return value if measure is None else measure.to_loss(value)


def score_result(result: Mapping[str, Any], by: str | None) -> float:
    """Return the number that ranks a row of `results.parquet`.

    Infinity unless the fit finished. Older tables have no objective: there it is the validation
    loss, or else the loss. Fits without an excess loss are ranked by their objective.
    """
    if result["status"] not in (Status.COMPLETED, Status.CONVERGED):
        return math.inf
    value = result[EXCESS] if by in (EXCESS, None) else None
    if value is None:
        known = map(result.get, (OBJECTIVE_COLUMN, VALIDATION, LOSS))
        value = next(number for number in known if number is not None)
    return float(value) if math.isfinite(value) else math.inf
