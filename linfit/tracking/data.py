"""The data of a stored config: which files it may read, and the numbers of arrays that its run has kept.

A stored config is untrusted input: it reads what linfit ships, what lies below the working directory, and what the user points to.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from linfit.config import FitConfig
from linfit.errors import ConfigError, LinfitError, brief
from linfit.problem.arrays import Arrays
from linfit.problem.files import SHIPPED, SHIPPED_FOLDER, Table

Kept = Callable[[str], Path]
"""Where a run has kept a file, by the file's name."""
HINT = "give its folder with --data"


def located(config: FitConfig, data: Path | None = None) -> FitConfig:
    """The config with its data file where it is below `data`, under its path or its name; ConfigError where it may not be read."""
    dataset = config.dataset
    if data is not None and isinstance(dataset, Table) and not dataset.path.startswith(SHIPPED):
        candidates = (data / dataset.path, data / Path(dataset.path).name)
        found = next((file for file in candidates if file.is_file()), None)
        config = (
            config
            if found is None
            else config.model_copy(
                update={"dataset": dataset.model_copy(update={"path": str(found)})}
            )
        )
    require_own_data(config, data)
    return config


def require_own_data(config: FitConfig, data: Path | None = None) -> None:
    """ConfigError where a stored config reads a file that linfit does not ship and that is not below the working directory, or below `data`."""
    allowed = [SHIPPED_FOLDER, Path.cwd(), *([data] if data is not None else [])]
    try:
        files = {file: Path(file).resolve() for file in config.dataset.files()}
    except (ValueError, OSError, RuntimeError) as error:  # no path, or links in a circle
        raise ConfigError(f"its data cannot be found: {brief(str(error))}") from error
    for file, path in files.items():
        if not any(path.is_relative_to(folder.resolve()) for folder in allowed):
            raise ConfigError(
                f"its data file {file!r} is not below the working directory: change to the folder that it was run in, or {HINT}"
            )


def take_arrays(config: FitConfig, kept: Callable[[str], Path]) -> None:
    """Has the numbers of arrays in this process, from the file that `kept` knows by its name; ConfigError where they are not what they were."""
    dataset = config.dataset
    if isinstance(dataset, Arrays) and not dataset.is_here():
        try:
            dataset.read(kept(dataset.file_name))
        except (ValueError, LinfitError) as error:
            raise ConfigError(str(error)) from error
