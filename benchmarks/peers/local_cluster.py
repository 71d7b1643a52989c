"""A cluster of two workers on loopback, which lasts until stdin ends: python -m benchmarks.peers.local_cluster dask|ray. Prints its address."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager

WORKERS = 2


@contextmanager
def dask() -> Iterator[str]:
    from distributed import LocalCluster

    with LocalCluster(n_workers=WORKERS, threads_per_worker=1, host="127.0.0.1", dashboard_address=None) as cluster:
        yield cluster.scheduler_address


@contextmanager
def ray() -> Iterator[str]:
    import ray as library

    library.init(num_cpus=WORKERS, include_dashboard=False, log_to_driver=False, logging_level="ERROR", _node_ip_address="127.0.0.1")
    try:
        yield library.get_runtime_context().gcs_address
    finally:
        library.shutdown()


CLUSTERS: dict[str, Callable[[], object]] = {"dask": dask, "ray": ray}


def main(backend: str) -> None:
    with CLUSTERS[backend]() as address:  # type: ignore[attr-defined]
        print(address, flush=True)
        sys.stdin.read()


if __name__ == "__main__":
    main(*sys.argv[1:])
