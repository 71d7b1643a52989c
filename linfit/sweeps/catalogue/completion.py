"""Completions of the shell for `linfit run`: experiments, and Hydra's overrides and flags."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import PurePosixPath

from hydra._internal.core_plugins.bash_completion import BashCompletion
from hydra._internal.utils import get_args_parser

from linfit.config import GROUPS
from linfit.errors import ConfigError
from linfit.override import Override
from linfit.sweeps.compose.arguments import split_arguments
from linfit.sweeps.compose.compose import create_loader
from linfit.sweeps.config_files import search_path
from linfit.sweeps.config_files.messages import COMPOSITION_ERRORS


def suggest_completions(words: Sequence[str], incomplete: str) -> list[str]:
    """Return completions of `incomplete` after `words`, none if nothing fits."""
    try:
        experiment, overrides = split_arguments(
            [word for word in words if not word.startswith("-")]
        )
        query = BashCompletion(create_loader())._query(
            experiment, " ".join([*overrides, incomplete])
        )
    except (ConfigError, OSError, *COMPOSITION_ERRORS):
        return []  # a half-written line or a broken file is no error of the completion

    names = search_path.find_experiments()
    chosen: list[str] = []
    if experiment == search_path.TOP_CONFIG:
        chosen = [name for name in names if name.startswith(incomplete)]
    # Hydra takes a folder of experiments for a group.
    folders: set[str] = set()
    for name in names:
        folders.update(map(str, PurePosixPath(name).parents))
    folders -= set(GROUPS)
    return chosen + [choice for choice in query if Override.read(choice).key not in folders]


def list_hydra_flags() -> list[str]:
    """Return Hydra's long flags."""
    flags: list[str] = []
    for action in get_args_parser()._actions:
        flags += [flag for flag in action.option_strings if flag.startswith("--")]
    return flags
