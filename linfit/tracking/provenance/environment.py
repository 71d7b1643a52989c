"""Collect what surrounds a run and may change its bits: versions, machine, threads, code, git.

The part that decides bits most often is recorded as tags. `environment.json`, an artifact, has all
of it, with every installed package. A run must not wait for it: no process is started but git,
twice, and once more for each uncommitted file.
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

from linfit.config import FitConfig, hash_data
from linfit.conventions import CONFIG_SCHEMA
from linfit.engine.product_settings import MKL_SETTING, find_stack_form
from linfit.errors import LinfitError
from linfit.problem.datasets.readers.opened import read_bounded
from linfit.problem.threads import list_blas_libraries
from linfit.settings import MLflowTracking
from linfit.system.atomic_files import write_atomically
from linfit.system.host import count_cpus, describe_cpu, identify_cpu_model
from linfit.system.version import __version__
from linfit.tracking.provenance import code_digest, git
from linfit.tracking.schema.mlflow_names import (
    CODE,
    ENVIRONMENT,
    ENVIRONMENT_FILE,
    GIT_DIFF,
    VERSION,
)
from linfit.tracking.secrets.masking import mask

RECORDED_PACKAGES = (
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
#: Environment variables that choose between kernels, and whose choice is recorded too: as
#: `cpu_capability`, `numpy_blas_kernel` and `numpy_simd`.
#: Variables for the number of threads have no effect: linfit sets that. MKL_CBWR is `mkl_cbwr`.
SHOWN_VARIABLES = (
    "ATEN_CPU_CAPABILITY",
    "OPENBLAS_CORETYPE",
    "BLIS_ARCH_TYPE",
    "NPY_DISABLE_CPU_FEATURES",
    "NPY_ENABLE_CPU_FEATURES",
)
#: Environment variables that choose between kernels, and whose choice no library tells.
HIDDEN_VARIABLES = (
    "MKL_ENABLE_INSTRUCTIONS",
    "MKL_DEBUG_CPU_TYPE",
    "DNNL_MAX_CPU_ISA",
    "DNNL_DEFAULT_FPMATH_MODE",
    "ONEDNN_MAX_CPU_ISA",
    "ONEDNN_DEFAULT_FPMATH_MODE",
    "GLIBC_TUNABLES",
)
#: Bytes of the largest `environment.json`.
MAX_ENVIRONMENT_BYTES = 2**22

Provenance = Mapping[str, Any]
"""Where a run's numbers come from, as `environment.json` has it."""


# ---- as tags ----


def collect_environment_tags(config: FitConfig) -> dict[str, str]:
    """Return the tags that say where a run's numbers come from.

    The run is a single one or a sweep.
    """
    return {
        VERSION: __version__,
        CODE: code_digest.compute_code_digest(config.plugins),
        ENVIRONMENT: json.dumps(
            collect_environment(config.threads, config.device.name), sort_keys=True
        ),
        **git.collect_git_tags(config.plugins),
    }


def read_machine_tag(tags: Mapping[str, str]) -> dict[str, Any] | None:
    """Return the machine that a run's tag describes.

    None where the tag was changed.
    """
    try:
        found = json.loads(tags.get(ENVIRONMENT, "{}"))
    except (ValueError, RecursionError):
        return None
    return found if isinstance(found, dict) else None


def read_provenance_tags(tags: Mapping[str, str]) -> Provenance | None:
    """Return the provenance in the tags of a run.

    None where they were changed.
    """
    machine = read_machine_tag(tags)
    if machine is None:
        return None
    return {
        "linfit": tags.get(VERSION),
        "code": {"digest": tags.get(CODE)},
        "machine": machine,
        "git": {key: tags[tag] for key, tag in git.GIT_TAGS.items() if tag in tags},
    }


# ---- as a file ----


def collect_provenance(config: FitConfig) -> dict[str, Any]:
    """Return the provenance of a run of this process.

    That is the content of `environment.json`, without its hash.
    """
    return {
        "schema": CONFIG_SCHEMA,
        "linfit": __version__,
        "code": {
            "digest": code_digest.compute_code_digest(config.plugins),
            "files": code_digest.compute_file_digests(config.plugins),
        },
        "machine": collect_environment(config.threads, config.device.name),
        "packages": list_packages(),
        "git": git.read_git_state(config.plugins),
    }


def write_environment(folder: Path, config: FitConfig) -> list[Path]:
    """Write `environment.json`, with its hash, and `git.diff`; return the files.

    `git.diff` has what is uncommitted, where that is little and wanted.
    """
    found = collect_provenance(config)
    text = json.dumps({**found, "sha256": hash_data(found)}, indent=1, sort_keys=True)
    files = [folder / ENVIRONMENT_FILE]
    with write_atomically(files[0]) as temporary:
        temporary.write_text(text + "\n", encoding="utf-8")
    if isinstance(config.tracking, MLflowTracking) and config.tracking.git_diff:
        uncommitted = git.read_git_diff(config.plugins)
        if uncommitted:
            files.append(folder / GIT_DIFF)
            with write_atomically(files[1]) as temporary:
                temporary.write_text(uncommitted, encoding="utf-8", newline="\n")
    return files


def read_environment(file: Path) -> dict[str, Any]:
    """Return an `environment.json`.

    LinfitError, which names it, if it is none or was changed after it was written.
    """
    try:
        found = json.loads(read_bounded(file, MAX_ENVIRONMENT_BYTES))
        fits = has_own_hash(found)
    except (OSError, ValueError, TypeError, RecursionError) as error:
        raise LinfitError(f"{file} cannot be read: {type(error).__name__} {error}") from error
    if not fits:
        raise LinfitError(f"{file} was changed after it was written: its hash does not fit")
    assert isinstance(found, dict)
    return found


def has_own_hash(found: Any) -> bool:
    """Return True if the content of an `environment.json` fits its hash."""
    if not isinstance(found, dict):
        return False
    content = {key: value for key, value in found.items() if key != "sha256"}
    return hash_data(content) == found.get("sha256")


# ---- the machine ----


def collect_environment(threads: int, device: str = "cpu") -> dict[str, str]:
    """Return what decides bits most often.

    That is the machine, its libraries, and the main packages.
    """
    import torch

    built = torch.__config__.show()
    return {
        "python": platform.python_version(),
        "platform": _platform(),
        "cpu": describe_cpu(),
        "cpu_model": identify_cpu_model(),
        "cpus": str(count_cpus()),  # numpy's BLAS takes as many threads
        "cpu_capability": torch.backends.cpu.get_cpu_capability(),
        "threads": str(threads),
        "device": torch.cuda.get_device_name() if device == "cuda" else device,
        "blas": _torch_blas(built),
        "mkl_cbwr": mask(os.environ.get(MKL_SETTING, "")),
        "stack_products": find_stack_form(),
        "onednn": _onednn(built),
        **_numpy_libraries(),
        **{name: mask(os.environ.get(name, "")) for name in (*SHOWN_VARIABLES, *HIDDEN_VARIABLES)},
        **{name: _version(name) for name in RECORDED_PACKAGES},
    }


def compare_environments(
    then: Mapping[str, Any], now: Mapping[str, Any]
) -> dict[str, tuple[str, str]]:
    """Return the keys that differ and may change bits.

    Each has both values. A key that only one of them has is not compared: the other may be older
    than the key.
    """
    idle = set(SHOWN_VARIABLES)
    # a fit with one thread leaves all other processors alone
    if all(str(machine.get("threads")) == "1" for machine in (then, now)):
        idle.add("cpus")
    found = {}
    for key in then:
        if key in now and key not in idle:
            before = str(then[key])
            after = str(now[key])
            if before != after:
                found[key] = (before, after)
    return found


@cache
def list_packages() -> dict[str, str]:
    """Return every installed distribution with its version.

    Both are read from folder names: reading the distributions' metadata takes sixty times as long.
    """
    found: dict[str, str] = {}
    for entry in sys.path:
        for folder in sorted(Path(entry or ".").glob("*.dist-info")):
            name, _, number = folder.name.removesuffix(".dist-info").partition("-")
            found.setdefault(re.sub(r"[-_.]+", "-", name).lower(), number)
    return dict(sorted(found.items()))


def _platform() -> str:
    """Return the system and its C library, or the system's release where it has none.

    The number of a kernel does not change numbers.
    """
    release = " ".join(platform.libc_ver()).strip() or platform.mac_ver()[0] or platform.release()
    return f"{platform.system()} {platform.machine()} {release}"


@cache
def _torch_blas(built: str) -> str:
    """Return the library that torch multiplies with: `mkl 2024.2-Product Build 20240605`."""
    name = re.search(r"BLAS_INFO=(\w+)", built)
    number = re.search(r"Math Kernel Library Version (.+?) for", built)
    words = [name[1] if name else "unknown"]
    if number:
        words.append(number[1])
    return " ".join(words)


def _onednn(built: str) -> str:
    """Return the version of oneDNN, which multiplies for torch on some processors."""
    number = re.search(r"MKL-DNN (v\S+)", built)
    return number[1] if number else ""


@cache
def _numpy_libraries() -> dict[str, str]:
    """Return the libraries that numpy computes with.

    They are the BLAS that numpy was built with, the BLAS that is loaded and the kernels that it
    chose, numpy's own vector units, and OpenMP. scipy and scikit-learn bring libraries of their
    own: their versions identify these, and they are imported late, or never.
    """
    import numpy as np

    built: Any = np.show_config(mode="dicts")
    blas = built.get("Build Dependencies", {}).get("blas", {})
    libraries = list_blas_libraries()
    loaded = [one for one in libraries if one["user_api"] == "blas"]
    openmp = [one for one in libraries if one["user_api"] == "openmp"]
    return {
        "numpy_blas": f"{blas.get('name', 'unknown')} {blas.get('version', '')}".strip(),
        "numpy_blas_loaded": _joined(
            f"{one['internal_api']} {one['version'] or ''}".strip() for one in loaded
        ),
        "numpy_blas_kernel": _joined(one.get("architecture") or "" for one in loaded),
        "numpy_simd": " ".join(built.get("SIMD Extensions", {}).get("found", [])),
        "openmp": _joined(one["prefix"] for one in openmp),
    }


def _joined(names: Iterable[str]) -> str:
    return ", ".join(sorted(set(filter(None, names))))


@cache
def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return "absent"
