"""numpy's BLAS, whose bits depend on its number of threads where matrices are large: OpenBLAS takes as many as there are processors.

One thread gives the same data and the same optimum on machines and in workers with any number of processors. For the matrices here it is
also the faster choice: a singular value decomposition of 3,000 × 200 took two threads 27 times as long.
"""

from __future__ import annotations

import re
from contextlib import AbstractContextManager
from functools import cache
from typing import Any

from threadpoolctl import ThreadpoolController


def blas_threads(count: int = 1) -> AbstractContextManager[object]:
    """numpy's products and decompositions compute with so many threads; afterwards with as many as before."""
    limit: AbstractContextManager[object] = _controller().limit(limits=count, user_api="blas")
    return limit


def loaded_libraries() -> list[dict[str, Any]]:
    """Return what threadpoolctl says of each BLAS and OpenMP that is loaded, but for those that other packages bring."""
    found: list[dict[str, Any]] = ThreadpoolController().info()
    return [one for one in found if _is_ours(one["filepath"])]


def _is_ours(file: str) -> bool:
    """Return True if numpy or torch compute with a library: it is theirs, or the environment's."""
    owner = re.match(r".*(?:site|dist)-packages[/\\](\w+)", file)
    return owner is None or owner[1] in ("numpy", "torch")


@cache
def _controller() -> ThreadpoolController:
    """What it knows of the libraries that are loaded costs it half a millisecond to find out, and does not change."""
    return ThreadpoolController()
