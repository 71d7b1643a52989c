"""Start a cluster of two workers on loopback, which lasts until stdin ends.

python -m benchmarks.peers.local_cluster dask|ray

Prints the cluster's address.
"""

from __future__ import annotations

import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

WORKERS = 2


@contextmanager
def dask() -> Iterator[str]:
    from distributed import LocalCluster

    with LocalCluster(
        n_workers=WORKERS, threads_per_worker=1, host="127.0.0.1", dashboard_address=None
    ) as cluster:
        yield cluster.scheduler_address


@contextmanager
def ray() -> Iterator[str]:
    """Start the cluster as a user does, in the foreground: it ends with its command.

    A cluster that Python starts refuses others.
    """
    with (
        closing(socket.socket()) as probe,
        TemporaryDirectory(ignore_cleanup_errors=True) as folder,
    ):
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
        probe.close()
        program = str(Path(sys.executable).with_name("ray"))
        start = [
            program,
            "start",
            "--head",
            "--block",
            f"--port={port}",
            f"--num-cpus={WORKERS}",
            f"--temp-dir={folder}",
        ]
        quiet = [
            "--include-dashboard=false",
            "--disable-usage-stats",
            "--node-ip-address=127.0.0.1",
        ]
        with subprocess.Popen(
            [*start, *quiet], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        ) as process:
            wait_for(port, process)
            yield f"127.0.0.1:{port}"
            process.terminate()


def wait_for(port: int, process: subprocess.Popen[bytes]) -> None:
    """Until something listens at the port, or the process has ended."""
    while process.poll() is None:
        with closing(socket.socket()) as client:
            if client.connect_ex(("127.0.0.1", port)) == 0:
                return
        time.sleep(0.2)


CLUSTERS: dict[str, Callable[[], object]] = {"dask": dask, "ray": ray}


def main(backend: str) -> None:
    with CLUSTERS[backend]() as address:  # type: ignore[attr-defined]
        print(address, flush=True)
        sys.stdin.read()


if __name__ == "__main__":
    main(*sys.argv[1:])
