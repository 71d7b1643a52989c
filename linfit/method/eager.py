"""torch's optimizers without torch's compiler, which takes as long to import as torch itself.

The compiler makes no step faster here. `torch.optim` imports `torch._dynamo` in wrappers around the
methods of an optimizer. A subclass with the methods below these layers makes the same steps, and
leaves torch as it is for those who compile.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable
from functools import cache, wraps
from typing import Any

import torch
from torch.optim import Optimizer

AnyMethod = Callable[..., Any]

# Layers that are taken off, by the name of their code. Any other layer is kept, with all layers
# below it: it may do more.
#: Hides the method from the compiler.
COMPILER = "_disable_dynamo.<locals>.inner"
#: Tells the compiler, and decides if autograd records the step.
GRADIENT_MODE = "_use_grad_for_differentiable.<locals>._use_grad"
#: `Optimizer.__init__` wraps the step of every new class in it.
PROFILER = "Optimizer.profile_hook_step.<locals>.wrapper"


@cache
def eager(optimizer: type[Optimizer]) -> type[Any]:
    """Return a subclass of `optimizer` that does not import torch's compiler.

    Return the class itself if no layer can be taken off.
    """
    methods: dict[str, Any] = {}
    for name in dir(optimizer):
        method = inspect.getattr_static(optimizer, name)
        if inspect.isfunction(method) and (bare := strip_layers(method)) is not method:
            methods[name] = bare
    if not methods:
        return optimizer
    identity = {key: getattr(optimizer, key) for key in ("__module__", "__qualname__", "__doc__")}
    return type(optimizer.__name__, (optimizer,), {**identity, **methods})


def strip_layers(method: AnyMethod) -> AnyMethod:
    """Return the function below the removed layers.

    It runs in the gradient mode that they set.
    """
    sets_gradient_mode = False
    while (layer := identify_layer(method)) is not None:
        sets_gradient_mode |= layer == GRADIENT_MODE
        method = method.__wrapped__  # type: ignore[attr-defined]
    if sets_gradient_mode:
        return set_gradient_mode(method)
    return method


def identify_layer(method: AnyMethod) -> str | None:
    """Return the name of a removable outermost wrapper.

    It is the wrapper of `method`; None if `eager` does not remove it.
    """
    code = getattr(method, "__code__", None)
    name = getattr(code, "co_qualname", None)
    known = name in (COMPILER, GRADIENT_MODE, PROFILER) and hasattr(method, "__wrapped__")
    return name if known else None


def set_gradient_mode(step: AnyMethod) -> AnyMethod:
    """Return `step` as torch calls it.

    Autograd records it only if it is `differentiable`.
    """

    @wraps(step)
    def moded(self: Optimizer, *args: Any, **kwargs: Any) -> Any:
        with torch.set_grad_enabled(self.defaults["differentiable"]):
            return step(self, *args, **kwargs)

    return moded
