"""Where the fits of a sweep run: in this process, in several of this machine, or on a cluster."""

from __future__ import annotations

from collections.abc import Generator, Sequence
from contextlib import closing

from linfit.config import FitConfig
from linfit.engine.dispatch import fit_as_completed
from linfit.engine.fit import Fit
from linfit.engine.listening import ProgressCallback, ignore_progress
from linfit.errors import ConfigError
from linfit.sweeps.executors.processes import IN_PROCESS, ExecutorSpec, run_in_workers


def run_fits(
    configs: Sequence[FitConfig], workers: ExecutorSpec, report: ProgressCallback = ignore_progress
) -> Generator[tuple[int, Fit], None, None]:
    """Run configs; yield (place, fit) as each is done.

    `report` hears of steps as they are made; in other processes, when fits come from there.
    """
    if workers == IN_PROCESS:
        yield from fit_as_completed(configs, report)
        return
    report(0, 0)
    with closing(_run_elsewhere(configs, workers, report)) as fits:
        yield from fits


def _run_elsewhere(
    configs: Sequence[FitConfig], workers: ExecutorSpec, report: ProgressCallback
) -> Generator[tuple[int, Fit], None, None]:
    if workers.backend == IN_PROCESS.backend:
        return run_in_workers(configs, workers.count, report)
    from linfit.sweeps.executors.clusters import run_on_cluster

    return run_on_cluster(configs, workers, report)


def choose_executor(
    before: ExecutorSpec,
    count: int | None = None,
    backend: str | None = None,
    address: str | None = None,
) -> ExecutorSpec:
    """Return where the fits of a resumed sweep run.

    That is where the sweep began, or where it is asked to go on. A count alone means processes
    of this machine. Raise ConfigError for a cluster that does not answer.
    """
    if backend is None and address is None and count is not None:
        return ExecutorSpec(count)
    chosen = backend or before.backend
    if address is not None and chosen == IN_PROCESS.backend:
        raise ConfigError(
            f"--address {address}: of which kind of cluster? add --backend dask or --backend ray"
        )
    if chosen == before.backend:
        address = address or before.address
    where = ExecutorSpec(count or before.count, chosen, address)
    if where.backend != IN_PROCESS.backend:
        _require_cluster(where)
    return where


def _require_cluster(where: ExecutorSpec) -> None:
    from linfit.sweeps.executors.clusters import require_cluster

    try:
        require_cluster(where)
    except ConfigError as error:
        hint = (
            "name another with --backend and --address, or go on in processes of this machine "
            "with --workers"
        )
        raise ConfigError(f"{error}; {hint}") from error
