"""`fit`: from configs to fits, with the caller's thread setting left as it was."""

from __future__ import annotations

import traceback
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import overload

from linfit.config import FitConfig
from linfit.engine.fit import Fit, Status


@overload
def fit(configs: FitConfig) -> Fit: ...
@overload
def fit(configs: Sequence[FitConfig]) -> list[Fit]: ...
def fit(configs: FitConfig | Sequence[FitConfig]) -> Fit | list[Fit]:
    """Runs fit configs and returns their fits, in order; one config gives one fit. Nothing is recorded.

    A fit that raises, or calls `sys.exit`, is a Fit with status `failed` and its traceback in `error`; the others go on.
    Raises ValueError before the first fit where a config asks for a device that is absent.

    >>> import linfit
    >>> linfit.fit(linfit.FitConfig(steps=10)).status
    <Status.COMPLETED: 'completed'>
    """
    if isinstance(configs, FitConfig):
        return next(fits([configs]))
    return list(fits(configs))


def fits(configs: Sequence[FitConfig]) -> Iterator[Fit]:
    """The same, each fit as soon as it is done."""
    resolved = [config.resolved() for config in configs]
    return (_guarded(config) for config in resolved)


def _guarded(config: FitConfig) -> Fit:
    from linfit.engine.single import fit_one

    engines: dict[str, Callable[[FitConfig], Fit]] = {"single": fit_one}
    try:
        with threads(config.threads):
            return engines[config.engine.name](config)
    except (Exception, SystemExit):  # a component that exits has not fitted anything
        return Fit(config, Status.FAILED, error=traceback.format_exc())


@contextmanager
def threads(count: int) -> Iterator[None]:
    """torch computes with `count` threads inside, and with as many as before afterwards."""
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(before)
