"""What surrounds a run and may change its bits: versions, machine, threads, code, git.

What decides bits most often stands in tags; `environment.json`, an artifact, has all of it, with every installed package. Nothing here
starts a process but git, twice, and once more for each uncommitted file: a run must not wait for it.
"""

from __future__ import annotations

import json
import os
import platform
import re
import sys
from collections.abc import Iterable, Mapping
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from linfit.config import FitConfig, digest
from linfit.conventions import SCHEMA
from linfit.errors import LinfitError
from linfit.problem.blas import loaded_libraries
from linfit.problem.opened import read_bounded
from linfit.settings import MLflowTracking
from linfit.system import count_cpus
from linfit.tracking import code, git
from linfit.tracking.layout import CODE, ENVIRONMENT, ENVIRONMENT_FILE, GIT_DIFF, VERSION
from linfit.tracking.masking import mask
from linfit.version import __version__
from linfit.writing import whole

PACKAGES = (
    "torch",
    "numpy",
    "scipy",
    "scikit-learn",
    "pandas",
    "hydra-core",
    "omegaconf",
    "mlflow",
    "pydantic",
    "safetensors",
    "pyarrow",
)
#: Environment variables that choose between kernels. What the first have chosen stands beside them, as `cpu_capability`,
#: `numpy_blas_kernel` and `numpy_simd`; what the others have chosen no library tells. MKL_CBWR is `mkl_cbwr`.
#: Those that say how many threads there are have no effect: linfit sets that.
SHOWN = (
    "ATEN_CPU_CAPABILITY",
    "OPENBLAS_CORETYPE",
    "BLIS_ARCH_TYPE",
    "NPY_DISABLE_CPU_FEATURES",
    "NPY_ENABLE_CPU_FEATURES",
)
HIDDEN = (
    "MKL_ENABLE_INSTRUCTIONS",
    "MKL_DEBUG_CPU_TYPE",
    "DNNL_MAX_CPU_ISA",
    "DNNL_DEFAULT_FPMATH_MODE",
    "ONEDNN_MAX_CPU_ISA",
    "ONEDNN_DEFAULT_FPMATH_MODE",
    "GLIBC_TUNABLES",
)
Document = Mapping[str, Any]
"""Where a run's numbers come from, as `environment.json` has it."""

CPU_INFO = Path("/proc/cpuinfo")
#: That an `environment.json` has at the most.
MAX_BYTES = 2**22


def tags(config: FitConfig) -> dict[str, str]:
    """The tags of a single run or of a sweep's parent that say where its numbers come from."""
    return {
        VERSION: __version__,
        CODE: code.code_digest(config.plugins),
        ENVIRONMENT: json.dumps(environment(config.threads, config.device.name), sort_keys=True),
        **git.tags(config.plugins),
    }


def tagged(tags: Mapping[str, str]) -> dict[str, Any] | None:
    """What a run's tag says of the machine; None where it is no longer what was written there."""
    try:
        found = json.loads(tags.get(ENVIRONMENT, "{}"))
    except (ValueError, RecursionError):
        return None
    return found if isinstance(found, dict) else None


def read_tags(tags: Mapping[str, str]) -> Document | None:
    """Return what the tags of a run say of where its numbers come from; None if they were changed."""
    machine = tagged(tags)
    if machine is None:
        return None
    return {
        "linfit": tags.get(VERSION),
        "code": {"digest": tags.get(CODE)},
        "machine": machine,
        "git": {key: tags[tag] for key, tag in git.TAGS.items() if tag in tags},
    }


def document(config: FitConfig) -> dict[str, Any]:
    """All that is kept of where a run's numbers come from, as `environment.json` holds it, but for its hash."""
    return {
        "schema": SCHEMA,
        "linfit": __version__,
        "code": {
            "digest": code.code_digest(config.plugins),
            "files": code.file_digests(config.plugins),
        },
        "machine": environment(config.threads, config.device.name),
        "packages": packages(),
        "git": git.state(config.plugins),
    }


def write(folder: Path, config: FitConfig) -> list[Path]:
    """Write `environment.json`, with its hash, and what is uncommitted, where that is little and wanted; return the files."""
    found = document(config)
    file = folder / ENVIRONMENT_FILE
    with whole(file) as temporary:
        temporary.write_text(
            json.dumps({**found, "sha256": digest(found)}, indent=1, sort_keys=True) + "\n",
            encoding="utf-8",
        )
    wanted = isinstance(config.tracking, MLflowTracking) and config.tracking.git_diff
    uncommitted = git.diff(config.plugins) if wanted else ""
    if not uncommitted:
        return [file]
    with whole(folder / GIT_DIFF) as temporary:
        temporary.write_text(uncommitted, encoding="utf-8", newline="\n")
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
        "mkl_cbwr": mask(os.environ.get("MKL_CBWR", "")),
        "onednn": _onednn(torch.__config__.show()),
        **_numpy_libraries(),
        **{name: mask(os.environ.get(name, "")) for name in (*SHOWN, *HIDDEN)},
        **{name: _version(name) for name in PACKAGES},
    }


def differing(then: Mapping[str, Any], now: Mapping[str, Any]) -> dict[str, tuple[str, str]]:
    """Return what differs between two environments and may change bits: each key with both values.

    What only one of them has is not compared: it may be older than the key.
    """
    alone = all(str(machine.get("threads")) == "1" for machine in (then, now))
    idle = (
        {*SHOWN, "cpus"} if alone else {*SHOWN}
    )  # a fit with one thread leaves all other processors alone
    pairs = {key: (str(then[key]), str(now[key])) for key in then if key in now and key not in idle}
    return {key: (before, after) for key, (before, after) in pairs.items() if before != after}


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
        names = re.search(
            r"^model name\s*:\s*(.+)$",
            CPU_INFO.read_text(encoding="utf-8", errors="replace"),
            re.MULTILINE,
        )
    except OSError:
        names = None
    return names[1] if names else platform.processor() or platform.machine()


def _platform() -> str:
    """The system, and of it what may change numbers: its C library, or on others its release. A kernel's number does not."""
    release = " ".join(platform.libc_ver()).strip() or platform.mac_ver()[0] or platform.release()
    return f"{platform.system()} {platform.machine()} {release}"


def _num_cpus() -> int:
    """Those that this process may use: numpy's BLAS takes as many threads."""
    return count_cpus()


@cache
def _torch_blas(built: str) -> str:
    """The library that torch multiplies with: `mkl 2024.2-Product Build 20240605`."""
    name = re.search(r"BLAS_INFO=(\w+)", built)
    number = re.search(r"Math Kernel Library Version (.+?) for", built)
    return " ".join([name[1] if name else "unknown", *([number[1]] if number else [])])


def _onednn(built: str) -> str:
    """The version of oneDNN, which multiplies for torch on some processors."""
    number = re.search(r"MKL-DNN (v\S+)", built)
    return number[1] if number else ""


@cache
def _numpy_libraries() -> dict[str, str]:
    """The BLAS that numpy was built with, the one it has loaded with the kernels that it chose, its own vector units, and OpenMP.

    What scipy and scikit-learn bring of their own is known by their versions: they are imported late, or never.
    """
    import numpy as np

    built: Any = np.show_config(mode="dicts")
    blas = built.get("Build Dependencies", {}).get("blas", {})
    libraries = loaded_libraries()
    loaded = [one for one in libraries if one["user_api"] == "blas"]
    return {
        "numpy_blas": f"{blas.get('name', 'unknown')} {blas.get('version', '')}".strip(),
        "numpy_blas_loaded": _joined(
            f"{one['internal_api']} {one['version'] or ''}".strip() for one in loaded
        ),
        "numpy_blas_kernel": _joined(one.get("architecture") or "" for one in loaded),
        "numpy_simd": " ".join(built.get("SIMD Extensions", {}).get("found", [])),
        "openmp": _joined(one["prefix"] for one in libraries if one["user_api"] == "openmp"),
    }


def _joined(names: Iterable[str]) -> str:
    return ", ".join(sorted({name for name in names if name}))


@cache
def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return "absent"


def read(file: Path) -> dict[str, Any]:
    """An `environment.json`; LinfitError, which names it, if it is none or was changed after it was written."""
    try:
        found = json.loads(read_bounded(file, MAX_BYTES))
        fits = matches(found)
    except (OSError, ValueError, TypeError, RecursionError) as error:
        raise LinfitError(f"{file} cannot be read: {type(error).__name__} {error}") from error
    if not fits:
        raise LinfitError(f"{file} was changed after it was written: its hash does not fit")
    assert isinstance(found, dict)
    return found


def matches(found: Any) -> bool:
    """Whether the content of an `environment.json` has the hash that was written with it."""
    return isinstance(found, dict) and digest(
        {key: value for key, value in found.items() if key != "sha256"}
    ) == found.get("sha256")
