"""`fit`: run each config in its engine, and leave the caller's torch settings unchanged."""

from __future__ import annotations

import traceback
from collections.abc import Iterator, Sequence
from typing import overload

from linfit.config import FitConfig
from linfit.engine.caller_settings import isolate_from_caller
from linfit.engine.fit import Fit, Status
from linfit.engine.listening import ProgressCallback, ignore_progress


@overload
def fit(configs: FitConfig) -> Fit: ...
@overload
def fit(configs: Sequence[FitConfig]) -> list[Fit]: ...
@isolate_from_caller
def fit(configs: FitConfig | Sequence[FitConfig]) -> Fit | list[Fit]:
    """Run fit configs and return their fits, in order.

    One config gives one fit. Nothing is recorded. A fit that raises, or calls `sys.exit`, is a Fit
    with status `failed` and its traceback in `error`; the others go on. Raise ValueError before the
    first fit if a config asks for a device that is absent.

    >>> import linfit
    >>> linfit.fit(linfit.FitConfig(steps=10)).status
    <Status.COMPLETED: 'completed'>
    """
    if isinstance(configs, FitConfig):
        return fit([configs])[0]
    if strangers := [one for one in configs if not isinstance(one, FitConfig)]:
        raise TypeError(
            f"linfit.fit takes fit configs, got {strangers[0]!r}: "
            "linfit.compose([…]) or linfit.FitConfig(…) makes one"
        )
    done = dict(fit_as_completed(configs))
    return [done[index] for index in range(len(configs))]


def fit_as_completed(
    configs: Sequence[FitConfig], report: ProgressCallback = ignore_progress
) -> Iterator[tuple[int, Fit]]:
    """Yield (index, fit) as soon as a fit is done.

    A stack yields block by block.

    Raise ValueError at once, before the first fit, if a config asks for a device that is absent.
    """
    return _fit_as_done([config.resolved(several=len(configs) > 1) for config in configs], report)


def _fit_as_done(
    configs: Sequence[FitConfig], report: ProgressCallback
) -> Iterator[tuple[int, Fit]]:
    from linfit.engine.stacked.run import fit_stacks

    stacked = []
    for index, config in enumerate(configs):
        if config.engine.name == "stacked":
            stacked.append(index)
        else:
            yield index, _fit_single(config, report)
    for number, result in fit_stacks([configs[index] for index in stacked], report):
        yield stacked[number], result


def _fit_single(config: FitConfig, report: ProgressCallback) -> Fit:
    from linfit.engine.determinism import torch_settings
    from linfit.engine.single import fit_one

    try:
        with torch_settings(config):
            return fit_one(config, report)
    except (Exception, SystemExit):  # a component may call sys.exit
        return Fit(config, Status.FAILED, error=traceback.format_exc())
