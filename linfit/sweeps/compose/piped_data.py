"""Data that can be read once only, as from a pipe.

They are read when a config is composed. From then on they are arrays, kept with what is recorded.
"""

from __future__ import annotations

from functools import lru_cache

from linfit.config import FitConfig
from linfit.errors import ConfigError
from linfit.problem.datasets.arrays import Arrays, hold_in_memory
from linfit.problem.datasets.readers.pipes import identify_pipe, is_pipe
from linfit.problem.datasets.tabular_file import TabularFile
from linfit.sweeps.config_files.messages import notify_user


def hold_passing_data(config: FitConfig) -> FitConfig:
    """Return the config with a pipe's numbers in its place."""
    dataset = config.dataset
    if not isinstance(dataset, TabularFile) or not is_pipe(dataset.path):
        return config
    if dataset.resolve_seed(0) is not None:
        return config
    try:
        held = _read_once(dataset, identify_pipe(dataset.path))
    except (ValueError, OSError) as error:
        raise ConfigError(str(error)) from error
    return config.model_copy(update={"dataset": held})


@lru_cache(maxsize=64)
def _read_once(dataset: TabularFile, version: object) -> Arrays:
    """Return the numbers that came through a pipe; the jobs of a sweep share them."""
    arrays, notes = hold_in_memory(dataset)
    for note in notes:
        notify_user(f"note: {note}")
    notify_user(
        f"note: {dataset.path} can be read once: its numbers are kept with what is recorded, "
        "as dataset=arrays"
    )
    return arrays
