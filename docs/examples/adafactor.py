"""Another optimizer of torch.optim as a plug-in: `plugins: [adafactor]`.

It runs in the single engine; plain programs call torch's own. The fields are torch's own keyword
arguments with torch's own defaults.
"""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from linfit.method.optimizers import NonNegative, Positive, TorchOptimizer

Bounds = Annotated[tuple[NonNegative | None, NonNegative], Field(strict=False)]


class Adafactor(TorchOptimizer, keeps=[TorchOptimizer.script_lines]):
    """torch.optim.Adafactor (Shazeer and Stern, 2018): mean squares of rows and columns alone."""

    torch_name = "Adafactor"
    name: Literal["adafactor"] = "adafactor"
    lr: Positive = 1e-2
    beta2_decay: float = -0.8
    eps: Bounds = (None, 1e-3)
    d: Positive = 1.0
    weight_decay: NonNegative = 0.0
    maximize: bool = False
