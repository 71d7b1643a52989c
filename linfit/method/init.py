"""Initial weights W `[p, q]`, on the CPU, from a generator of their own.

The global stream is never used.
"""

from __future__ import annotations

import math
from abc import abstractmethod
from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import BeforeValidator, Field

from linfit.component import Component, Seed, optional
from linfit.problem.random_streams import Purpose, compute_torch_seed, write_torch_seed_line
from linfit.script_fragments import Lines, ScriptScope, wrap_list

if TYPE_CHECKING:
    import torch


#: Generator of a plain program, after the line that computes its seed.
SEEDED_GENERATOR = "torch.Generator().manual_seed(seed)"


class Init(Component):
    """Where a fit starts."""

    @abstractmethod
    def draw(self, p: int, q: int, seed: int, dtype: torch.dtype) -> torch.Tensor:
        """Return W `[p, q]`; `seed` is the fit's seed.

        It has p features and q targets.
        """

    @optional
    def script_lines(self, scope: ScriptScope) -> Lines:
        """Return a plain program's lines that define the tensor `W`."""
        raise NotImplementedError(f"init {self.name} has no script lines")

    def check_shape(self, p: int, q: int) -> None:
        """Raise ValueError if no W `[p, q]` can be drawn."""


class RandomInit(Init):
    """Initial weights that are drawn.

    `seed` is the fit's seed unless given.
    """

    seed: Seed | None = None

    def create_generator(self, seed: int) -> torch.Generator:
        """Return the generator of the initial weights; `seed` is the fit's."""
        import torch

        return torch.Generator().manual_seed(
            compute_torch_seed(self.resolve_seed(seed), Purpose.INITIAL_WEIGHTS)
        )

    def write_seed_line(self, seed: int) -> str:
        """Return a plain program's line for the generator's seed."""
        return write_torch_seed_line(self.resolve_seed(seed), Purpose.INITIAL_WEIGHTS)

    def resolve_seed(self, seed: int) -> int:
        """Return the seed of the initial weights.

        It is the fit's `seed` unless it has its own.
        """
        return seed if self.seed is None else self.seed


class Normal(RandomInit):
    """N(mean, std²), drawn in float64 and then cast: both dtypes start at the same point."""

    name: Literal["normal"] = "normal"
    mean: float = 0.0
    std: Annotated[float, Field(ge=0)] = 1.0

    def draw(self, p: int, q: int, seed: int, dtype: torch.dtype) -> torch.Tensor:
        import torch

        standard = torch.randn(p, q, generator=self.create_generator(seed), dtype=torch.float64)
        return (self.mean + self.std * standard).to(dtype)

    def script_lines(self, scope: ScriptScope) -> Lines:
        standard = (
            f"torch.randn({scope.p}, {scope.q}, generator={SEEDED_GENERATOR}, dtype=torch.float64)"
        )
        drawn = standard
        if (self.mean, self.std) != (0, 1):
            drawn = f"({self.mean!r} + {self.std!r} * {standard})"
        if scope.dtype != "float64":
            drawn += f".to({scope.torch_dtype})"
        return (self.write_seed_line(scope.seed), f"W = {drawn}  # [p, q]")


class TorchDefault(RandomInit):
    """The weights of a new `nn.Linear`, U(−1/√p, 1/√p), drawn in the fit's dtype as `[q, p]`.

    As in nn.Linear they are drawn by `kaiming_uniform_(a=√5)`, here from the fit's own generator.
    """

    name: Literal["torch_default"] = "torch_default"

    def draw(self, p: int, q: int, seed: int, dtype: torch.dtype) -> torch.Tensor:
        import torch

        weight = torch.empty(q, p, dtype=dtype)
        torch.nn.init.kaiming_uniform_(
            weight, a=math.sqrt(5), generator=self.create_generator(seed)
        )
        return weight.T.contiguous()

    def script_lines(self, scope: ScriptScope) -> Lines:
        return (
            self.write_seed_line(scope.seed),
            f"W = torch.empty({scope.q}, {scope.p}{scope.keyword})",
            f"torch.nn.init.kaiming_uniform_(W, a=math.sqrt(5), generator={SEEDED_GENERATOR})"
            "  # as nn.Linear does",
            "W = W.T.contiguous()  # [p, q]",
        )


class Zeros(Init):
    """All weights 0."""

    name: Literal["zeros"] = "zeros"

    def draw(self, p: int, q: int, seed: int, dtype: torch.dtype) -> torch.Tensor:
        import torch

        return torch.zeros(p, q, dtype=dtype)

    def script_lines(self, scope: ScriptScope) -> Lines:
        return (f"W = torch.zeros({scope.p}, {scope.q}{scope.keyword})  # [p, q]",)


def _rows(value: Any) -> Any:
    """Return the rows of one target, `[p, 1]`, for a flat list `[p]`."""
    if isinstance(value, list | tuple) and not any(isinstance(row, list | tuple) for row in value):
        return tuple((weight,) for weight in value)
    return value


WeightRow = Annotated[tuple[float, ...], Field(strict=False)]
WeightMatrix = Annotated[
    tuple[WeightRow, ...],
    BeforeValidator(_rows, json_schema_input_type=tuple[WeightRow, ...] | tuple[float, ...]),
    Field(strict=False, min_length=1),
]


class Given(Init):
    """The weights written in the config: p rows of q numbers, or p numbers for one target."""

    name: Literal["given"] = "given"
    weights: WeightMatrix

    def check_shape(self, p: int, q: int) -> None:
        if len(self.weights) != p or any(len(row) != q for row in self.weights):
            widths = ", ".join(sorted({str(len(row)) for row in self.weights}))
            raise ValueError(
                f"init.weights has {len(self.weights)} rows of {widths} numbers, "
                f"the problem needs {p} rows (features) of {q} (targets): "
                "write these, or choose init=zeros"
            )

    def draw(self, p: int, q: int, seed: int, dtype: torch.dtype) -> torch.Tensor:
        import torch

        self.check_shape(p, q)
        return torch.tensor(self.weights, dtype=torch.float64).to(dtype)

    def script_lines(self, scope: ScriptScope) -> Lines:
        return wrap_list(
            "W = torch.tensor([",
            [repr(list(row)) for row in self.weights],
            f"]{scope.keyword})  # [p, q]",
        )
