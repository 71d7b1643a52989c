"""The git repository of the working directory: where its HEAD stands, and what is uncommitted."""

from __future__ import annotations

import hashlib
import re
import subprocess
from functools import cache

from linfit.tracking.layout import DIRTY
from linfit.tracking.masking import SECRET, mask

#: Characters of uncommitted changes beyond which they are not kept.
MAX_DIFF = 100_000
#: A value behind a name that says that it is secret.
_SECRET = re.compile(rf"""({SECRET}\w*["']?\s*[:=]+\s*).+""", re.I)


def tags() -> dict[str, str]:
    """Commit, branch and whether anything is uncommitted, as tags; none outside of a repository."""
    found = state()
    names = {"commit": "mlflow.source.git.commit", "branch": "mlflow.source.git.branch", "dirty": DIRTY}
    return {tag: found[key] for key, tag in names.items() if key in found}


@cache
def state() -> dict[str, str]:
    """`commit`, `branch`, `dirty`, and where something is uncommitted the hash of the `diff`; empty outside of a repository."""
    lines = _git("status", "--porcelain=v2", "--branch").splitlines()
    heads = dict(line.removeprefix("# branch.").partition(" ")[::2] for line in lines if line.startswith("# branch."))
    if not heads.get("oid", "(").isalnum():  # no repository, or none with a commit
        return {}
    dirty = any(not line.startswith("#") for line in lines)
    found = {"commit": heads["oid"], "branch": heads["head"], "dirty": "true" if dirty else "false"}
    return {**found, "diff": hashlib.sha256(_uncommitted().encode()).hexdigest()[:16]} if dirty else found


def diff() -> str:
    """What is uncommitted, with secrets masked; empty where there is nothing, or more than is kept."""
    if state().get("dirty") != "true" or not 0 < len(_uncommitted()) <= MAX_DIFF:
        return ""
    return "\n".join(_SECRET.sub(r"\1***", mask(line)) for line in _uncommitted().splitlines()) + "\n"


@cache
def _uncommitted() -> str:
    return _git("diff", "HEAD", "--no-color", "--no-ext-diff", "--no-textconv")


def _git(*arguments: str) -> str:
    try:
        done = subprocess.run(["git", *arguments], capture_output=True, check=True, timeout=10)
    except (OSError, subprocess.SubprocessError):
        return ""
    return done.stdout.decode(errors="replace").strip()
