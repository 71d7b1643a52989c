"""What surrounds a run and may change its bits: versions, machine, threads, code, git."""

from __future__ import annotations

import ast
import hashlib
import json
import platform
import subprocess
import sys
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec
from pathlib import Path

from linfit.config import FitConfig
from linfit.tracking.layout import CODE, ENVIRONMENT, VERSION
from linfit.version import __version__

PACKAGES = ("torch", "numpy", "hydra-core", "omegaconf", "mlflow", "pydantic", "safetensors", "pyarrow")
PACKAGE = Path(__file__).parents[1]
#: The parts of linfit that decide a run's numbers.
DECISIVE = ("problem", "method", "engine")


def tags(config: FitConfig) -> dict[str, str]:
    """The tags of a single run or of a sweep's parent that say where its numbers come from."""
    return {
        VERSION: __version__,
        CODE: code_digest(config.plugins),
        ENVIRONMENT: json.dumps(environment(config.threads), sort_keys=True),
        **git(),
    }


def environment(threads: int) -> dict[str, str]:
    import torch

    return {
        "python": platform.python_version(),
        "platform": platform.platform(),
        "cpu_capability": torch.backends.cpu.get_cpu_capability(),
        "threads": str(threads),
        **{name: _version(name) for name in PACKAGES},
    }


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return "absent"


@cache
def code_digest(plugins: tuple[str, ...] = ()) -> str:
    """SHA-256 over the syntax trees, without docstrings, of what decides the numbers: comments and layout do not count."""
    files = [file for part in DECISIVE for file in sorted((PACKAGE / part).rglob("*.py"))]
    specs = [sys.modules[name].__spec__ if name in sys.modules else find_spec(name) for name in plugins]
    files += [Path(spec.origin) for spec in specs if spec is not None and spec.origin is not None]
    return hashlib.sha256("\n".join(_syntax(file) for file in files).encode()).hexdigest()


def _syntax(file: Path) -> str:
    tree = ast.parse(file.read_text(encoding="utf-8"))
    for node in ast.walk(tree):
        if (
            isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef)
            and ast.get_docstring(node, clean=False) is not None
        ):
            node.body = node.body[1:]
    return ast.dump(tree)


@cache
def git() -> dict[str, str]:
    """Commit, branch and whether anything is uncommitted, of the repository of the working directory; empty outside of one."""
    commit = _git("rev-parse", "HEAD")
    if not commit:
        return {}
    dirty = "true" if _git("status", "--porcelain") else "false"
    return {
        "mlflow.source.git.commit": commit,
        "mlflow.source.git.branch": _git("rev-parse", "--abbrev-ref", "HEAD"),
        "linfit.git.dirty": dirty,
    }


def _git(*arguments: str) -> str:
    try:
        return subprocess.run(["git", *arguments], capture_output=True, text=True, check=True, timeout=10).stdout.strip()
    except (OSError, subprocess.SubprocessError):
        return ""
