"""Threads of numpy's BLAS, on whose number the bits of large matrices depend.

OpenBLAS takes as many threads as there are processors. One thread gives the same data and the same
optimum on machines and in workers with any number of processors. For the matrices here it is also
the faster choice: a singular value decomposition of 3,000 × 200 took two threads 27 times as long.
"""

from __future__ import annotations

import re
from contextlib import AbstractContextManager
from functools import cache
from typing import Any

from threadpoolctl import ThreadpoolController


def limit_blas_threads(count: int = 1) -> AbstractContextManager[object]:
    """Limit numpy's products and decompositions to `count` threads; restore them afterwards."""
    limit: AbstractContextManager[object] = _controller().limit(limits=count, user_api="blas")
    return limit


def list_blas_libraries() -> list[dict[str, Any]]:
    """Return threadpoolctl's entries of numpy's and torch's libraries.

    These are the loaded BLAS and OpenMP.
    """
    found: list[dict[str, Any]] = ThreadpoolController().info()
    return [one for one in found if _is_ours(one["filepath"])]


def _is_ours(file: str) -> bool:
    """Return True if a library belongs to numpy, torch or the environment, not another package."""
    owner = re.match(r".*(?:site|dist)-packages[/\\](\w+)", file)
    return owner is None or owner[1] in ("numpy", "torch")


@cache
def _controller() -> ThreadpoolController:
    """Return the controller, once: it takes half a millisecond to find the libraries."""
    return ThreadpoolController()
