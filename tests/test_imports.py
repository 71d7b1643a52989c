"""Data goes in at the top and never climbs back: every import is read."""

from __future__ import annotations

import ast
import json
import pkgutil
import re
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from functools import cache
from graphlib import CycleError, TopologicalSorter
from importlib.metadata import packages_distributions
from pathlib import Path

import pytest

import linfit

ROOT = Path(linfit.__file__).parents[1]

#: From the lowest to the highest: each may import itself and what stands below.
LAYERS = (
    (
        "component",
        "errors",
        "lines",
        "override",
        "script_fragments",
        "synonyms",
        "system",
    ),
    ("problem",),
    ("method",),
    ("settings", "conventions", "config", "config_errors"),
    ("engine",),
    ("tracking",),
    ("sweeps",),
    ("script", "reproduction", "verification", "views"),
    ("publication", "predictions"),
    ("cli", "__init__", "__main__", "hydra_plugins"),
)
#: The same inside of packages: their rooms, from the lowest to the highest.
ROOMS = {
    "engine": (
        ("product_settings",),
        ("caller_settings", "determinism", "difference", "fit", "listening", "stopping"),
        ("stacked", "single"),
        ("dispatch", "prediction"),
        ("rounding_twins", "timing"),
    ),
    "tracking": (
        ("secrets",),
        ("schema",),
        ("model", "provenance"),
        ("store",),
        ("tables",),
        ("read",),
        ("write",),
        ("relocation",),
    ),
    "sweeps": (
        ("config_files",),
        ("search_space",),
        ("compose",),
        ("catalogue", "executors", "preflight"),
        ("folder",),
        ("run",),
        ("plan", "resume"),
    ),
    "views": (("analysis",), ("charts",), ("report",), ("results", "terminal", "ui")),
}
RANK = {part: rank for rank, parts in enumerate(LAYERS) for part in parts}
#: Which modules of ours may import these libraries: a folder, or a module, below the root.
HOMES = {
    "hydra": ("linfit/sweeps/", "linfit/cli/", "hydra_plugins/"),
    "omegaconf": ("linfit/sweeps/", "linfit/cli/", "hydra_plugins/"),
    # these run inside MLflow, in stored models
    "mlflow": (
        "linfit/tracking/",
        "linfit/views/ui/guarded_process.py",
        "linfit/problem/linfit_model_1.py",
    ),
    "matplotlib": ("linfit/views/",),
    "plotly": ("linfit/views/",),
}


def violations(root: Path) -> list[str]:
    """Return a line for each import that climbs, or of a library outside its home."""
    found = []
    for file in sorted([*root.glob("linfit/**/*.py"), *root.glob("hydra_plugins/**/*.py")]):
        place = file.relative_to(root).as_posix()
        part = part_of_file(place)
        if part not in RANK:
            found.append(f"{place}: {part} has no layer")
            continue
        for line, name in imports(file, root):
            if complaint := judge(part, place, name):
                found.append(f"{place}:{line}: {complaint}")
    return found


def judge(part: str, place: str, name: str) -> str | None:
    library = name.split(".")[0]
    if library in HOMES and not place.startswith(HOMES[library]):
        return f"imports {name}, which belongs in {' '.join(HOMES[library])}"
    if library not in ("linfit", "hydra_plugins"):
        return None
    other = part_of_module(name)
    return f"{part} imports {name}, above it" if RANK[other] > RANK[part] else None


def part_of_file(place: str) -> str:
    """`linfit/engine/fit.py` belongs to `engine`, `linfit/cli.py` to `cli`."""
    top, *below = Path(place).with_suffix("").parts
    return below[0] if top == "linfit" else top


def part_of_module(name: str) -> str:
    """Return `engine` for `linfit.engine.fit`, `__init__` for `linfit` and names it defines."""
    top, *below = name.split(".")
    if top == "hydra_plugins":
        return top
    return below[0] if below and below[0] in RANK else "__init__"


def imports(file: Path, root: Path) -> tuple[tuple[int, str], ...]:
    """Return (line, dotted name) of all imports, also in functions, for types, or by a string."""
    return find_imports(file.read_text(encoding="utf-8"), file.relative_to(root).parts[:-1])


@cache
def find_imports(source: str, package: tuple[str, ...]) -> tuple[tuple[int, str], ...]:
    return tuple(_imports(source, package))


def _imports(source: str, package: tuple[str, ...]) -> Iterator[tuple[int, str]]:
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            yield from ((node.lineno, alias.name) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = package[: len(package) - node.level + 1] if node.level else ()
            module = ".".join([*base, *([node.module] if node.module else [])])
            yield from ((node.lineno, f"{module}.{alias.name}") for alias in node.names)
        elif isinstance(node, ast.Call) and isinstance(node.func, ast.Name | ast.Attribute):
            called = node.func.id if isinstance(node.func, ast.Name) else node.func.attr
            if (
                called in ("import_module", "__import__")
                and node.args
                and isinstance(node.args[0], ast.Constant)
            ):
                yield node.lineno, str(node.args[0].value)


# ---- the rule ----


def test_no_import_climbs() -> None:
    assert violations(ROOT) == []


@pytest.mark.parametrize("package", ROOMS)
def test_no_import_climbs_between_the_rooms_of_a_package(package: str) -> None:
    rank = {room: i for i, rooms in enumerate(ROOMS[package]) for room in rooms}
    climbing = []
    graph = module_graph(ROOT)
    for module, imported in graph.items():
        room = room_of(module, package)
        for name in imported if room else ():
            other = room_of(name, package)
            if room and other and rank[other] > rank[room]:
                climbing.append((module, name))
    assert climbing == []
    assert set(rank) == {room_of(name, package) for name in graph} - {None}


def room_of(module: str, package: str) -> str | None:
    """Return the room of a module of the package: the folder or the file just below it."""
    _, found, *below = [*module.split("."), ""]
    return below[0] or None if found == package else None


def test_the_rule_was_applied_to_the_whole_house() -> None:
    files = [file.relative_to(ROOT).as_posix() for file in ROOT.glob("linfit/**/*.py")]
    parts = {part_of_file(file) for file in files}
    assert {
        "component",
        "problem",
        "method",
        "settings",
        "config",
        "engine",
        "tracking",
        "sweeps",
        "__init__",
    } <= parts
    found = {name for file in ROOT.glob("linfit/**/*.py") for _, name in imports(file, ROOT)}
    assert {
        "linfit.component.Component",
        "linfit.engine.single.fit_one",
        "linfit.tracking.write.client.ClientRecorder",
    } <= found
    assert {"mlflow.MlflowClient", "torch.Tensor"} <= found


def module_graph(root: Path) -> dict[str, set[str]]:
    """Return the modules that each module of linfit imports, also for types or in functions."""
    files = {}
    for file in root.glob("linfit/**/*.py"):
        parts = file.relative_to(root).with_suffix("").parts
        files[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = file
    return {module: _imported(module, file, root, set(files)) for module, file in files.items()}


def _imported(module: str, file: Path, root: Path, modules: set[str]) -> set[str]:
    found = set()
    for _, name in imports(file, root):
        while name and name not in modules:
            name = name.rpartition(".")[0]
        if name and name != module:
            found.add(name)
    return found


def circle(graph: dict[str, set[str]]) -> list[str]:
    """Return the modules of a circle of imports, empty if there is none."""
    try:
        TopologicalSorter(graph).prepare()
    except CycleError as error:
        return list(error.args[1])
    return []


def test_no_circle_of_modules() -> None:
    graph = module_graph(ROOT)
    assert {"linfit.problem.types", "linfit.problem.theory.optimum"} <= graph[
        "linfit.method.solvers.accelerated"
    ]
    assert circle(graph) == []


@pytest.mark.parametrize(
    "closing",
    [
        "from linfit.a import f",
        "from . import a",
        "def f():\n    from linfit import a",
        "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    from .a import A",
    ],
)
def test_a_circle_is_caught_wherever_it_is_closed(tmp_path: Path, closing: str) -> None:
    folder = tmp_path / "linfit"
    folder.mkdir()
    for name, source in {"__init__": "", "a": "from linfit import b", "b": "import numpy"}.items():
        (folder / f"{name}.py").write_text(source)
    assert circle(module_graph(tmp_path)) == []
    (folder / "b.py").write_text(closing)
    assert set(circle(module_graph(tmp_path))) == {"linfit.a", "linfit.b"}


LOADERS = {"load_model", "load_pyfunc", "pyfunc"}


def loads(source: str) -> list[str]:
    """What a module has by which MLflow executes a stored model."""
    nodes = list(ast.walk(ast.parse(source)))
    named = [
        node.attr if isinstance(node, ast.Attribute) else node.id
        for node in nodes
        if isinstance(node, ast.Attribute | ast.Name)
    ]
    imported = [
        alias.name
        for node in nodes
        if isinstance(node, ast.Import | ast.ImportFrom)
        for alias in node.names
    ]
    within = [node.module or "" for node in nodes if isinstance(node, ast.ImportFrom)]
    return [name for name in (*named, *imported, *within) if LOADERS & set(name.split("."))]


def test_nothing_loads_a_stored_model() -> None:
    files = [*ROOT.glob("linfit/**/*.py"), *ROOT.glob("hydra_plugins/**/*.py")]
    assert {
        file.name: found for file in files if (found := loads(file.read_text(encoding="utf-8")))
    } == {}


@pytest.mark.parametrize(
    "source",
    [
        "import mlflow\nmlflow.pyfunc.load_model(x)",
        "from mlflow import pyfunc",
        "from mlflow.pyfunc import x",
        "import mlflow.pyfunc as p",
    ],
)
def test_what_loads_a_stored_model_is_caught(source: str) -> None:
    assert loads(source)


def test_every_library_that_is_imported_is_declared() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    extras = [
        required
        for extra in ("dask", "ray", "postgres")
        for required in project["optional-dependencies"][extra]
    ]
    declared = {
        canonical(re.split(r"[\[<>=]", required)[0])
        for required in [*project["dependencies"], *extras]
    }
    files = [*ROOT.glob("linfit/**/*.py"), *ROOT.glob("hydra_plugins/**/*.py")]
    imported = (
        {name.split(".")[0] for file in files for _, name in imports(file, ROOT)}
        - sys.stdlib_module_names
        - {"linfit", "hydra_plugins"}
    )
    bringing = packages_distributions()
    assert {"torch", "sqlalchemy"} <= imported
    assert [
        name
        for name in sorted(imported)
        if not declared & {canonical(brought) for brought in bringing.get(name, [name])}
    ] == []


def canonical(distribution: str) -> str:
    return re.sub(r"[-_.]+", "-", distribution).lower()


def test_no_module_hides_a_public_function() -> None:
    modules = {module.name for module in pkgutil.iter_modules(linfit.__path__)}
    assert {"config", "engine", "sweeps"} <= modules
    assert modules & set(linfit._PUBLIC) == set()
    assert {name.lower() for name in modules} & set(linfit._PUBLIC) == set()


@pytest.mark.parametrize(
    ("module", "forbidden"),
    [
        ("linfit", {"torch", "mlflow", "hydra", "omegaconf", "numpy", "pydantic", "pandas"}),
        ("linfit.config", {"torch", "mlflow", "hydra", "omegaconf", "pandas", "matplotlib"}),
        ("linfit.sweeps.run.hydra_app", {"torch", "mlflow", "pandas", "matplotlib"}),
        ("linfit.engine.single", {"mlflow", "hydra", "omegaconf", "pandas", "matplotlib"}),
    ],
)
def test_an_import_costs_no_library_that_it_does_not_need(
    module: str, forbidden: set[str], tmp_path: Path
) -> None:
    code = f"import json, sys, {module}; print(json.dumps(sorted(sys.modules)))"
    printed = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=True
    )
    loaded = set(json.loads(printed.stdout))
    assert module in loaded
    assert forbidden & loaded == set()


# ---- the rule can fail ----


def house(root: Path, place: str, source: str) -> Path:
    """A small house that keeps the rule, but for one file."""
    kept = {
        "linfit/__init__.py": "from linfit.config import FitConfig",
        "linfit/config.py": "from linfit.problem import losses\nfrom .settings import Stop",
        "linfit/settings.py": "import numpy",
        "linfit/problem/losses.py": "import torch\nfrom linfit.component import Component\n"
        "from . import theory",
        "linfit/component.py": "",
        "linfit/tracking/write/client.py": "import mlflow\nfrom linfit import config\n"
        "from ..engine import fit",
        "linfit/views/ui/guarded_process.py": "import mlflow.server\nimport plotly",
        "linfit/cli/commands.py": "import hydra\nimport linfit",
        "hydra_plugins/linfit/sweeper.py": "from omegaconf import DictConfig\n"
        "from linfit.sweeps.run.hydra_task import HydraTask",
        place: source,
    }
    for name, text in kept.items():
        file = root / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)
    return root


def test_a_house_that_keeps_the_rule_passes(tmp_path: Path) -> None:
    assert (
        violations(house(tmp_path, "linfit/engine/fit.py", "from linfit.config import FitConfig"))
        == []
    )


@pytest.mark.parametrize(
    ("place", "source", "complaint"),
    [
        (
            "linfit/problem/x.py",
            "from linfit.method import models",
            "linfit/problem/x.py:1: problem imports linfit.method.models, above it",
        ),
        (
            "linfit/problem/x.py",
            "import linfit.config",
            "linfit/problem/x.py:1: problem imports linfit.config, above it",
        ),
        (
            "linfit/component.py",
            "from linfit.problem import losses",
            "linfit/component.py:1: component imports linfit.problem.losses, above it",
        ),
        (
            "linfit/method/x.py",
            "\ndef f():\n    from linfit.engine import fit",
            "linfit/method/x.py:3: method imports linfit.engine.fit, above it",
        ),
        (
            "linfit/engine/x.py",
            "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n"
            "    from linfit.tracking.write.client import Client",
            "linfit/engine/x.py:3: engine imports linfit.tracking.write.client.Client, above it",
        ),
        (
            "linfit/engine/x.py",
            "import linfit",
            "linfit/engine/x.py:1: engine imports linfit, above it",
        ),
        (
            "linfit/engine/x.py",
            "from linfit import fit",
            "linfit/engine/x.py:1: engine imports linfit.fit, above it",
        ),
        (
            "linfit/engine/x.py",
            "from linfit import sweeps",
            "linfit/engine/x.py:1: engine imports linfit.sweeps, above it",
        ),
        (
            "linfit/tracking/x.py",
            "from ..sweeps.run import hydra_task",
            "linfit/tracking/x.py:1: tracking imports linfit.sweeps.run.hydra_task, above it",
        ),
        (
            "linfit/tracking/x.py",
            "from .. import cli",
            "linfit/tracking/x.py:1: tracking imports linfit.cli, above it",
        ),
        (
            "linfit/config.py",
            "from .engine import fit",
            "linfit/config.py:1: config imports linfit.engine.fit, above it",
        ),
        (
            "linfit/sweeps/x.py",
            "import hydra_plugins.linfit",
            "linfit/sweeps/x.py:1: sweeps imports hydra_plugins.linfit, above it",
        ),
        (
            "linfit/sweeps/x.py",
            "from importlib import import_module\nimport_module('linfit.views.plots')",
            "linfit/sweeps/x.py:2: sweeps imports linfit.views.plots, above it",
        ),
        (
            "linfit/engine/x.py",
            "import hydra.utils",
            "linfit/engine/x.py:1: imports hydra.utils, which belongs in linfit/sweeps/",
        ),
        (
            "linfit/tracking/x.py",
            "from omegaconf import OmegaConf",
            "linfit/tracking/x.py:1: imports omegaconf.OmegaConf, which belongs in",
        ),
        (
            "linfit/sweeps/x.py",
            "from mlflow import MlflowClient",
            "linfit/sweeps/x.py:1: imports mlflow.MlflowClient, which belongs in",
        ),
        (
            "linfit/views/x.py",
            "import mlflow",
            "linfit/views/x.py:1: imports mlflow, "
            "which belongs in linfit/tracking/ linfit/views/ui/guarded_process.py",
        ),
        (
            "linfit/tracking/x.py",
            "import matplotlib.pyplot",
            "linfit/tracking/x.py:1: imports matplotlib.pyplot, which belongs in linfit/views/",
        ),
        (
            "linfit/cli.py",
            "import plotly",
            "linfit/cli.py:1: imports plotly, which belongs in linfit/views/",
        ),
        ("linfit/utils.py", "", "linfit/utils.py: utils has no layer"),
        ("linfit/stray/x.py", "", "linfit/stray/x.py: stray has no layer"),
    ],
)
def test_a_climbing_import_is_caught(
    tmp_path: Path, place: str, source: str, complaint: str
) -> None:
    (found,) = violations(house(tmp_path, place, source))
    assert found.startswith(complaint)
