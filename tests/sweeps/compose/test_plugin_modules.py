"""Plug-ins of the working directory are found if they are named, with their imports alone."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path

import pytest

from linfit.sweeps.compose import plugin_modules
from linfit.sweeps.compose.compose import load_plugins

NAMES = ("part_4711", "neighbour_4711", "late_4711", "package_4711", "colorsys")


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(plugin_modules, "_FOLDERS", {})
    before = list(sys.meta_path)
    for name in NAMES:
        (tmp_path / f"{name}.py").write_text(f"place = {str(tmp_path)!r}\n", encoding="utf-8")
    monkeypatch.delitem(sys.modules, "colorsys", raising=False)
    yield tmp_path
    sys.meta_path[:] = before
    for name in [name for name in sys.modules if name.partition(".")[0] in NAMES]:
        del sys.modules[name]


def test_a_named_module_and_what_it_imports_are_found(folder: Path) -> None:
    (folder / "part_4711.py").write_text(
        "import neighbour_4711\n\ndef f():\n    import late_4711\n    return late_4711\n",
        encoding="utf-8",
    )
    path = list(sys.path)
    load_plugins(["part_4711"])
    assert "neighbour_4711" in sys.modules and "late_4711" not in sys.modules
    assert sys.modules["part_4711"].f().place == str(folder)
    assert sys.path == path


def test_a_package_is_found_with_its_parts(folder: Path) -> None:
    (folder / "package_4711.py").unlink()
    (folder / "package_4711" / "deep").mkdir(parents=True)  # without an __init__.py
    (folder / "package_4711" / "deep" / "part.py").write_text(
        "from neighbour_4711 import place\n", encoding="utf-8"
    )
    load_plugins(["package_4711.deep.part"])
    assert sys.modules["package_4711.deep.part"].place == str(folder)


def test_nobody_else_finds_what_lies_there(folder: Path) -> None:
    load_plugins(["part_4711"])
    for name in ("neighbour_4711", "package_4711"):
        with pytest.raises(ModuleNotFoundError):
            import_module(name)


def test_what_is_installed_is_not_replaced_unless_it_is_named(folder: Path) -> None:
    (folder / "part_4711.py").write_text("import colorsys\n", encoding="utf-8")
    load_plugins(["part_4711"])
    assert not hasattr(sys.modules.pop("colorsys"), "place")
    load_plugins(["colorsys"])
    assert sys.modules.pop("colorsys").place == str(folder)
