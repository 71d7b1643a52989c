"""What surrounds a run and may change its bits: versions, machine, threads, code, git.

What decides bits most often stands in tags; `environment.json`, an artifact, has all of it, with every installed package. Nothing here
starts a process but git, once, and once more where something is uncommitted: a run must not wait for it.
"""

from __future__ import annotations

import json
import os
import platform
import re
import sys
from collections.abc import Mapping
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from linfit.config import FitConfig, digest
from linfit.errors import LinfitError
from linfit.tracking import code, git
from linfit.tracking.accounts import SCHEMA
from linfit.tracking.layout import CODE, ENVIRONMENT, ENVIRONMENT_FILE, GIT_DIFF, VERSION
from linfit.version import __version__

PACKAGES = ("torch", "numpy", "hydra-core", "omegaconf", "mlflow", "pydantic", "safetensors", "pyarrow")
CPU_INFO = Path("/proc/cpuinfo")
#: That an `environment.json` has at the most.
MAX_BYTES = 2**22


def tags(config: FitConfig) -> dict[str, str]:
    """The tags of a single run or of a sweep's parent that say where its numbers come from."""
    return {
        VERSION: __version__,
        CODE: code.code_digest(config.plugins),
        ENVIRONMENT: json.dumps(environment(config.threads, config.device.name), sort_keys=True),
        **git.tags(),
    }


def tagged(tags: Mapping[str, str]) -> dict[str, Any] | None:
    """What a run's tag says of the machine; None where it is no longer what was written there."""
    try:
        found = json.loads(tags.get(ENVIRONMENT, "{}"))
    except (ValueError, RecursionError):
        return None
    return found if isinstance(found, dict) else None


def document(config: FitConfig) -> dict[str, Any]:
    """All that is kept of where a run's numbers come from, as `environment.json` holds it, but for its hash."""
    return {
        "schema": SCHEMA,
        "linfit": __version__,
        "code": {"digest": code.code_digest(config.plugins), "files": code.file_digests(config.plugins)},
        "machine": environment(config.threads, config.device.name),
        "packages": packages(),
        "git": git.state(),
    }


def write(folder: Path, config: FitConfig) -> list[Path]:
    """Writes `environment.json`, with its hash, and what is uncommitted, where that is little; returns the files."""
    found = document(config)
    file = folder / ENVIRONMENT_FILE
    file.write_text(json.dumps({**found, "sha256": digest(found)}, indent=1, sort_keys=True) + "\n", encoding="utf-8")
    if not git.diff():
        return [file]
    (folder / GIT_DIFF).write_text(git.diff(), encoding="utf-8")
    return [file, folder / GIT_DIFF]


def environment(threads: int, device: str = "cpu") -> dict[str, str]:
    """What most often decides bits: the machine as torch and numpy use it, and the packages that compute and keep."""
    import torch

    return {
        "python": platform.python_version(),
        "platform": _platform(),
        "cpu": cpu(),
        "cpus": str(_num_cpus()),
        "cpu_capability": torch.backends.cpu.get_cpu_capability(),
        "threads": str(threads),
        "device": torch.cuda.get_device_name() if device == "cuda" else device,
        "blas": _torch_blas(torch.__config__.show()),
        "mkl_cbwr": os.environ.get("MKL_CBWR", ""),
        "numpy_blas": _numpy_blas(),
        **{name: _version(name) for name in PACKAGES},
    }


@cache
def packages() -> dict[str, str]:
    """Every installed distribution with its version, read from the names of their folders: reading their metadata takes sixty times as long."""
    found: dict[str, str] = {}
    for entry in sys.path:
        for folder in sorted(Path(entry or ".").glob("*.dist-info")):
            name, _, number = folder.name.removesuffix(".dist-info").partition("-")
            found.setdefault(re.sub(r"[-_.]+", "-", name).lower(), number)
    return dict(sorted(found.items()))


@cache
def cpu() -> str:
    """The processor's model, as the operating system names it."""
    try:
        names = re.search(r"^model name\s*:\s*(.+)$", CPU_INFO.read_text(encoding="utf-8", errors="replace"), re.MULTILINE)
    except OSError:
        names = None
    return names[1] if names else platform.processor() or platform.machine()


def _platform() -> str:
    """The system, and of it what may change numbers: its C library, or on others its release. A kernel's number does not."""
    release = " ".join(platform.libc_ver()).strip() or platform.mac_ver()[0] or platform.release()
    return f"{platform.system()} {platform.machine()} {release}"


def _num_cpus() -> int:
    """Those that this process may use: numpy's BLAS takes as many threads."""
    return len(os.sched_getaffinity(0)) if sys.platform == "linux" else os.cpu_count() or 1


@cache
def _torch_blas(built: str) -> str:
    """The library that torch multiplies with: `mkl 2024.2-Product Build 20240605`."""
    name = re.search(r"BLAS_INFO=(\w+)", built)
    number = re.search(r"Math Kernel Library Version (.+?) for", built)
    return " ".join([name[1] if name else "unknown", *([number[1]] if number else [])])


@cache
def _numpy_blas() -> str:
    import numpy as np

    blas: Any = np.show_config(mode="dicts")
    found = blas.get("Build Dependencies", {}).get("blas", {})
    return f"{found.get('name', 'unknown')} {found.get('version', '')}".strip()


@cache
def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return "absent"


def read(file: Path) -> dict[str, Any]:
    """An `environment.json`; LinfitError, which names it, if it is none or was changed after it was written."""
    try:
        found = json.loads(file.read_bytes())
        fits = matches(found)
    except (OSError, ValueError, TypeError, RecursionError) as error:
        raise LinfitError(f"{file} cannot be read: {type(error).__name__} {error}") from error
    if not fits:
        raise LinfitError(f"{file} was changed after it was written: its hash does not fit")
    assert isinstance(found, dict)
    return found


def matches(found: Any) -> bool:
    """Whether the content of an `environment.json` has the hash that was written with it."""
    return isinstance(found, dict) and digest({key: value for key, value in found.items() if key != "sha256"}) == found.get("sha256")
