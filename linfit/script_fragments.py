"""Lines of Python that components contribute to the plain program of `linfit script`.

The program's names are `X` `[n, p]` and `y` `[n, q]`, first numpy arrays and then tensors; `W`
`[p, q]`, the initial weights; where samples have weights that their rows do not bear, `weights`
`[n, 1]`; in the loop `residual` or `eta` `[n, q]`, `loss`, and `gradient`, unless the parameter's
`.grad` is the gradient. Values of a config enter a line as literals (`repr`), never unquoted: a
name in a config is data, and the program is code.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np

#: Lines of Python with their indentation.
Lines = tuple[str, ...]
SCRIPT_WIDTH = 120


@dataclass(frozen=True)
class ScriptScope:
    """What a component's lines may depend on besides its fields."""

    p: int
    q: int
    seed: int
    dtype: str
    device: str = "cpu"

    @property
    def torch_dtype(self) -> str:
        return f"torch.{self.dtype}"

    @property
    def keyword(self) -> str:
        """Keyword argument with the dtype of new tensors.

        Empty if it is torch's default.
        """
        if self.dtype == "float32":
            return ""
        return f", dtype={self.torch_dtype}"

    def format_number(self, value: float) -> str:
        """Return the shortest text that reads back as this number.

        It does so in the dtype.
        """
        cast = np.dtype(self.dtype).type
        short = str(cast(value))
        if float(cast(float(short))) == value:
            return short
        return repr(value)

    def format_array(self, values: Sequence[float], closing: str = "") -> Lines:
        """Return a list of numbers, then `closing`.

        A list of equal numbers is a product.
        """
        texts = list(map(self.format_number, values))
        if len(texts) > 2 and len(set(texts)) == 1:
            return (f"[{texts[0]}] * {len(texts)}{closing}",)
        return wrap_list("[", texts, f"]{closing}")


@dataclass(frozen=True)
class ModelLines:
    """Lines and expressions of a model.

    The lines `before` make the parameter from `W`; `frozen`, if given, make one that torch does not
    record. The rest are expressions: `weight` is the parameter, `parameters` the argument of an
    optimizer, `prediction` ŷ, `pure` ŷ as a function of a tensor `weight`, `transposed` the method
    that turns W's layout `[p, q]` into the parameter's or back.
    """

    before: Lines
    weight: str
    parameters: str
    prediction: str
    pure: str
    transposed: str = ""
    frozen: Lines = ()

    @property
    def but_last(self) -> str:
        """Index of all weights but the last feature's.

        It is in the parameter's layout.
        """
        return "[:, :-1]" if self.transposed else "[:-1]"

    def without_tracking(self) -> ModelLines:
        """Return the lines of a parameter for which torch records nothing."""
        return replace(self, before=self.frozen or self.before, frozen=())


@dataclass(frozen=True)
class LossLines:
    """The loss and its derivative ∂loss/∂η, as expressions in `argument` and `y`.

    `argument` is `residual`, which is η − y, or `eta`, which is η. The lines `before` may compute
    more names from it. The value of a mean is an expression of its terms, and `.mean()`.
    """

    value: str
    derivative: str
    before: Lines = ()
    argument: Literal["residual", "eta"] = "residual"

    def define(self, prediction: str) -> str:
        """Return the line that computes `argument` from the expression η."""
        if self.argument == "eta":
            return f"eta = {prediction}  # [n, q]"
        return f"residual = {prediction} - y  # [n, q]"

    def return_loss(self, prediction: str) -> Lines:
        """Return the body of a function of the loss; `prediction` is the expression η."""
        uses = re.findall(rf"\b{self.argument}\b", self.value)
        if self.before or len(uses) > 1:
            return self.define(prediction), *self.before, f"return {self.value}"
        taken = prediction if self.argument == "eta" else f"{prediction} - y"
        return ("return " + self.value.replace(self.argument, f"({taken})"),)

    def weighted(self) -> LossLines:
        """Return the same of samples with `weights` `[n, 1]`, whose mean is 1."""
        terms = self.value.removesuffix(".mean()")
        return replace(
            self,
            value=f"(weights * {terms}).mean()",
            derivative=f"weights * ({self.derivative})",
        )


@dataclass(frozen=True)
class PenaltyLines:
    """Terms: `value` adds to the loss, `slope` and `corner` to its gradient.

    They have the parameter's layout, and are empty where there is none. `corner` is a subgradient
    of ‖W‖₁, which optimizers that step by its proximal operator leave out.
    """

    value: str = ""
    slope: str = ""
    corner: str = ""


@dataclass(frozen=True)
class GradientLines:
    """Lines that compute the loss and its gradient at the weights.

    `forward` leaves the loss in `loss`, `backward` its gradient in the expression `gradient`, which
    is empty if there is none. `tracked`: torch records operations on the parameter, so that its old
    gradient must be cleared before `backward`. `completes`: `loss` is complete only after
    `backward`.
    """

    before: Lines
    forward: Lines
    backward: Lines
    gradient: str = "gradient"
    tracked: bool = False
    completes: bool = False
    count: str = "len(X)"
    """Number of samples by which an optimizer that averages divides."""


@dataclass(frozen=True)
class BatchLines:
    """Lines of a step's batch, `size` of `n` samples.

    `names` are the arrays of the samples, which `samples` keeps; `batches` `[steps + 1, size]` has
    the rows of each step. A batch's gradient times `share` has that of all samples as its mean;
    `ratio` is what a sample adds to the loss of all over what it adds to the batch's.
    """

    n: int
    size: int
    share: float
    ratio: float
    names: str = "X, y"

    @property
    def take(self) -> Lines:
        """Lines after which the names are the batch's."""
        return "rows = batches[step]", f"{self.names} = (array[rows] for array in samples)"

    @property
    def release(self) -> str:
        """The line after which they are all samples' again."""
        return f"{self.names} = samples"


@dataclass(frozen=True)
class OptimizerLines:
    """Lines `before` the loop, and those of the `update` in it.

    `clear` clears the old gradient, if that is not the assignment of None.
    """

    before: Lines
    update: Lines
    clear: str = ""


def in_place(lines: Iterable[str], tracked: bool) -> Lines:
    """Return lines that change a parameter.

    They are under `torch.no_grad()` if it is `tracked`.
    """
    if tracked:
        return ("with torch.no_grad():", *indent_lines(lines))
    return tuple(lines)


def indent_lines(lines: Iterable[str]) -> Lines:
    """Return the lines, indented by one level."""
    return tuple(f"    {line}" for line in lines)


def wrap_list(opening: str, items: Sequence[str], closing: str, indent: str = "    ") -> Lines:
    """Return items between `opening` and `closing`, wrapped at WIDTH.

    Lines break after the commas behind the items.
    """
    lines: list[str] = []
    line = opening
    last = len(items) - 1
    for place, item in enumerate(items):
        text = item + (closing if place == last else ",")
        if place == 0:
            line += text
        elif len(line) + 1 + len(text) > SCRIPT_WIDTH:
            lines.append(line)
            line = indent + text
        else:
            line += f" {text}"
    return (*lines, line)
