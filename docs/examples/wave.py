"""A dataset as a plug-in, with plain programs: `plugins: [wave]`."""

from __future__ import annotations

from typing import Annotated, Literal

import numpy as np
from pydantic import Field

from linfit.component import Seed
from linfit.lines import Lines, Scope
from linfit.problem.datasets import Dataset
from linfit.problem.problem import Problem
from linfit.problem.streams import Purpose, generator, generator_line


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
        stream = generator(self.drawn_from(seed), Purpose.DATA)
        y = X @ truth + self.noise * stream.standard_normal((self.n, 1))
        return Problem(X, y, ("sin", "cos"), ("y",), "wave", truth)

    def drawn_from(self, seed: int) -> int:
        return seed if self.seed is None else self.seed

    def num_samples(self) -> int:
        return self.n

    def lines(self, scope: Scope) -> Lines:
        return (
            f"angle = 2 * np.pi * np.linspace(0, 1, {self.n})",
            "X = np.stack([np.sin(angle), np.cos(angle)], axis=1)  # [n, p]",
            generator_line(self.drawn_from(scope.seed), Purpose.DATA),
            f"noise = {self.noise!r} * stream.standard_normal(({self.n}, 1))",
            "y = X @ np.array([[2.0], [-1.0]]) + noise  # [n, q]",
        )
