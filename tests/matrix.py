"""Run the tests marked `matrix` in several environments, one after the other.

    make matrix ENVIRONMENTS="lowest newest"

Each environment is made anew, with every interpreter that is named or found:

    lowest        the lowest versions that pyproject.toml admits
    locked        requirements.lock
    newest        the newest versions that pyproject.toml admits
    lowest-torch  requirements.lock with the lowest torch
    newest-torch  requirements.lock with the newest torch

Where the name says nothing about torch, it is the one of requirements-torch.lock.
"""

from __future__ import annotations

import argparse
import os
import re
import shutil
import subprocess
import sys
import time
import tomllib
from dataclasses import dataclass
from pathlib import Path
from xml.etree import ElementTree

ROOT = Path(__file__).parents[1]
ENVIRONMENTS = ("lowest", "locked", "newest", "lowest-torch", "newest-torch")
USUAL = ENVIRONMENTS[:3]
PYTHONS = ("3.11", "3.12", "3.13")
SHOWN = ("torch", "numpy", "pandas", "pyarrow", "mlflow", "sqlalchemy", "hydra-core", "pydantic")
#: Other versions may deprecate what the locked ones do not.
WARNINGS = ("-W", "ignore::DeprecationWarning", "-W", "ignore::FutureWarning")
TORCH_LOCK = "requirements-torch.lock"


class StepError(Exception):
    """A command that an environment needs has failed."""


@dataclass(frozen=True)
class Outcome:
    """Result of the tests in one environment; `passed` is None if it could not be made."""

    environment: str
    python: str
    versions: dict[str, str]
    passed: int | None
    failed: int
    seconds: float

    @property
    def ok(self) -> bool:
        """True if tests ran and none failed."""
        return bool(self.passed) and not self.failed

    def cells(self) -> list[str]:
        """Return the row of the table."""
        passed = "not made" if self.passed is None else str(self.passed)
        versions = [self.versions.get(name, "-") for name in SHOWN]
        return [
            self.environment,
            self.python,
            *versions,
            passed,
            str(self.failed),
            f"{self.seconds:.0f}",
        ]


def main() -> None:
    """Run the environments that the command line names; exit with 1 if one failed."""
    parser = argparse.ArgumentParser(
        usage='make matrix ENVIRONMENTS="lowest newest" PYTHONS="python3.12"'
    )
    parser.add_argument(
        "--folder", type=Path, required=True, help="where the environments are made"
    )
    parser.add_argument("--environments", nargs="*", choices=ENVIRONMENTS, metavar="NAME")
    parser.add_argument(
        "--pythons",
        nargs="*",
        type=require_interpreter,
        metavar="COMMAND",
        help="python3.12, or a path",
    )
    arguments = parser.parse_args()
    outcomes = [
        run_environment(name, version, interpreter, arguments.folder.resolve())
        for version, interpreter in arguments.pythons or find_interpreters()
        for name in arguments.environments or USUAL
    ]
    print_table(outcomes)
    sys.exit(0 if all(outcome.ok for outcome in outcomes) else 1)


def require_interpreter(command: str) -> tuple[str, str]:
    """Return version and path of the interpreter that the command line names."""
    found = ask_interpreter(command)
    if found and found[0] in PYTHONS:
        return found
    raise argparse.ArgumentTypeError(
        f"{command}: no such Python; name a command or a path of Python {', '.join(PYTHONS)}"
    )


def find_interpreters() -> list[tuple[str, str]]:
    """Return version and path of one interpreter for each of PYTHONS that this machine has."""
    pyenv = Path(os.environ.get("PYENV_ROOT", Path.home() / ".pyenv"))
    found: dict[str, str] = {}
    for version in PYTHONS:
        installed = sorted(pyenv.glob(f"versions/{version}.*/bin/python"))
        for command in (sys.executable, f"python{version}", "python", *map(str, installed)):
            answer = ask_interpreter(command)
            if answer and answer[0] == version:
                found.setdefault(*answer)
    return list(found.items())


def ask_interpreter(command: str) -> tuple[str, str] | None:
    """Return version and path of an interpreter.

    Return None if it does not run, as a shim of pyenv may not.
    """
    code = "import sys; print('%d.%d' % sys.version_info[:2]); print(sys.executable)"
    try:
        done = subprocess.run([command, "-c", code], capture_output=True, text=True, check=True)
        version, path = done.stdout.splitlines()
    except (OSError, ValueError, subprocess.CalledProcessError):
        return None
    return version, path


def run_environment(name: str, version: str, interpreter: str, folder: Path) -> Outcome:
    """Make an environment and run the tests in it."""
    begun = time.monotonic()
    environment = folder / f"{name}-{version}"
    versions: dict[str, str] = {}
    passed, failed = None, 0
    print(f"== {name}, Python {version}, in {environment}", flush=True)
    try:
        python = make_environment(name, interpreter, environment)
        versions = installed_versions(python)
        passed, failed = run_tests(python, environment / "results.xml")
    except StepError as error:
        print(error, file=sys.stderr)
    return Outcome(name, version, versions, passed, failed, time.monotonic() - begun)


def make_environment(name: str, interpreter: str, environment: Path) -> str:
    """Make an environment with linfit and the versions that its name says.

    Return its interpreter.
    """
    shutil.rmtree(environment, ignore_errors=True)
    call(interpreter, "-m", "venv", str(environment))
    python = str(environment / ("Scripts/python.exe" if os.name == "nt" else "bin/python"))
    install(python, *packages(name, python, environment / "requirements.txt"))
    install(python, *torch(name))
    install(python, "--no-deps", "--no-build-isolation", "-e", ".")
    call(python, "-m", "pip", "check")
    return python


def packages(name: str, python: str, file: Path) -> list[str]:
    """Return what pip is told to install of all but torch."""
    if name not in ("lowest", "newest"):
        return ["--require-hashes", "-r", "requirements.lock"]
    resolution = {"lowest": "lowest-direct", "newest": "highest"}[name]
    # A lowest version without a wheel for this interpreter is not what pip would choose.
    wheels = ["--only-binary", ":all:", "--no-binary", "antlr4-python3-runtime"]
    resolve = [
        sys.executable,
        "-m",
        "uv",
        "pip",
        "compile",
        "--quiet",
        "--python",
        python,
        "--resolution",
        resolution,
    ]
    call(
        *resolve,
        *wheels,
        "--extra",
        "dev",
        "--excludes",
        "-",
        "pyproject.toml",
        "-o",
        str(file),
        given="torch",
    )
    return ["--no-deps", "-r", str(file)]


def torch(name: str) -> list[str]:
    """Return what pip is told to install of torch."""
    if name == "newest-torch":
        return ["--upgrade", "torch"]
    if name == "lowest-torch":
        [lowest] = (part for part in project()["dependencies"] if part.startswith("torch>="))
        return [lowest.replace(">=", "==")]
    return ["-c", TORCH_LOCK, "torch"]


def project() -> dict[str, list[str]]:
    """Return the section `project` of pyproject.toml."""
    found: dict[str, list[str]] = tomllib.loads(
        (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    )["project"]
    return found


def install(python: str, *arguments: str) -> None:
    """Install with pip."""
    call(python, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", *arguments)


def installed_versions(python: str) -> dict[str, str]:
    """Return name → version of all that an environment has, as pip lists it."""
    listed = call(python, "-m", "pip", "list", "--format", "freeze", "--disable-pip-version-check")
    pairs = (line.partition("==") for line in listed.splitlines())
    return {re.sub(r"[-_.]+", "-", name).lower(): version for name, _, version in pairs}


def run_tests(python: str, report: Path) -> tuple[int, int]:
    """Run the tests marked `matrix`; return how many passed and how many failed."""
    command = [
        python,
        "-m",
        "pytest",
        "-m",
        "matrix",
        *WARNINGS,
        "-p",
        "no:cacheprovider",
        f"--junitxml={report}",
    ]
    subprocess.run(command, cwd=ROOT)
    if not report.exists():
        raise StepError("the tests did not start")
    suite = ElementTree.parse(report).getroot()[0]
    count = {key: int(suite.get(key, "0")) for key in ("tests", "failures", "errors", "skipped")}
    failed = count["failures"] + count["errors"]
    return count["tests"] - failed - count["skipped"], failed


def call(*command: str, given: str | None = None) -> str:
    """Run a command in the checkout and return its output; StepError if it fails."""
    try:
        done = subprocess.run(command, cwd=ROOT, input=given, capture_output=True, text=True)
    except OSError as error:
        raise StepError(str(error)) from error
    if done.returncode:
        raise StepError(f"{' '.join(command)}\n{done.stdout}{done.stderr}")
    return done.stdout


def print_table(outcomes: list[Outcome]) -> None:
    """Print a row for each environment."""
    rows = [
        ["environment", "python", *SHOWN, "passed", "failed", "seconds"],
        *(outcome.cells() for outcome in outcomes),
    ]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for row in rows:
        print(
            "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
        )


if __name__ == "__main__":
    main()
