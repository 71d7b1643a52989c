"""What components contribute to the plain program that `linfit script` prints: lines of Python, and expressions in them.

The program speaks of numpy arrays `X` `[n, p]` and `y` `[n, q]`, then of tensors of the same names; of `W` `[p, q]`, the
initial weights; in its loop of `residual` `[n, q]`, which is ŷ − y, of `loss` and, unless it stands in the parameter's
`.grad`, of `gradient`. What comes from a config enters a line as a literal (`repr`), never as it is: a name in a config is
data, and the program is code.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

import numpy as np

#: Lines of Python, each indented as it stands.
Lines = tuple[str, ...]
WIDTH = 120


@dataclass(frozen=True)
class Scope:
    """What the lines of a component may depend on beside its own fields."""

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
        """The keyword argument that gives new tensors the dtype; empty where that is torch's default."""
        return "" if self.dtype == "float32" else f", dtype={self.torch_dtype}"

    def number(self, value: float) -> str:
        """The shortest text of a number of the dtype that reads back as the same."""
        short = str(np.dtype(self.dtype).type(value))
        return short if float(np.dtype(self.dtype).type(float(short))) == value else repr(value)

    def array(self, values: Sequence[float], closing: str = "") -> Lines:
        """A list of numbers of the dtype, and what follows it; one that repeats a number says so."""
        texts = [self.number(value) for value in values]
        if len(texts) > 2 and len(set(texts)) == 1:
            return (f"[{texts[0]}] * {len(texts)}{closing}",)
        return listed("[", texts, f"]{closing}")


@dataclass(frozen=True)
class ModelLines:
    """`before` makes the parameter from `W`, `frozen` one that torch does not record, unless `before` does; the rest are expressions.

    `weight` is the parameter, `parameters` what an optimizer takes, `prediction` ŷ, `pure` ŷ as a function of a tensor
    `weight`, `transposed` what turns W's layout `[p, q]` into the parameter's or back.
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
        """Index that leaves out the weights of the last feature, in the parameter's layout."""
        return "[:, :-1]" if self.transposed else "[:-1]"

    def untracked(self) -> ModelLines:
        """The same with a parameter of which torch records nothing."""
        return replace(self, before=self.frozen or self.before, frozen=())


@dataclass(frozen=True)
class LossLines:
    """The loss and its derivative ∂loss/∂ŷ, as expressions in `residual` and in what the lines `before` make of it."""

    value: str
    derivative: str
    before: Lines = ()

    def returned(self, residual: str) -> Lines:
        """The body of a function that returns the loss, where ŷ − y is the expression `residual`."""
        if self.before or len(re.findall(r"\bresidual\b", self.value)) > 1:
            return f"residual = {residual}  # [n, q]", *self.before, f"return {self.value}"
        return ("return " + re.sub(r"\bresidual\b", lambda _: f"({residual})", self.value),)


@dataclass(frozen=True)
class PenaltyLines:
    """`value`, an expression, is added to the loss; `slope`, of the parameter's layout, to its gradient. Empty where there is none."""

    value: str = ""
    slope: str = ""


@dataclass(frozen=True)
class GradientLines:
    """`forward` leaves the loss where the weights stand in `loss`, `backward` its gradient in `gradient`, an expression, empty if there is none.

    `tracked`: torch records what is done with the parameter, so that its old gradient must be cleared before `backward`.
    `completes`: `loss` is whole only after `backward`.
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
class OptimizerLines:
    """`before` the loop, the `update` in it, and what clears the old gradient where it is not the plain assignment of None."""

    before: Lines
    update: Lines
    clear: str = ""


def in_place(lines: Iterable[str], tracked: bool) -> Lines:
    """Lines that change a parameter, under `torch.no_grad()` where torch would record them."""
    return ("with torch.no_grad():", *indented(lines)) if tracked else tuple(lines)


def indented(lines: Iterable[str]) -> Lines:
    return tuple(f"    {line}" for line in lines)


def listed(opening: str, items: Sequence[str], closing: str, indent: str = "    ") -> Lines:
    """`opening`, the items with commas between them, `closing`; broken after a comma where a line would be too long."""
    lines, line = [], opening
    for place, item in enumerate(items):
        text = item + (closing if place == len(items) - 1 else ",")
        space = "" if place == 0 else " "
        if place and len(line) + len(space) + len(text) > WIDTH:
            lines.append(line)
            line, space = indent, ""
        line += space + text
    return (*lines, line)
