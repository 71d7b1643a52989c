"""Where config files are looked for: the user's `./conf` and `./experiments` first, then what linfit ships."""

from __future__ import annotations

from pathlib import Path

from hydra.core.config_search_path import ConfigSearchPath

PACKAGE = Path(__file__).parents[1]
CONF, EXPERIMENTS = "conf", "experiments"
#: The config that experiments build on.
TOP = "linfit"


def shipped(folder: str) -> Path:
    """`conf` or `experiments` as linfit ships it: inside the package in a wheel, beside it in a checkout."""
    inside = PACKAGE / folder
    return inside if inside.is_dir() else PACKAGE.parent / folder


def users(folder: str) -> list[Path]:
    """The same folder below the working directory, if there is one that is not the shipped one."""
    own = Path.cwd() / folder
    return [own] if own.is_dir() and own.resolve() != shipped(folder).resolve() else []


def arrange(search_path: ConfigSearchPath) -> None:
    """Adds linfit's folders to the search path of linfit itself; every other Hydra app's is left alone."""
    entries = search_path.get_path()
    main = [i for i, entry in enumerate(entries) if entry.provider == "main"]
    if not main or entries[main[0]].path != url(shipped(CONF)):
        return
    for folder in (*users(EXPERIMENTS), *users(CONF)):
        search_path.prepend("user", url(folder), anchor="main")
    search_path.append("linfit", url(shipped(EXPERIMENTS)))


def url(folder: Path) -> str:
    return f"file://{folder}"


def experiments() -> dict[str, Path]:
    """Every experiment there is, by the name that `linfit run` takes; a user's own hides a shipped one of the same name."""
    found: dict[str, Path] = {}
    for folder in (shipped(EXPERIMENTS), *users(EXPERIMENTS)):
        found.update(
            {
                file.relative_to(folder).with_suffix("").as_posix(): file
                for file in sorted(folder.rglob("*.yaml"))
                if file.is_file()
            }
        )
    return dict(sorted(found.items()))


def config_file(path: str) -> Path:
    """The file that Hydra loads for `optimizer/adam`: the user's own before the shipped one."""
    files = [folder / f"{path}.yaml" for folder in (*users(CONF), shipped(CONF))]
    return next((file for file in files if file.is_file()), files[-1])


def components(group: str) -> dict[str, Path]:
    """The YAML files of a config group, by name."""
    found: dict[str, Path] = {}
    for folder in (shipped(CONF), *users(CONF)):
        found.update(
            {file.stem: file for file in sorted((folder / group).glob("*.yaml")) if file.is_file()}
        )
    return dict(sorted(found.items()))
