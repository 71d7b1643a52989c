"""Isolation from the caller: settings of a program in torch and numpy reach no fit.

They are restored afterwards. Many belong to the whole process, as Hydra's global state and the
working directory do: threads take turns.
"""

from __future__ import annotations

import os
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from functools import partial, wraps
from operator import attrgetter
from typing import Any, ParamSpec, TypeVar

import numpy as np

#: Devices of fits, on which torch.autocast could reach them.
AUTOCAST_DEVICES = ("cpu", "cuda", "mps")
#: Modules in which torch keeps hooks of all optimizers and modules: each may change a step.
HOOKED_MODULES = ("torch.optim.optimizer", "torch.nn.modules.module")
#: Numbers that a ufunc converts at a time: numpy's default. Sums of converted numbers depend on it.
UFUNC_BUFFER_SIZE = 8192

_Arguments = ParamSpec("_Arguments")
_Result = TypeVar("_Result")
_Contexts = Iterator[AbstractContextManager[Any]]

_turn = threading.RLock()


def isolate_from_caller(function: Callable[_Arguments, _Result]) -> Callable[_Arguments, _Result]:
    """Decorate a function to run isolated from its caller's settings.

    One thread at a time runs isolated functions. A function may call other isolated functions.
    """

    @wraps(function)
    def alone(*arguments: _Arguments.args, **options: _Arguments.kwargs) -> _Result:
        with _turn, suspend_caller_settings():
            return function(*arguments, **options)

    return alone


def _renew_turn() -> None:
    """Replace the lock: a forked process has no thread that would release it."""
    global _turn
    _turn = threading.RLock()


if hasattr(os, "register_at_fork"):  # Windows forks nothing
    os.register_at_fork(after_in_child=_renew_turn)


@contextmanager
def suspend_caller_settings() -> Iterator[None]:
    """Suspend the caller's settings of numpy and torch, then restore them."""
    with ExitStack() as stack:
        stack.enter_context(np.errstate(all="warn", under="ignore"))
        np.setbufsize(UFUNC_BUFFER_SIZE)  # errstate restores this too
        if "torch" in sys.modules:  # else the caller cannot have set anything
            for context in _plain_torch():
                stack.enter_context(context)
        yield


def _plain_torch() -> _Contexts:
    """Yield contexts that suspend the caller's settings of torch, in its thread or process.

    Modes come first: they would intercept the later contexts.
    """
    import torch  # waits for a thread that is importing it

    yield _without_function_modes()
    yield from _without_dispatch_modes()
    yield from _without_transforms()
    yield _without_saved_tensor_hooks()
    yield _without_global_hooks()
    yield torch.inference_mode(False)  # also enables gradients
    for device in AUTOCAST_DEVICES:
        if torch.is_autocast_enabled(device):
            yield torch.autocast(device, enabled=False)
    yield torch.autograd.set_detect_anomaly(False)
    yield temporarily_set(torch.get_default_dtype, torch.set_default_dtype, torch.float32)
    yield temporarily_set(_flushes_denormals, torch.set_flush_denormal, False)
    yield temporarily_set_attribute(torch.backends.mkldnn, "enabled", True)


@contextmanager
def temporarily_set(
    get: Callable[[], Any], set_to: Callable[[Any], Any], value: Any
) -> Iterator[None]:
    """Set a value unless it is set; afterwards restore the former."""
    before = get()
    try:
        if before != value:
            set_to(value)
        yield
    finally:
        if get() != before:
            set_to(before)


def _flushes_denormals() -> bool:
    """Return True if the processor treats denormal numbers as zero in this thread.

    torch has no function for this.
    """
    return sys.float_info.min / 2 == 0


def temporarily_set_attribute(owner: Any, name: str, value: Any) -> AbstractContextManager[None]:
    """Set an attribute unless it is set; afterwards restore the former."""
    return temporarily_set(partial(getattr, owner, name), partial(setattr, owner, name), value)


# ---- settings without a public way to suspend them; they stay if a version lacks these names ----


def _find(name: str) -> Any:
    """Return torch's attribute of this dotted name, None if it has none."""
    import torch

    try:
        return attrgetter(name)(torch)
    except AttributeError:
        return None


@contextmanager
def _without_function_modes() -> Iterator[None]:
    """Suspend `torch.set_default_device`, `with torch.device(…)` and other TorchFunctionModes."""
    names = ("_C._len_torch_function_stack", "overrides._pop_mode", "overrides._push_mode")
    count, pop, push = map(_find, names)
    modes: list[Any] = []
    try:
        while count and pop and push and count():
            modes.append(pop())
        yield
    finally:
        for mode in reversed(modes):
            push(mode)


def _without_dispatch_modes() -> _Contexts:
    """Suspend every TorchDispatchMode, only if there are any: the imports take long."""
    count = _find("_C._len_torch_dispatch_stack")
    suspend = _find("utils._python_dispatch._disable_current_modes")
    if count and suspend and count():
        yield suspend()


def _without_transforms() -> _Contexts:
    """Suspend the transforms of torch.func around the caller, and share its forward-mode level.

    A process has one such level. torch.func.jvp is told that it is nested, and enters no other.
    """
    innermost = _find("_C._functorch.peek_interpreter_stack")
    level = _find("autograd.forward_ad._current_level")
    if innermost and innermost() is not None:
        from torch._functorch import pyfunctorch

        yield pyfunctorch.temporarily_clear_interpreter_stack()
    if level is not None and level >= 0:
        from torch._functorch import eager_transforms

        yield temporarily_set_attribute(eager_transforms, "JVP_NESTING", 1)


@contextmanager
def _without_saved_tensor_hooks() -> Iterator[None]:
    """Suspend `saved_tensors_hooks`, which may replace the tensors of a gradient."""
    names = (f"_C._autograd._{verb}_saved_tensors_default_hooks" for verb in ("top", "pop", "push"))
    top, pop, push = map(_find, names)
    hooks = []
    try:
        while top and pop and push and (pair := top(True)) is not None:
            pop()
            hooks.append(pair)
        yield
    finally:
        for pair in reversed(hooks):
            push(*pair)


@contextmanager
def _without_global_hooks() -> Iterator[None]:
    """Suspend the hooks of all optimizers and modules (`register_optimizer_step_post_hook`)."""
    found = []
    for module in map(sys.modules.get, HOOKED_MODULES):
        if module is None:
            continue
        for name, hooks in vars(module).items():
            if _holds_hooks(name, hooks):
                found.append((hooks, dict(hooks)))
    try:
        for hooks, _ in found:
            hooks.clear()
        yield
    finally:
        for hooks, own in found:
            hooks.clear()
            hooks.update(own)


def _holds_hooks(name: str, value: Any) -> bool:
    return name.startswith("_global_") and "_hooks" in name and isinstance(value, dict)
