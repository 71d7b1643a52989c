"""A simulated device without float64: dtypes and devices of `mps`, on a machine without it.

Its tensors lie in the processor's memory and are marked. An operation that makes a float64 tensor
of a marked one, or on `mps`, raises TypeError as MPS does. So does numpy if it reads a marked one,
and an operation of a marked tensor with one of the processor's that is not a number.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, nullcontext
from typing import Any
from unittest.mock import patch

import torch
from torch import Tensor
from torch.autograd import forward_ad
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves, tree_map

from linfit.engine import caller_settings

NAME = "mps"
REFUSED = (
    "Cannot convert a MPS Tensor to float64 dtype as the MPS framework doesn't support float64. "
    "Please use float32 instead."
)
#: Functions that bring a tensor back to the processor.
BACK = {
    Tensor.cpu,
    Tensor.item,
    Tensor.tolist,
    Tensor.__float__,
    Tensor.__bool__,
    Tensor.__int__,
    Tensor.__index__,
}
READ: set[Any] = {Tensor.numpy, Tensor.__array__}


class Marks:
    """The storages that are on the device. They are kept alive: an address means one storage."""

    def __init__(self) -> None:
        self.storages: dict[int, Any] = {}

    def has(self, value: Any) -> bool:
        return isinstance(value, Tensor) and _address(value) in self.storages

    def add(self, tensor: Tensor) -> Tensor:
        if tensor.dtype == torch.float64:
            raise TypeError(REFUSED)
        if (address := _address(tensor)) is not None:
            self.storages[address] = tensor.untyped_storage()
        return tensor


def _address(tensor: Tensor) -> int | None:
    """The identity of a tensor's storage; None where it has none, as inside vmap."""
    try:
        return int(tensor.untyped_storage()._cdata)
    except (NotImplementedError, RuntimeError):
        return None


class Placing(TorchFunctionMode):
    """Takes `mps` for the processor, and marks what is made there or brought there."""

    def __init__(self, marks: Marks) -> None:
        super().__init__()
        self.marks = marks

    def __torch_function__(
        self, function: Any, types: Any, args: Any = (), kwargs: Any = None
    ) -> Any:
        kwargs = kwargs or {}
        if function == Tensor.device.__get__:
            return torch.device(NAME) if self.marks.has(args[0]) else function(*args, **kwargs)
        if function in READ and self.marks.has(args[0]):
            raise TypeError(
                "can't convert mps:0 device type tensor to numpy. Use Tensor.cpu() to copy the "
                "tensor to host memory first."
            )
        if function in BACK and self.marks.has(args[0]):
            return _unmarked(function, args)
        return (
            function(*args, **kwargs)
            if function is torch.device
            else self._placed(function, args, kwargs)
        )

    def _placed(self, function: Any, args: Any, kwargs: Any) -> Any:
        asked = [value for value in (*args, *kwargs.values()) if _is_device(value)]
        moving = function is Tensor.to and any(
            self.marks.has(value) for value in (*args[1:], *kwargs.values())
        )
        args, kwargs = tree_map(
            lambda value: torch.device("cpu") if _is_device(value) else value, (args, kwargs)
        )
        found = function(*args, **kwargs)
        if (asked or moving) and isinstance(found, Tensor) and not self.marks.has(found):
            return self.marks.add(found.clone() if function is Tensor.to else found)
        return found


class Watching(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Marks what is computed from what is on the device, and raises where that is float64."""

    def __init__(self, marks: Marks) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.marks = marks

    def __torch_dispatch__(
        self, function: Any, types: Any, args: Any = (), kwargs: Any = None
    ) -> Any:
        given = [value for value in tree_leaves((args, kwargs or {})) if isinstance(value, Tensor)]
        inside = [self.marks.has(value) for value in given]
        found = function(*args, **(kwargs or {}))
        if not any(inside):
            return found
        strangers = [
            value for value, marked in zip(given, inside, strict=True) if not marked and value.ndim
        ]
        wrapped = forward_ad._current_level >= 0  # a tensor with its tangent has another storage
        if (
            strangers
            and not wrapped
            and not any(word in str(function) for word in ("copy", "index"))
        ):
            raise RuntimeError(
                "Expected all tensors to be on the same device, "
                f"but found at least two devices, mps:0 and cpu! ({function})"
            )
        for value in tree_leaves(found):
            if isinstance(value, Tensor):
                self.marks.add(value)
        return found


def _is_device(value: Any) -> bool:
    return (isinstance(value, torch.device) and value.type == NAME) or (
        isinstance(value, str) and value == NAME
    )


def _unmarked(function: Callable[..., Any], args: Any) -> Any:
    """What the function gives outside of the device: a copy, if that is a tensor."""
    with torch._C.DisableTorchFunction(), torch.utils._python_dispatch._disable_current_modes():
        found = function(*args)
        return found.clone() if isinstance(found, Tensor) else found


@contextmanager
def pretended() -> Iterator[Marks]:
    """Give torch such a device meanwhile, also in fits, which suspend settings of a caller."""
    marks = Marks()
    with ExitStack() as stack:
        stack.enter_context(patch.object(torch.backends.mps, "is_available", lambda: True))
        stack.enter_context(patch.object(caller_settings, "_without_function_modes", nullcontext))
        stack.enter_context(patch.object(caller_settings, "_without_dispatch_modes", list))
        stack.enter_context(Watching(marks))
        stack.enter_context(Placing(marks))
        yield marks
