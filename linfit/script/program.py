"""`linfit script`: a fit as a plain torch program, in the form of the article, without linfit.

Each component contributes its own lines (`script_fragments.py`); this module puts them together
into one loop. The program computes what the single engine computes, operation by operation: its
losses and weights have the same bits.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from itertools import chain

from linfit.component import Frozen
from linfit.config import GROUPS, FitConfig
from linfit.engine.product_settings import MKL_SETTING, OWN_SETTINGS
from linfit.errors import ConfigError
from linfit.method.batches import batch_gradient_scale, batch_loss_ratio
from linfit.method.gradients import write_loss_alone
from linfit.problem.datasets.number_lines import write_numbers
from linfit.problem.datasets.prepare import row_factor
from linfit.problem.datasets.targets import TWO_VALUES
from linfit.problem.features import Raw
from linfit.problem.problem import Problem
from linfit.script.rules import ScriptRule, convergence_rules, divergence_rule
from linfit.script_fragments import (
    BatchLines,
    GradientLines,
    Lines,
    LossLines,
    ModelLines,
    OptimizerLines,
    ScriptScope,
    indent_lines,
)

#: Groups that contribute lines. The others say where and how numbers are computed, or where they
#: go; of features, the program contains the numbers.
CONTRIBUTING_GROUPS = tuple(
    group for group in GROUPS if group not in ("device", "engine", "tracking", "split", "features")
)
#: Other keys that a program follows, and keys that it may ignore. All others must have their
#: defaults.
HONOURED_KEYS = {
    "seed",
    "dtype",
    "steps",
    "threads",
    "mean_over",
    "record",
    "stop",
    "features",
    "split",
}
IGNORED_KEYS = {"name", "plugins", "device", "engine", "tracking", "pictures", "deterministic"}
STOP_RULES = {"divergence", "excess_loss", "gradient_norm"}
#: Imports that a program needs if it uses the name: of the standard library, then of others.
STANDARD_IMPORTS = {
    "csv": "import csv",
    "fractions": "import fractions",
    "gzip": "import gzip",
    "math": "import math",
    "os": "import os",
}
OTHER_IMPORTS = {
    "np": "import numpy as np",
    "threadpoolctl": "import threadpoolctl",
    "torch": "import torch",
    "parquet": "from pyarrow import parquet",
    "datasets": "from sklearn import datasets",
}
#: Most lines of numbers of features, or of the training samples of a split.
MAX_NUMBER_LINES = 100
COLUMNS_OF_TEXT = "columns of text"
#: Lines of the printed table, unless the config sets `record.every`.
PRINTED_ROWS = 10


def render_script(config: FitConfig, title: str, mkl_setting: str = OWN_SETTINGS[0]) -> str:
    """Return the program of a fit, with `title` as its docstring and MKL_CBWR as given.

    Raise ConfigError if a component has no script lines, or if its data cannot be loaded.
    """
    require_script(config)
    try:
        body = _program_lines(config.resolved(), mkl_setting)
    except ValueError as error:
        raise ConfigError(str(error)) from error
    except MemoryError as error:
        raise ConfigError(
            f"the data do not fit in memory, {error}: choose fewer samples or features"
        ) from error
    lines = [
        _docstring_line(title),
        *_import_lines(STANDARD_IMPORTS, body),
        "",
        *_import_lines(OTHER_IMPORTS, body),
        "",
        *body,
    ]
    return re.sub(r"\n{3,}", "\n\n", "\n".join(lines)) + "\n"


def require_script(config: FitConfig) -> None:
    """Raise ConfigError if part of the config cannot become lines."""
    silent = []
    for group in CONTRIBUTING_GROUPS:
        part = getattr(config, group)
        if not part.has_script():
            silent.append(f"{group}={part.name}")
    if silent:
        raise ConfigError(
            f"{', '.join(silent)} cannot be written as a plain program, having no `script_lines`: "
            "choose another, or add them (docs/plugins.md)"
        )
    unwritten = _changed(config, HONOURED_KEYS | IGNORED_KEYS | set(CONTRIBUTING_GROUPS))
    unwritten += [f"stop.{key}" for key in _changed(config.stop, STOP_RULES)]
    if unwritten:
        raise ConfigError(
            f"{', '.join(unwritten)} cannot be written as a plain program: leave it at its default"
        )


def _changed(section: Frozen, known: set[str]) -> list[str]:
    """Return the fields that are neither `known` nor at their defaults.

    A program that ignored them would do another fit.
    """
    fields = type(section).model_fields
    return [key for key, value in section if key not in known and value != fields[key].default]


def _docstring_line(title: str) -> str:
    """Return the title, which is data, such that no part of it can end the docstring."""
    printable = "".join(letter if letter.isprintable() else " " for letter in title)
    harmless = re.sub(r'[\\"]', "'", printable)
    return f'"""{harmless}"""'


def _import_lines(modules: dict[str, str], body: Iterable[str]) -> list[str]:
    text = "\n".join(body)
    return [line for name, line in modules.items() if re.search(rf"\b{name}\.", text)]


def _program_lines(config: FitConfig, mkl_setting: str) -> list[str]:
    problem = config.problem().cast(config.dtype)
    known = config.find_optimum(problem)
    _, p, q = problem.shape
    scope = ScriptScope(p, q, config.seed, config.dtype, config.device.name)
    model = config.model.script_lines(scope)
    loss = config.loss.script_lines()
    if problem.weights is not None:
        loss = loss.weighted()
    gradient = _add_penalty(config, model, _gradient_lines(config, problem, model, loss))
    if problem.total is not None:
        gradient = replace(gradient, count=repr(problem.total))
    tuned = config.optimizer.tuned_to(known, config.model)
    optimizer = _add_schedule(config, tuned.script_lines(model, gradient))
    rules = convergence_rules(config, known, model, gradient)
    all_rules = [divergence_rule(config, problem, known), *rules]
    mkl = f'os.environ["{MKL_SETTING}"] = "{mkl_setting}"'
    return [
        f"{mkl}  # the same kernels wherever the numbers stand in memory",
        f"torch.set_num_threads({config.threads})",
        "",
        *_data_lines(config, problem, scope),
        *_tensor_lines(problem, scope),
        *config.init.script_lines(scope),
        *_device_lines(scope),
        "",
        *(model if gradient.tracked else model.without_tracking()).before,
        *gradient.before,
        *optimizer.before,
        *_batch_lines(config, problem),
        *chain.from_iterable(rule.before for rule in rules),
        "",
        f"for step in range({config.steps + 1}):",
        *indent_lines(_step_lines(config, model, gradient, optimizer, all_rules)),
        f'print("weights", {model.weight}{model.transposed}.flatten().tolist())',
    ]


def _data_lines(config: FitConfig, problem: Problem, scope: ScriptScope) -> Lines:
    """Return lines that make X and y.

    Raw features without a split are made as the dataset makes them, if need be with an intercept.
    Of other features, of training samples and of columns of text, the numbers are written.
    """
    neutral = config.list_neutral_fields()
    asked = [key for key in ("features", "split") if key not in neutral]
    if problem.levels:
        asked.append(COLUMNS_OF_TEXT)
    if not asked:
        return _averaged_data_lines(config, problem, scope)
    adds_intercept = asked == ["features"] and config.features == Raw(intercept=True)
    if adds_intercept and not config.dataset.is_weighted():
        return (
            *config.dataset.script_lines(scope),
            *_class_lines(config, problem),
            "X = np.hstack([X, np.ones((len(X), 1))])  # [n, p], the intercept last",
        )
    written = write_numbers(problem, scope)
    if len(written) > MAX_NUMBER_LINES:
        raise ValueError(
            f"{' and '.join(asked)} of so many samples cannot be written as a plain program, which "
            f"has {MAX_NUMBER_LINES} lines of numbers at most: {_describe_shorter(asked)}"
        )
    return written


def _describe_shorter(asked: Sequence[str]) -> str:
    """Return what to change so that a program reads or draws the data itself."""
    defaults = [key for key in asked if key != COLUMNS_OF_TEXT]
    advice = []
    if defaults:
        advice.append(f"leave {' and '.join(defaults)} at their default")
    if COLUMNS_OF_TEXT in asked:
        advice.append("name features and targets that are numbers, or a file of fewer samples")
    return ", and ".join(advice)


def _class_lines(config: FitConfig, problem: Problem) -> Lines:
    """Return the line that makes targets of classes, which are numbers, where these are others."""
    classes = problem.classes
    kind = config.loss.target_kind
    if not classes or classes == TWO_VALUES.get(kind):
        return ()
    if kind == "classes":
        return (f"y = (y == np.array({list(classes)!r})).astype(float)  # [n, q]",)
    low, high = TWO_VALUES[kind]
    return (f"y = np.where(y == {classes[1]!r}, {high!r}, {low!r})  # [n, q]",)


def _averaged_data_lines(config: FitConfig, problem: Problem, scope: ScriptScope) -> Lines:
    """Return lines that make X and y, scaled if a mean divides by the sum of the weights."""
    if problem.weights is None and (
        problem.total is None or (factor := row_factor(problem, config.loss)) == 1
    ):
        return (*config.dataset.script_lines(scope), *_class_lines(config, problem))
    written = write_numbers(problem, scope)
    if len(written) <= MAX_NUMBER_LINES:
        return written
    if problem.weights is not None:
        raise ValueError(
            f"weights of so many samples cannot be written as a plain program of "
            f"loss={config.loss.name}: leave dataset.weight out, or choose loss=mse"
        )
    note = "so that the mean divides by the sum of the weights"
    divided = f"X, y = (array * {factor!r} for array in (X, y))  # {note}"
    return (*config.dataset.script_lines(scope), divided)


def _gradient_lines(
    config: FitConfig, problem: Problem, model: ModelLines, loss: LossLines
) -> GradientLines:
    """Return lines that leave the loss in `loss`, and compute its gradient if it is needed."""
    if not config.optimizer.uses_gradient and config.stop.gradient_norm is None:
        return write_loss_alone(model, loss)
    if config.batch.is_full:
        return config.gradient.script_lines(model, loss)
    n, columns = problem.seen_targets.shape
    size = config.batch.num_drawn()
    share = batch_gradient_scale(config.loss, n, size, columns)
    ratio = batch_loss_ratio(config.loss, n, size, columns)
    batch = BatchLines(n, size, share, ratio, _name_arrays(problem))
    return config.gradient.batch_lines(model, loss, batch)


def _batch_lines(config: FitConfig, problem: Problem) -> Lines:
    """Return lines that draw the batches and keep all samples; none without batches."""
    if config.batch.is_full:
        return ()
    n = problem.shape[0]
    drawn = config.batch.script_lines(n, config.steps, config.seed)
    return *drawn, f"samples = {_name_arrays(problem)}"


def _name_arrays(problem: Problem) -> str:
    """Return the names of the arrays of samples, as a tuple of the program."""
    return "X, y" if problem.weights is None else "X, y, weights"


def _tensor_lines(problem: Problem, scope: ScriptScope) -> Lines:
    device = "" if scope.device == "cpu" else f", device={scope.device!r}"
    names = _name_arrays(problem)
    made = f"torch.tensor(array, dtype={scope.torch_dtype}{device})"
    return (f"{names} = ({made} for array in ({names}))",)


def _device_lines(scope: ScriptScope) -> Lines:
    if scope.device == "cpu":
        return ()
    return (f"W = W.to({scope.device!r})",)


def _step_lines(
    config: FitConfig,
    model: ModelLines,
    gradient: GradientLines,
    optimizer: OptimizerLines,
    rules: Sequence[ScriptRule],
) -> Iterator[str]:
    """Yield the body of the loop: the loss, a line of the table, and the update."""
    every = config.record.every or max(1, config.steps // PRINTED_ROWS)
    backward = gradient.backward
    if gradient.tracked:
        backward = (optimizer.clear or f"{model.weight}.grad = None", *backward)
    early = gradient.completes or any(rule.needs_gradient for rule in rules)
    yield from gradient.forward
    if early:
        yield from backward
    for rule in rules:
        yield from rule.numbers
    yield f"ended = step == {config.steps} or {' or '.join(rule.condition for rule in rules)}"
    yield f"if step % {every} == 0 or ended:"
    yield '    print(f"{step:5}  {loss.item()}")'
    yield from ("if ended:", "    break")
    if not early:
        yield from backward
    yield from optimizer.update


def _add_penalty(config: FitConfig, model: ModelLines, gradient: GradientLines) -> GradientLines:
    """Return lines that also add the penalty, to the loss and to its gradient.

    As in the engine, the loss becomes the objective once its gradient is computed: the gradient of
    the penalty is written by hand.
    """
    detached = f"{model.weight}.detach()" if gradient.tracked else model.weight
    part = model.but_last if config.shrinkage().exempt else ""
    penalty = config.penalty.script_lines(f"{detached}{part}")
    if not penalty.value:
        return gradient
    value = f"loss = loss{'.detach()' * gradient.tracked} + {penalty.value}"
    backward = [*gradient.backward, value]
    slopes = [penalty.slope]
    if not config.optimizer.handles_l1:
        slopes.append(penalty.corner)
    if gradient.gradient:
        backward += [f"{gradient.gradient}{part} += {slope}" for slope in slopes if slope]
    return replace(gradient, backward=tuple(backward), completes=True)


def _add_schedule(config: FitConfig, optimizer: OptimizerLines) -> OptimizerLines:
    scheduler = config.schedule.script_lines(config.steps)
    if not scheduler:
        return optimizer
    if not config.optimizer.is_torch_optimizer:
        raise ValueError(
            f"schedule={config.schedule.name} of an update by hand cannot be written as a plain "
            "program: choose one of torch's optimizers"
        )
    return replace(
        optimizer,
        before=(*optimizer.before, f"scheduler = {scheduler}"),
        update=(*optimizer.update, "scheduler.step()"),
    )
