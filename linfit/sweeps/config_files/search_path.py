"""Folders of config files: the user's `./conf` and `./experiments` before those shipped."""

from __future__ import annotations

from pathlib import Path

from hydra.core.config_search_path import ConfigSearchPath

PACKAGE_FOLDER = Path(__file__).parents[2]
CONF = "conf"
EXPERIMENTS = "experiments"
#: The config that experiments build on.
TOP_CONFIG = "linfit"


def shipped_folder(folder: str) -> Path:
    """Return linfit's own `conf` or `experiments`.

    It is in a wheel's package, or in the checkout.
    """
    inside = PACKAGE_FOLDER / folder
    if inside.is_dir():
        return inside
    return PACKAGE_FOLDER.parent / folder


def user_folders(folder: str) -> list[Path]:
    """Return the working directory's folder of this name.

    The shipped folder itself is left out.
    """
    own = Path.cwd() / folder
    if not own.is_dir() or own.resolve() == shipped_folder(folder).resolve():
        return []
    return [own]


def prepare_search_path(search_path: ConfigSearchPath) -> None:
    """Add linfit's folders to its own search path.

    The paths of other Hydra apps stay as they are.
    """
    entries = search_path.get_path()
    main = next((entry for entry in entries if entry.provider == "main"), None)
    if main is None or main.path != folder_url(shipped_folder(CONF)):
        return
    for folder in (*user_folders(EXPERIMENTS), *user_folders(CONF)):
        search_path.prepend("user", folder_url(folder), anchor="main")
    search_path.append("linfit", folder_url(shipped_folder(EXPERIMENTS)))


def folder_url(folder: Path) -> str:
    """Return the address of a folder as Hydra takes it."""
    return f"file://{folder}"


def find_experiments() -> dict[str, Path]:
    """Return the file of each experiment by name.

    A user's own hides a shipped one.
    """
    return _yaml_files(EXPERIMENTS, "**/*.yaml")


def find_components(group: str) -> dict[str, Path]:
    """Return the YAML files of a config group, by name."""
    found = _yaml_files(CONF, f"{group}/*.yaml")
    return {name.removeprefix(f"{group}/"): file for name, file in found.items()}


def find_config_file(path: str) -> Path:
    """Return the file that Hydra loads for `optimizer/adam`."""
    for folder in user_folders(CONF):
        file = folder / f"{path}.yaml"
        if file.is_file():
            return file
    return shipped_folder(CONF) / f"{path}.yaml"


def _yaml_files(folder: str, pattern: str) -> dict[str, Path]:
    """Return files by their path without its ending; the user's hide shipped ones."""
    found: dict[str, Path] = {}
    for place in (shipped_folder(folder), *user_folders(folder)):
        for file in place.glob(pattern):
            if file.is_file():
                found[file.relative_to(place).with_suffix("").as_posix()] = file
    return dict(sorted(found.items()))
