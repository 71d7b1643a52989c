"""Settings of a caller in torch and numpy reach no fit and are restored; threads take turns."""

from __future__ import annotations

import os
import random
import signal
import sys
import threading
import time
import warnings
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, ExitStack, contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch.autograd import forward_ad
from torch.autograd.graph import saved_tensors_hooks
from torch.nn.modules import module
from torch.optim.optimizer import (
    _global_optimizer_post_hooks,
    _global_optimizer_pre_hooks,
    register_optimizer_step_post_hook,
    register_optimizer_step_pre_hook,
)
from torch.overrides import TorchFunctionMode, _get_current_function_mode_stack
from torch.utils._python_dispatch import TorchDispatchMode, _get_current_dispatch_mode_stack

import linfit
from linfit.config import FitConfig
from linfit.engine.caller_settings import AUTOCAST_DEVICES, isolate_from_caller
from linfit.engine.determinism import DETERMINISTIC_FLAGS, torch_settings
from linfit.method.init import Zeros
from linfit.problem.threads import _controller
from tests.helpers import config, scratch_registry

#: Fits that ask for each way in which torch and numpy compute.
FITS: dict[str, dict[str, Any]] = {
    "single autograd": {"engine": "single", "gradient": "autograd", "init": "torch_default"},
    "single forward": {"engine": "single", "gradient": "forward", "model": "linear"},
    "single func_grad": {"engine": "single", "gradient": "func_grad", "optimizer": "sgd"},
    "single closed form": {"engine": "single", "optimizer": "closed_form", "dtype": "float64"},
    "single diverging": {
        "engine": "single",
        "dataset": {"name": "random_linear", "n": 30, "p": 3},
        "optimizer": {"name": "manual_sgd", "lr": 1e9},
        "stop": {"divergence": 1e300},
    },
    "single denormal": {"engine": "single", "dataset": {"name": "polynomial", "range": [0, 1e-20]}},
    "stacked autograd": {"engine": "stacked", "gradient": "autograd"},
    "stacked forward": {
        "engine": "stacked",
        "gradient": "forward",
        "batch": {"name": "minibatch", "size": 8},
    },
}
SWEEP = ["seed=0,1", "steps=3", "pictures=false", "gradient=autograd,forward"]


def configs() -> list[FitConfig]:
    return [config(steps=8, **parts) for parts in FITS.values()]


def bits(fits: list[linfit.Fit]) -> list[tuple[str, *tuple[bytes, ...]]]:
    arrays = [(fit.losses, fit.weights, fit.excess_losses) for fit in fits]
    ends = [fit.error or fit.status for fit in fits]
    return [
        (end, *(part.tobytes() for part in parts)) for end, parts in zip(ends, arrays, strict=True)
    ]


@pytest.fixture(scope="module")
def plain() -> list[tuple[str, *tuple[bytes, ...]]]:
    """The bits of the fits in surroundings in which nothing is set."""
    return bits(linfit.fit(configs()))


GLOBAL_HOOKS: list[Any] = [
    _global_optimizer_pre_hooks,
    _global_optimizer_post_hooks,
    module._global_forward_hooks,
    module._global_parameter_registration_hooks,
]


def settings() -> dict[str, Any]:
    """Everything that the contexts below set, and the global random streams."""
    functions = _get_current_function_mode_stack()  # type: ignore[no-untyped-call]
    matmuls = [backend.matmul for backend in (torch.backends.cuda, torch.backends.mkldnn)]
    flags = [getattr(place, name) for place, name, _ in DETERMINISTIC_FLAGS]
    return {
        "modes": [*map(id, functions), *map(id, _get_current_dispatch_mode_stack())],
        "transforms": torch._C._functorch.peek_interpreter_stack() is None,
        "gradients": (
            torch.is_grad_enabled(),
            torch.is_inference_mode_enabled(),
            torch._C._is_fwd_grad_enabled(),
        ),
        "level": forward_ad._current_level,
        "hooks": torch._C._autograd._top_saved_tensors_default_hooks(True),
        "global hooks": [list(hooks) for hooks in GLOBAL_HOOKS],
        "anomaly": (torch.is_anomaly_enabled(), torch.is_anomaly_check_nan_enabled()),
        "autocast": [
            *map(torch.is_autocast_enabled, AUTOCAST_DEVICES),
            *map(torch.get_autocast_dtype, AUTOCAST_DEVICES),
        ],
        "dtype": torch.get_default_dtype(),
        "denormals": sys.float_info.min / 2,
        "threads": (torch.get_num_threads(), *(one["num_threads"] for one in _controller().info())),
        "deterministic": (torch.get_deterministic_debug_mode(), *flags),
        "precision": [matmul.fp32_precision for matmul in matmuls],
        "mkldnn": torch.backends.mkldnn.enabled,
        "numpy": (np.geterr(), np.getbufsize(), str(np.random.get_state())),
        "streams": (torch.default_generator.initial_seed(), random.getstate()),
        "warnings": list(warnings.filters),
    }


class Scaling(TorchFunctionMode):
    """Multiplies what is subtracted."""

    def __torch_function__(
        self, function: Any, types: Any, args: Any = (), kwargs: Any = None
    ) -> Any:
        result = function(*args, **(kwargs or {}))
        return result * 1.5 if function in (torch.Tensor.sub, torch.Tensor.__sub__) else result


class Dispatched(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """The same, below autograd."""

    def __torch_dispatch__(
        self, function: Any, types: Any, args: Any = (), kwargs: Any = None
    ) -> Any:
        result = function(*args, **(kwargs or {}))
        return result * 1.5 if "sub" in str(function) else result


@contextmanager
def between(set_to: Callable[[Any], Any], value: Any, back: Any) -> Iterator[None]:
    set_to(value)
    try:
        yield
    finally:
        set_to(back)


@contextmanager
def hooked() -> Iterator[None]:
    """Hooks of every optimizer and module that change steps, predictions and weights."""

    def faster(optimizer: torch.optim.Optimizer, *_: Any) -> None:
        for group in optimizer.param_groups:
            group["lr"] *= 2

    handles = [
        register_optimizer_step_pre_hook(faster),
        register_optimizer_step_post_hook(faster),
        module.register_module_forward_hook(lambda _module, _inputs, output: output * 2),
        module.register_module_parameter_registration_hook(
            lambda _module, _name, weight: weight * 2
        ),
    ]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


CONTEXTS: dict[str, Callable[[], AbstractContextManager[Any]]] = {
    "autocast": lambda: torch.autocast("cpu"),
    "autocast to float16": lambda: torch.autocast("cpu", dtype=torch.float16),
    "a device": lambda: torch.device("meta"),
    "the default device": lambda: between(torch.set_default_device, "meta", None),
    "no gradients": torch.no_grad,
    "gradients disabled": lambda: torch.set_grad_enabled(False),
    "inference": torch.inference_mode,
    "float64": lambda: between(torch.set_default_dtype, torch.float64, torch.float32),
    "float16": lambda: between(torch.set_default_dtype, torch.float16, torch.float32),
    "anomalies": lambda: torch.autograd.set_detect_anomaly(True),
    "anomalies but NaN": lambda: torch.autograd.set_detect_anomaly(True, check_nan=False),
    "a forward level": forward_ad.dual_level,
    "a function mode": Scaling,
    "a dispatch mode": Dispatched,
    "saved tensors": lambda: saved_tensors_hooks(lambda saved: saved * 2, lambda saved: saved * 3),
    "hooks": hooked,
    "denormals": lambda: between(torch.set_flush_denormal, True, False),
    "low precision": lambda: between(torch.set_float32_matmul_precision, "medium", "highest"),
    "determinism": lambda: between(torch.set_deterministic_debug_mode, "warn", "default"),
    "no oneDNN": lambda: between(partial(setattr, torch.backends.mkldnn, "enabled"), False, True),
    "threads": lambda: between(torch.set_num_threads, 3, torch.get_num_threads()),
    "a seed": lambda: between(torch.manual_seed, 7, 8),
    "errors of numpy": lambda: np.errstate(all="raise"),
    "a buffer of numpy": lambda: between(np.setbufsize, 16, np.getbufsize()),
    "errors for warnings": lambda: warnings.catch_warnings(action="error"),
}
#: Transforms of torch.func, in which a function calls linfit.
TRANSFORMS: dict[str, Callable[[Callable[[Any], Any]], Any]] = {
    "grad": lambda function: torch.func.grad(function)(torch.ones(())),
    "vmap": lambda function: torch.func.vmap(function)(torch.ones(2)),
    "jvp": lambda function: torch.func.jvp(function, (torch.ones(()),), (torch.ones(()),)),
}


@pytest.mark.parametrize("name", CONTEXTS)
def test_a_fit_has_the_same_bits_and_gives_back_what_it_found(name: str, plain: Any) -> None:
    with CONTEXTS[name]():
        before = settings()
        found = linfit.fit(configs())
        assert settings() == before
        assert bits(found) == plain


@pytest.mark.parametrize("name", TRANSFORMS)
def test_so_it_does_inside_a_transform(name: str, plain: Any) -> None:
    found = []

    def function(x: torch.Tensor) -> torch.Tensor:
        before = settings()
        found.append(bits(linfit.fit(configs())))
        assert settings() == before
        return x * 2

    TRANSFORMS[name](function)
    assert found == [plain]


def test_what_was_found_is_given_back_after_an_exception() -> None:
    @isolate_from_caller
    def fail() -> None:
        with torch_settings(config()):
            raise KeyboardInterrupt

    for name, context in CONTEXTS.items():
        with context():
            before = settings()
            with pytest.raises(KeyboardInterrupt):
                fail()
            assert settings() == before, name


def test_a_component_that_sets_something_leaves_other_fits_alone(plain: Any) -> None:
    class Greedy(Zeros):
        name: Any = "greedy"

        def draw(self, *arguments: Any) -> torch.Tensor:
            torch.set_grad_enabled(False)
            torch.set_default_dtype(torch.float64)
            raise ValueError("no weights")

    before = settings()
    with scratch_registry():
        failed = linfit.fit(config(steps=1, engine="single").model_copy(update={"init": Greedy()}))
    assert failed.status is linfit.Status.FAILED
    assert settings() == before
    assert bits(linfit.fit(configs())) == plain


# ---- sweeps, reproductions, threads ----


@pytest.fixture
def recorded(workdir: Path) -> str:
    """The id of a sweep in the store of the working directory."""
    return linfit.sweep(SWEEP).run_id


def everything(run_id: str, number: int = 0) -> list[Any]:
    """What a program computes through each public function; its sweep has a folder of its own."""
    results = linfit.sweep([*SWEEP, "tracking=none", f"hydra.sweep.dir=outputs/{number}"])
    again = linfit.reproduce(run_id, sample=2, overrides=["tracking=none"])
    loaded = linfit.load(run_id)
    return [
        results.table["loss"].tolist(),
        results.leaderboard_rows(),
        again.verdict.value,
        again.changes,
        loaded.table["weights"].map(tuple).tolist(),
        loaded.best["name"],
        linfit.compose(["optimizer.lr=0.25", "optimizer=adam"]).fingerprint(),
    ]


def test_sweeps_and_reproductions_are_as_they_are_alone(recorded: str) -> None:
    alone = everything(recorded)
    with ExitStack() as stack:
        for name, context in CONTEXTS.items():
            if name != "a device":  # torch 2.9 knows one device at a time: the default one is there
                stack.enter_context(context())
        before = settings()
        surrounded = everything(recorded, 1)
        assert settings() == before
    assert surrounded == alone


def test_threads_take_turns(recorded: str, plain: Any) -> None:
    alone, before = everything(recorded), settings()

    def work(number: int) -> tuple[Any, Any]:
        return bits(linfit.fit(configs())), everything(recorded, number)

    with ThreadPoolExecutor(4) as pool:
        done = list(pool.map(work, range(1, 5)))
    assert done == [(plain, alone)] * 4
    assert settings() == before


def test_one_thread_waits_for_another_and_enters_again_itself() -> None:
    inside = []

    @isolate_from_caller
    def enter(depth: int) -> None:
        inside.append(threading.get_ident())
        assert set(inside) == {threading.get_ident()}
        time.sleep(0.01)
        if depth:
            enter(depth - 1)
        inside.pop()

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(enter, [2] * 8))


@contextmanager
def occupied() -> Iterator[None]:
    """Another thread computes."""
    inside, over = threading.Event(), threading.Event()

    @isolate_from_caller
    def compute() -> None:
        inside.set()
        over.wait(30)

    thread = threading.Thread(target=compute)
    thread.start()
    try:
        assert inside.wait(30)
        yield
    finally:
        over.set()
        thread.join()


@pytest.mark.skipif(sys.platform == "win32", reason="there a lock hears no signal")
def test_ctrl_c_is_heard_while_another_thread_computes() -> None:
    interrupt = threading.Timer(0.1, lambda: os.kill(os.getpid(), signal.SIGINT))
    with occupied():
        interrupt.start()
        with pytest.raises(KeyboardInterrupt):
            linfit.compose()
        interrupt.join()
    assert linfit.compose().seed == 0


@pytest.mark.skipif(not hasattr(os, "fork"), reason="nothing is forked")
@pytest.mark.filterwarnings("ignore:.*multi-threaded, use of fork")
def test_a_forked_process_waits_for_no_thread_of_its_parent() -> None:
    with occupied():
        child = os.fork()
        if not child:
            signal.alarm(20)  # ends the child where it waits for ever
            os._exit(0 if linfit.compose().seed == 0 else 1)
        assert os.waitpid(child, 0)[1] == 0
