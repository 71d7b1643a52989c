"""Optimizers that learn the curvature from the gradients they see.

s fits of one kind, p features, q targets, m remembered pairs.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal

from pydantic import Field

from linfit.method.optimizers.base import NonNegative, Optimizer, Positive, Stepper
from linfit.method.stacked_state import HyperparameterColumns, OptimizerState, Update, sum_over
from linfit.problem.losses import Loss
from linfit.script_fragments import GradientLines, Lines, ModelLines, OptimizerLines

if TYPE_CHECKING:
    from torch import Tensor

#: A pair of moves is remembered if its curvature y·s is above this, as in torch.
LEAST_CURVATURE = 1e-10
#: State of the remembered pairs.
PAIR_PARTS = ("moves", "changes", "weights")


class LBFGS(Optimizer):
    """torch.optim.LBFGS with one iteration a step (Liu and Nocedal, 1989).

    The direction is −H·g, H an estimate of the inverse Hessian from the last `history_size` moves
    and changes of the gradient; w ← w + t·d with t = lr, and lr·min(1, 1/Σ|g|) at first. A step is
    one iteration with one gradient, `max_iter=1` in torch, without a line search: where the
    curvature changes much, as that of poisson, `lr` below 1 is needed. It stands still where all
    |g| ≤ `tolerance_grad`, or g·d > −`tolerance_change`.
    """

    supports_batches: ClassVar[bool] = False
    name: Literal["lbfgs"] = "lbfgs"
    lr: Positive = 1.0
    history_size: Annotated[int, Field(ge=1)] = 100
    tolerance_grad: NonNegative = 1e-7
    tolerance_change: NonNegative = 1e-9

    def build(self, parameter: Tensor, n: float) -> Stepper:
        given = self.model_dump(exclude={"name"})
        stepper: Stepper = one_gradient_lbfgs()([parameter], max_iter=1, **given)
        return stepper

    def check_loss(self, loss: Loss) -> None:
        if not loss.smooth:
            raise ValueError(
                f"{self.name} takes curvatures from differences of gradients, and that of "
                f"{loss.name} jumps: choose optimizer=adam, or loss=huber"
            )

    def check_l1(self, penalty: str) -> None:
        raise ValueError(
            f"{self.name} takes curvatures from differences of gradients, and that of penalty "
            f"{penalty} jumps where a weight is 0: choose optimizer=fista, or penalty=ridge"
        )

    def script_lines(self, model: ModelLines, gradient: GradientLines) -> OptimizerLines:
        fields = type(self).model_fields
        given = "".join(
            f", {key}={value!r}"
            for key, value in self
            if key == "lr" or (key != "name" and value != fields[key].default)
        )
        update: Lines = (
            f"{model.weight}.grad = {gradient.gradient}.contiguous()",
            "optimizer.step(lambda: loss)",
        )
        made = f"optimizer = torch.optim.LBFGS({model.parameters}, max_iter=1{given})"
        return OptimizerLines((made,), update, clear="optimizer.zero_grad()")

    def stacked(
        self, hyperparameters: HyperparameterColumns, memory: OptimizerState, n: float
    ) -> Update:
        lr = hyperparameters.round_values(hyperparameters["lr"])  # [s, 1, 1]
        flat = hyperparameters.round_values(hyperparameters["tolerance_grad"])
        still = hyperparameters.round_values(hyperparameters["tolerance_change"])
        sizes = hyperparameters["history_size"].ravel().astype(int)  # [s]
        pairs = PairMemory(memory, sizes.tolist())

        def update(k: int, W: Tensor, g: Tensor) -> None:
            import torch

            moves = g.abs().amax((1, 2), keepdim=True) > flat
            if k == 1:
                direction = -g
                shares = 1 / inner_products(g.abs(), torch.ones_like(g))
                step = lr * shares.clamp(max=1)
            else:
                pairs.remember(g - memory["gradient"], memory["move"], moves)
                direction = pairs.multiply(-g)
                step = lr.expand_as(lr)
            moves = moves & (inner_products(g, direction) <= -still)
            memory["gradient"].copy_(g.where(moves, memory["gradient"]))
            move = step * direction
            memory["move"].copy_(move.where(moves, 0))
            W.add_(memory["move"])

        return update


class PairMemory:
    """The last moves s and changes y of the gradient of s fits, and the curvature they show.

    Each fit has a ring of its own `sizes` `[s]`, of which `count` pairs were written: pairs that
    show no curvature are not remembered.
    """

    def __init__(self, memory: OptimizerState, sizes: Sequence[int]) -> None:
        import torch

        self.state = memory.tensors
        like = memory.like
        self.sizes = torch.tensor(sizes, device=like.device)
        if "moves" not in self.state:
            shape = (len(like), max(sizes), *like.shape[1:])
            self.state["moves"] = like.new_zeros(shape)
            self.state["changes"] = like.new_zeros(shape)
            self.state["weights"] = like.new_zeros(*shape[:2], 1, 1)
            self.state["scale"] = like.new_ones(len(like), 1, 1)
            self.state["count"] = torch.zeros_like(self.sizes)

    def remember(self, change: Tensor, move: Tensor, wanted: Tensor) -> None:
        """Write a pair `[s, p, q]` of each fit where it is `wanted` and shows a curvature."""
        curvature = inner_products(change, move)  # [s, 1, 1]
        rows = ((curvature > LEAST_CURVATURE) & wanted).flatten().nonzero()[:, 0]
        places = self.state["count"][rows] % self.sizes[rows]
        self.state["moves"][rows, places] = move[rows]
        self.state["changes"][rows, places] = change[rows]
        self.state["weights"][rows, places] = 1 / curvature[rows]
        self.state["scale"][rows] = (curvature / inner_products(change, change))[rows]
        self.state["count"][rows] += 1

    def multiply(self, direction: Tensor) -> Tensor:
        """Return H·direction `[s, p, q]` by the two loops of L-BFGS."""
        import torch

        ages = torch.minimum(self.state["count"], self.sizes)  # [s]
        rows = torch.arange(len(direction), device=direction.device)
        passes = []
        for age in range(1, int(ages.max()) + 1):
            at = (self.state["count"] - age) % self.sizes
            known = (ages >= age)[:, None, None]
            passes.append([known, *(self.state[key][rows, at] for key in PAIR_PARTS)])

        factors = []
        for known, move, change, weight in passes:  # from the newest to the oldest
            factor = inner_products(move, direction) * weight
            direction = direction.where(~known, direction - factor * change)
            factors.append(factor)
        direction = direction * self.state["scale"]
        for (known, move, change, weight), factor in zip(
            reversed(passes), reversed(factors), strict=True
        ):
            back = factor - inner_products(change, direction) * weight
            direction = direction.where(~known, direction + back * move)
        return direction


@cache
def one_gradient_lbfgs() -> Any:
    """Return torch's class with a step that takes the gradient that is there, without a closure."""
    import torch

    from linfit.method.eager import eager

    class OneGradientLBFGS(eager(torch.optim.LBFGS)):  # type: ignore[misc]
        def step(self, closure: Any = None) -> None:
            weight = self.param_groups[0]["params"][0]
            weight.grad = weight.grad.contiguous()  # torch flattens it in place
            super().step(lambda: 0.0)

    return OneGradientLBFGS


def inner_products(a: Tensor, b: Tensor) -> Tensor:
    """Return a·b of each of s fits as `[s, 1, 1]`."""
    return sum_over((a * b).flatten(1), 1)[:, None, None]
