"""`linfit script`: a fit as a plain torch program, in the shape that the article would write it in, without linfit.

Each component contributes its own lines (`linfit/lines.py`); here they are put together into one loop. The program computes
what the single engine computes, operation by operation: its losses and weights have the same bits.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import groupby

import numpy as np

from linfit.component import Frozen
from linfit.config import GROUPS, FitConfig
from linfit.engine.limits import LEAST_INITIAL
from linfit.errors import ConfigError
from linfit.lines import GradientLines, Lines, ModelLines, OptimizerLines, Scope, indented
from linfit.method.gradients import loss_alone
from linfit.problem.features import Raw
from linfit.problem.files import written_out
from linfit.problem.loading import row_factor
from linfit.problem.problem import Problem
from linfit.problem.theory import Optimum, optimum

#: The groups that contribute lines: all but those that say where and how numbers are computed, and where they go; and features,
#: whose numbers are written.
CONTRIBUTORS = tuple(
    group for group in GROUPS if group not in ("device", "engine", "tracking", "features")
)
#: What of a config a program heeds besides, or may leave out. Whatever else there is must be at its default.
HEEDED = {"seed", "dtype", "steps", "threads", "mean_over", "record", "stop", "features", "split"}
BESIDE = {"name", "plugins", "device", "engine", "tracking", "pictures", "deterministic"}
RULES = {"divergence", "excess_loss", "gradient_norm"}
#: What a program imports if it speaks of it: of Python, then of others.
STANDARD = {
    "csv": "import csv",
    "fractions": "import fractions",
    "math": "import math",
    "os": "import os",
}
OTHERS = {
    "np": "import numpy as np",
    "threadpoolctl": "import threadpoolctl",
    "torch": "import torch",
    "parquet": "from pyarrow import parquet",
    "datasets": "from sklearn import datasets",
}
#: Lines that the numbers of features, or of samples that are not held out, may take.
MOST_NUMBERS = 100
#: Lines of a table that a fit prints that does not say `record.every`.
PRINTED = 10


def program(config: FitConfig, title: str) -> str:
    """The program of a fit with `title` as its docstring; ConfigError where a component has no lines or its data cannot be had."""
    require_lines(config)
    try:
        body = _body(config.resolved())
    except ValueError as error:
        raise ConfigError(str(error)) from error
    except MemoryError as error:
        raise ConfigError(
            f"the data do not fit in memory, {error}: choose fewer samples or features"
        ) from error
    lines = [_docstring(title), *_imports(STANDARD, body), "", *_imports(OTHERS, body), "", *body]
    return "\n".join(_without_double_blanks(lines)) + "\n"


def require_lines(config: FitConfig) -> None:
    """ConfigError that names the components which do not say how a plain program does what they do."""
    parts = [getattr(config, group) for group in CONTRIBUTORS]
    silent = [f"{part.group}={part.name}" for part in parts if not part.has_lines()]
    if silent:
        raise ConfigError(
            f"{', '.join(silent)} cannot be written as a plain program, having no `lines`: choose another, or add them (docs/plugins.md)"
        )
    unwritten = [
        *_set_beside(config, HEEDED | BESIDE | set(CONTRIBUTORS)),
        *(f"stop.{key}" for key in _set_beside(config.stop, RULES)),
    ]
    if unwritten:
        raise ConfigError(
            f"{', '.join(unwritten)} cannot be written as a plain program: leave it at its default"
        )


def _set_beside(section: Frozen, known: set[str]) -> list[str]:
    """The fields that are not `known` and not at their defaults: a program without them would be another fit's."""
    fields = type(section).model_fields
    return [key for key, value in section if key not in known and value != fields[key].default]


def _docstring(title: str) -> str:
    """A title is data: nothing of it may end the docstring, or hide what stands beside it."""
    return (
        '"""'
        + re.sub(
            r'[\\"]', "'", "".join(letter if letter.isprintable() else " " for letter in title)
        )
        + '"""'
    )


def _imports(modules: dict[str, str], body: Iterable[str]) -> list[str]:
    return [
        line
        for name, line in modules.items()
        if any(re.search(rf"\b{name}\.", written) for written in body)
    ]


def _without_double_blanks(lines: Iterable[str]) -> Iterator[str]:
    for blank, group in groupby(lines, key=lambda line: line == ""):
        yield from [""] if blank else group


def _body(config: FitConfig) -> list[str]:
    problem = config.problem().cast(config.dtype)
    known = optimum(problem, config.loss, config.shrinkage())
    _, p, q = problem.shape
    scope = Scope(p, q, config.seed, config.dtype, config.device.name)
    model = config.model.lines(scope)
    gradient = _penalized(config, model, _gradient(config, model))
    if problem.total is not None:
        gradient = replace(gradient, count=repr(problem.total))
    optimizer = _scheduled(
        config, config.optimizer.know(known, config.model).lines(model, gradient)
    )
    rules = _rules(config, known, model, gradient)
    return [
        'os.environ["MKL_CBWR"] = "COMPATIBLE"  # the same kernels wherever the numbers stand in memory',
        f"torch.set_num_threads({config.threads})",
        "",
        *_data(config, problem, scope),
        *_tensors(scope),
        *config.init.lines(scope),
        *_moved(scope),
        "",
        *(model if gradient.tracked else model.untracked()).before,
        *gradient.before,
        *optimizer.before,
        *config.batch.lines(),
        *(line for rule in rules for line in rule.before),
        "",
        f"for step in range({config.steps + 1}):",
        *indented(
            _step(config, model, gradient, optimizer, [_divergence(config, problem, known), *rules])
        ),
        f'print("weights", {model.weight}{model.transposed}.flatten().tolist())',
    ]


def _data(config: FitConfig, problem: Problem, scope: Scope) -> Lines:
    """X and y: as the dataset makes them; of features or with samples held out an intercept beside it, or the numbers that came out."""
    kept = config.neutral()
    if "features" in kept and "split" in kept:
        return _averaged(config, problem, scope)
    intercept_alone = (
        config.features == Raw(intercept=True) and "split" in kept and not config.dataset.weighted()
    )
    if intercept_alone:
        return (
            *config.dataset.lines(scope),
            "X = np.hstack([X, np.ones((len(X), 1))])  # [n, p], the intercept last",
        )
    written = written_out(problem, scope)
    if len(written) > MOST_NUMBERS:
        asked = [key for key in ("features", "split") if key not in kept]
        raise ValueError(
            f"{' and '.join(asked)} of so many samples cannot be written as a plain program: leave them at their default"
        )
    return written


def _averaged(config: FitConfig, problem: Problem, scope: Scope) -> Lines:
    """X and y as the dataset makes them; where a mean divides by the sum of weights, multiplied for it."""
    factor = 1.0 if problem.total is None else row_factor(problem, config.loss)
    if factor == 1:
        return config.dataset.lines(scope)
    written = written_out(problem, scope)
    if len(written) <= MOST_NUMBERS:
        return written
    note = "so that the mean divides by the sum of the weights"
    divided = f"X, y = (array * {factor!r} for array in (X, y))  # {note}"
    return (*config.dataset.lines(scope), divided)


def _gradient(config: FitConfig, model: ModelLines) -> GradientLines:
    """What leaves the loss in `loss`, and its gradient if anything asks for it."""
    asked = config.optimizer.descends or config.stop.gradient_norm is not None
    return (
        config.gradient.lines(model, config.loss.lines())
        if asked
        else loss_alone(model, config.loss.lines())
    )


def _tensors(scope: Scope) -> Lines:
    device = "" if scope.device == "cpu" else f", device={scope.device!r}"
    return (f"X, y = (torch.tensor(array, dtype={scope.torch_dtype}{device}) for array in (X, y))",)


def _moved(scope: Scope) -> Lines:
    return () if scope.device == "cpu" else (f"W = W.to({scope.device!r})",)


@dataclass(frozen=True)
class Rule:
    """Why a fit may end before its last step: a condition on numbers that each step computes."""

    numbers: Lines
    condition: str
    before: Lines = ()
    needs_gradient: bool = False


def _step(
    config: FitConfig,
    model: ModelLines,
    gradient: GradientLines,
    optimizer: OptimizerLines,
    rules: Sequence[Rule],
) -> Iterator[str]:
    """The body of the loop: the loss where the weights stand, a line of the table, and unless that is the last the update."""
    every = config.record.every or max(1, config.steps // PRINTED)
    clear = (optimizer.clear or f"{model.weight}.grad = None",) if gradient.tracked else ()
    early = gradient.completes or any(rule.needs_gradient for rule in rules)
    yield from gradient.forward
    if early:
        yield from (*clear, *gradient.backward)
    for rule in rules:
        yield from rule.numbers
    yield f"ended = step == {config.steps} or {' or '.join(rule.condition for rule in rules)}"
    yield f"if step % {every} == 0 or ended:"
    yield '    print(f"{step:5}  {loss.item()}")'
    yield from ("if ended:", "    break")
    if not early:
        yield from (*clear, *gradient.backward)
    yield from optimizer.update


def _penalized(config: FitConfig, model: ModelLines, gradient: GradientLines) -> GradientLines:
    """The loss becomes the objective when its gradient is there, as in the engine: the penalty's own is written by hand."""
    detached = f"{model.weight}.detach()" if gradient.tracked else model.weight
    part = model.but_last if config.shrinkage().exempt else ""
    penalty = config.penalty.lines(f"{detached}{part}")
    if not penalty.value:
        return gradient
    value = f"loss = loss{'.detach()' * gradient.tracked} + {penalty.value}"
    slope = (f"{gradient.gradient}{part} += {penalty.slope}",) if gradient.gradient else ()
    return replace(gradient, backward=(*gradient.backward, value, *slope), completes=True)


def _scheduled(config: FitConfig, optimizer: OptimizerLines) -> OptimizerLines:
    scheduler = config.schedule.lines(config.steps)
    if not scheduler:
        return optimizer
    if not config.optimizer.is_torch_optimizer:
        raise ValueError(
            f"schedule={config.schedule.name} of an update by hand cannot be written as a plain program: choose one of torch's optimizers"
        )
    return replace(
        optimizer,
        before=(*optimizer.before, f"scheduler = {scheduler}"),
        update=(*optimizer.update, "scheduler.step()"),
    )


def _divergence(config: FitConfig, problem: Problem, known: Optimum) -> Rule:
    """What the engine calls divergence; a start at the optimum of data without noise counts as a little away from it."""
    times, least = (
        config.stop.divergence,
        LEAST_INITIAL * known.scale * float(np.square(problem.y).sum()),
    )
    limit = f"< {times!r} * initial"
    if _initial_loss(config, problem) < least:
        limit = f"<= {times!r} * max(initial, {least!r})"
    return Rule(("initial = loss.item() if step == 0 else initial",), f"not loss.item() {limit}")


def _initial_loss(config: FitConfig, problem: Problem) -> float:
    """In float64: near enough to say whether it is nothing."""
    import torch

    _, p, q = problem.shape
    start = config.init.draw(p, q, config.seed, torch.float64)
    residual = torch.from_numpy(problem.X) @ start - torch.from_numpy(problem.y)
    shrinkage = config.shrinkage()
    shrunk = start[:-1] if shrinkage.exempt else start
    return float(config.loss(residual) + 0.5 * shrinkage.strength * shrunk.square().sum())


def _rules(
    config: FitConfig, known: Optimum, model: ModelLines, gradient: GradientLines
) -> list[Rule]:
    """The stopping rules that the config sets."""
    stop = config.stop
    rules: list[Rule] = []
    if stop.excess_loss is not None:
        if known.robust is not None:
            raise ValueError(
                f"stop.excess_loss of the loss {config.loss.name} cannot be written as a plain program: leave it out"
            )
        has_float64 = "float64" in config.device.dtypes
        wide = ".double()" if has_float64 else ".cpu().double()"
        away = f"away = {model.weight}{model.transposed}.detach(){wide} - optimum"
        shrinkage = config.shrinkage()
        shrunk = "away[:-1]" if shrinkage.exempt else "away"
        half = 0.5 * shrinkage.strength
        ridge = f" + {half!r} * {shrunk}.square().sum()" if half else ""
        excess = f"excess = ({known.scale!r} * (X{wide} @ away).square().sum(){ridge}).item()"
        numbers: Lines = (away, excess, "initial_excess = excess if step == 0 else initial_excess")
        device = ", device=X.device" if has_float64 else ""
        best = f"optimum = torch.tensor({known.weights.tolist()!r}, dtype=torch.float64{device})  # [p, q]"
        rules.append(Rule(numbers, f"excess <= {stop.excess_loss!r} * initial_excess", (best,)))
    if stop.gradient_norm is not None:
        numbers = (
            f"slope = {gradient.gradient}.double().norm().item()",
            "initial_slope = slope if step == 0 else initial_slope",
        )
        rules.append(
            Rule(numbers, f"slope <= {stop.gradient_norm!r} * initial_slope", needs_gradient=True)
        )
    return rules
