"""Disks that are full, read-only, limited or broken, and a store of another MLflow."""

from __future__ import annotations

import os
import shutil
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import pytest

from tests.faults.harness import (
    FITS,
    FOLDER,
    PAIRS,
    assert_whole,
    end,
    log,
    missing,
    need,
    one_line,
    run,
    start,
    until,
)

resource = pytest.importorskip("resource")  # of Unix
pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="limits and mounts, on Linux")


@contextmanager
def mounted(folder: Path, size: str) -> Iterator[None]:
    if os.geteuid() != 0:
        missing("mounting a tmpfs needs root")
    need("mount")
    folder.mkdir(parents=True, exist_ok=True)
    done = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", str(folder)],
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        missing(f"a tmpfs may not be mounted here: {done.stderr.strip()}")
    try:
        yield
    finally:
        subprocess.run(["umount", "-l", str(folder)], check=True)


def test_a_full_disk(tmp_path: Path, migrated_store: Path, reference: str) -> None:
    disk = tmp_path / "disk"
    with mounted(disk, "6m"):
        (disk / "log").symlink_to(tmp_path / "log")  # what is said shall have room
        (disk / "outputs").mkdir()
        shutil.copy(migrated_store, disk / "outputs" / "mlflow.db")
        ballast = disk / "ballast"
        free = os.statvfs(disk)
        ballast.write_bytes(b"\0" * max(0, free.f_bavail * free.f_bsize - 200_000))
        assert run(disk, *FITS, TMPDIR=str(tmp_path)) == 2, log(disk)
        ballast.unlink()
        one_line(disk, "outputs")
        if (disk / FOLDER / "manifest.parquet").exists():
            assert run(disk, "resume") == 0, log(disk)
        else:
            assert run(disk, *FITS) == 0, log(disk)
        assert_whole(disk, PAIRS, reference)


def test_a_limit_of_file_sizes(stored: Path, reference: str) -> None:
    size = (stored / "outputs" / "mlflow.db").stat().st_size
    process = start(stored, *FITS)
    until((stored / FOLDER / "manifest.parquet").exists, process, stored)
    assert process.pid is not None
    limit = size + 100_000
    resource.prlimit(process.pid, resource.RLIMIT_FSIZE, (limit, limit))
    code = end(process)
    assert code in (0, 2), log(stored)
    if code:
        one_line(stored, "outputs")
    assert run(stored, "resume") == 0, log(stored)
    assert_whole(stored, PAIRS, reference)


def test_a_disk_that_is_read_only(tmp_path: Path) -> None:
    disk = tmp_path / "disk"
    with mounted(disk, "1m"):
        (disk / "log").touch()
        subprocess.run(["mount", "-o", "remount,ro", str(disk)], check=True)
        done = subprocess.run(
            [sys.executable, "-c", "from linfit.cli import main; main()", *FITS],
            cwd=disk,
            capture_output=True,
            text=True,
            timeout=100,
            check=False,
        )
        assert (done.returncode, len(done.stderr.splitlines())) == (2, 1), done.stderr
        assert "outputs" in done.stderr


def test_a_database_of_another_mlflow(stored: Path) -> None:
    with closing(sqlite3.connect(stored / "outputs" / "mlflow.db")) as store:
        store.execute("UPDATE alembic_version SET version_num = '0123456789ab'")
        store.commit()
    assert run(stored, *FITS) == 2
    one_line(stored, "mlflow.db")
    assert not (stored / "outputs" / "sweeps").exists()


SWEEP = "import sys; from linfit.cli import main; sys.argv[0] = 'linfit'; main()"


@pytest.mark.parametrize(
    ("place", "call", "first"),
    [("mlflow.db", "pwrite64", 40), ("mlflow.db", "fdatasync", 6), ("sweeps/one", "fsync", 24)],
)
def test_a_disk_that_answers_with_an_error(
    place: str, call: str, first: int, stored: Path, reference: str
) -> None:
    """From its `first` such call on, every call fails with EIO, as on a disk that is dying.

    Of a sweep's files, all that are flushed count.
    """
    need("strace")
    only = ["-P", str(stored / "outputs" / place)] if place == "mlflow.db" else []
    inject = ["-e", f"trace={call}", "-e", f"inject={call}:error=EIO:when={first}+"]
    done = subprocess.run(
        [
            "strace",
            "-f",
            "-qq",
            "-o",
            "/dev/null",
            *only,
            *inject,
            sys.executable,
            "-c",
            SWEEP,
            *FITS,
        ],
        cwd=stored,
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
    )
    if "ptrace" in done.stderr.lower():
        missing("strace may not trace here")
    assert done.returncode == 2, done.stderr
    said = [line for line in done.stderr.splitlines() if line.startswith("linfit: ")]
    assert len(said) == 1 and place in said[0] and "Traceback" not in done.stderr, done.stderr
    assert run(stored, "resume") == 0, log(stored)
    assert_whole(stored, PAIRS, reference)
