"""The test that decides whether panels may be used: does a row's product depend on other rows?

Libraries promise nothing of the kind. A product of constant shape was found to keep its bits with
MKL and its setting MKL_CBWR; others were found not to, in some shapes only. So the shapes of the
fit itself are tried, in up to a second, and the answer is kept in the user's cache folder. It is
never read from a store. A table of answers of other libraries, versions or processors has no effect
here, since their names are part of the question.
"""

from __future__ import annotations

import hashlib
import json
import os
from contextlib import suppress
from functools import cache
from pathlib import Path

import torch
from torch import Tensor

from linfit.engine import IS_MKL_SET_IN_TIME
from linfit.engine.determinism import use_deterministic_algorithms, use_full_precision, use_threads
from linfit.engine.product_settings import note_products
from linfit.errors import LinfitError
from linfit.method.products import PanelProducts
from linfit.system.atomic_files import write_atomically
from linfit.system.host import identify_cpu_model

#: Fits of the product that the others are compared with.
FITS = 96
#: First and last fit of the smaller products. The places of their rows differ.
PARTS = ((0, 64), (37, 96), (5, 8), (95, 96))
#: Most fits that are tried with features of their own, which are copies.
MOST_LONE = 3
#: Numbers by which matrices are shifted in memory.
SHIFTS = (0, 1, 5)
#: Environment variables that choose between kernels.
KERNEL_SETTINGS = (
    "MKL_CBWR",
    "MKL_ENABLE_INSTRUCTIONS",
    "MKL_DEBUG_CPU_TYPE",
    "OPENBLAS_CORETYPE",
    "CUBLAS_WORKSPACE_CONFIG",
    "DNNL_MAX_CPU_ISA",
    "ONEDNN_MAX_CPU_ISA",
)
#: Most bytes of the file of answers that are read, and most answers that are kept in it.
MAX_ANSWER_BYTES = 2**20
MAX_ANSWERS = 4096


@cache
def keeps_bits(width: int, p: int, dtype: torch.dtype, device: str, threads: int) -> bool:
    """Return True if panels of `width` samples and p features leave every fit its own bits."""
    name = _name_question(width, p, dtype, device, threads)
    file = _find_file()
    answers = _read_answers(file)
    if name not in answers or not IS_MKL_SET_IN_TIME:
        note_products()
        with use_threads(threads), use_full_precision(), use_deterministic_algorithms():
            answers[name] = try_panels(width, p, dtype, torch.device(device))
        _keep_answers(file, answers)
    return answers[name]


def try_panels(width: int, p: int, dtype: torch.dtype, device: torch.device) -> bool:
    """Return True if no bit of products of random numbers depends on place or neighbours.

    Rows are compared alone, among others, in other places, in matrices shifted in memory, and as
    fits that have X of their own.
    """
    stream = torch.Generator().manual_seed(0)
    X = torch.randn(p, width, generator=stream, dtype=dtype).to(device)
    W = torch.randn(FITS, p, 1, generator=stream, dtype=dtype).to(device)
    S = torch.randn(FITS, 1, width, generator=stream, dtype=dtype).to(device)
    whole = PanelProducts(X)
    predicted = whole.multiply(W)
    gradient = whole.multiply_transposed(S)
    for first, last in PARTS:
        for shift in SHIFTS:
            rows = list(range(first, last)) * (2 if last - first == 1 else 1)
            forms = [X]
            if len(rows) <= MOST_LONE:
                forms.append(X.expand(len(rows), p, width))
            for form in forms:
                products = PanelProducts(_shift(form, shift))
                same = torch.equal(products.multiply(_shift(W[rows], shift)), predicted[rows])
                transposed = products.multiply_transposed(_shift(S[rows], shift))
                if not (same and torch.equal(transposed, gradient[rows])):
                    return False
    return True


def _shift(tensor: Tensor, count: int) -> Tensor:
    """Return a copy that begins `count` numbers later than memory is allocated."""
    memory = tensor.new_empty(tensor.numel() + count)
    shifted = memory[count:].view(tensor.shape)
    return shifted.copy_(tensor)


def _name_question(width: int, p: int, dtype: torch.dtype, device: str, threads: int) -> str:
    """Return a digest of all that the answer may depend on."""
    accelerator = torch.cuda.get_device_name(device) if device.startswith("cuda") else ""
    parts = (
        *(torch.__version__, torch.__config__.show(), torch.backends.cpu.get_cpu_capability()),
        *(identify_cpu_model(), accelerator, width, p, dtype, device, threads),
        *(os.environ.get(name, "") for name in KERNEL_SETTINGS),
    )
    return hashlib.sha256(repr(parts).encode()).hexdigest()


def _find_file() -> Path:
    """Return the file of answers in the user's cache folder."""
    from platformdirs import user_cache_path

    return user_cache_path("linfit", appauthor=False) / "panels.json"


def _read_answers(file: Path) -> dict[str, bool]:
    """Return the answers of a file, none if there is none or it is no table of answers."""
    with suppress(OSError, ValueError, RecursionError):
        if file.stat().st_size > MAX_ANSWER_BYTES:
            return {}
        found = json.loads(file.read_text(encoding="utf-8"))
        if isinstance(found, dict) and all(type(answer) is bool for answer in found.values()):
            return found
    return {}


def _keep_answers(file: Path, answers: dict[str, bool]) -> None:
    """Write the last answers; a folder that cannot be written costs only time."""
    kept = dict(list(answers.items())[-MAX_ANSWERS:])
    with suppress(OSError, LinfitError):
        file.parent.mkdir(parents=True, exist_ok=True)
        with write_atomically(file) as temporary:
            temporary.write_text(json.dumps(kept), encoding="utf-8")
