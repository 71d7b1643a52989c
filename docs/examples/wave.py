"""A dataset as a plug-in, with plain programs: `plugins: [wave]`."""

from __future__ import annotations

from typing import Annotated, Literal

import numpy as np
from pydantic import Field

from linfit.component import Seed
from linfit.problem.datasets.synthetic import Dataset
from linfit.problem.problem import Problem
from linfit.problem.random_streams import Purpose, create_generator, write_generator_line
from linfit.script_fragments import Lines, ScriptScope


class Wave(Dataset):
    """y = 2·sin(2πx) − cos(2πx) + ε on evenly spaced x from 0 to 1."""

    name: Literal["wave"] = "wave"
    n: Annotated[int, Field(ge=1)] = 40
    noise: Annotated[float, Field(ge=0)] = 0.1
    seed: Seed | None = None

    def shape(self) -> tuple[int, int]:
        return 2, 1

    def load(self, seed: int) -> Problem:
        angle = 2 * np.pi * np.linspace(0, 1, self.n)
        X = np.stack([np.sin(angle), np.cos(angle)], axis=1)  # [n, p]
        truth = np.array([[2.0], [-1.0]])  # [p, q]
        stream = create_generator(self.resolve_seed(seed), Purpose.DATA)
        y = X @ truth + self.noise * stream.standard_normal((self.n, 1))
        return Problem(X, y, ("sin", "cos"), ("y",), "wave", truth)

    def resolve_seed(self, seed: int) -> int:
        return seed if self.seed is None else self.seed

    def num_samples(self) -> int:
        return self.n

    def script_lines(self, scope: ScriptScope) -> Lines:
        return (
            f"angle = 2 * np.pi * np.linspace(0, 1, {self.n})",
            "X = np.stack([np.sin(angle), np.cos(angle)], axis=1)  # [n, p]",
            write_generator_line(self.resolve_seed(scope.seed), Purpose.DATA),
            f"noise = {self.noise!r} * stream.standard_normal(({self.n}, 1))",
            "y = X @ np.array([[2.0], [-1.0]]) + noise  # [n, q]",
        )
