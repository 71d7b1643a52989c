"""What the shell may complete behind `linfit run`: experiments, and what Hydra offers for overrides and flags."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import PurePosixPath

from hydra._internal.core_plugins.bash_completion import BashCompletion
from hydra._internal.utils import get_args_parser

from linfit.config import GROUPS
from linfit.errors import ConfigError
from linfit.sweeps import locations
from linfit.sweeps.composition import new_loader
from linfit.sweeps.explanation import UNCOMPOSED
from linfit.sweeps.request import split


def complete(words: Sequence[str], incomplete: str) -> list[str]:
    """Completions of `incomplete` behind `words`; none where they make no sense."""
    try:
        experiment, overrides = split([word for word in words if not word.startswith("-")])
        query = BashCompletion(new_loader())._query(experiment, " ".join([*overrides, incomplete]))
    except (
        ConfigError,
        OSError,
        *UNCOMPOSED,
    ):  # a half-written line is no mistake, and a broken file none of the shell's
        return []
    names = locations.experiments()
    # To Hydra, a folder of experiments is a group.
    folders = {folder.as_posix() for name in names for folder in PurePosixPath(name).parents} - set(
        GROUPS
    )
    chosen = (
        [name for name in names if name.startswith(incomplete)]
        if experiment == locations.TOP
        else []
    )
    return chosen + [choice for choice in query if choice.partition("=")[0] not in folders]


def hydra_flags() -> list[str]:
    """Hydra's flags in full."""
    return [
        flag
        for action in get_args_parser()._actions
        for flag in action.option_strings
        if flag.startswith("--")
    ]
