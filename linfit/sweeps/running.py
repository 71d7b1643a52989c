"""Where the fits of a sweep run: in this process, in several of this machine, or on a cluster."""

from __future__ import annotations

from collections.abc import Generator, Sequence
from contextlib import closing

from linfit.config import FitConfig
from linfit.engine.dispatch import fits_as_done
from linfit.engine.fit import Fit
from linfit.sweeps.workers import Workers, fits_in_workers

#: In this process, which needs no other.
HERE = Workers()


def run_all(configs: Sequence[FitConfig], workers: Workers) -> Generator[tuple[int, Fit], None, None]:
    """All fits, each with its place as soon as it is done: in this process, in several, or on a cluster."""
    if workers == HERE:
        yield from fits_as_done(configs)
        return
    with closing(_elsewhere(configs, workers)) as fits:
        yield from fits


def _elsewhere(configs: Sequence[FitConfig], workers: Workers) -> Generator[tuple[int, Fit], None, None]:
    if workers.backend == HERE.backend:
        return fits_in_workers(configs, workers.count)
    from linfit.sweeps.clusters import fits_on_cluster

    return fits_on_cluster(configs, workers)
