"""Arguments of a command line: Hydra's flags, an experiment, and overrides."""

from __future__ import annotations

import argparse
import posixpath
from collections.abc import Sequence
from itertools import pairwise, takewhile
from pathlib import Path
from typing import NoReturn

from hydra._internal.utils import get_args_parser

from linfit.component import describe_unknown
from linfit.config import GROUPS, FitConfig
from linfit.errors import ConfigError
from linfit.override import Override
from linfit.sweeps.config_files import search_path as locations
from linfit.sweeps.config_files.number_grids import expand_number_grids
from linfit.sweeps.config_files.quoting import quote_column_names
from linfit.system.host import quote_word

#: Flags of Hydra that choose one way to go on.
_MODES = ("run", "multirun", "cfg", "info", "shell_completion")


def split_arguments(arguments: Sequence[str]) -> tuple[str, list[str]]:
    """Return experiment and overrides; the experiment is the argument without `=`."""
    if isinstance(arguments, str):
        raise ConfigError(
            f"got the text {arguments!r}, must be a list of an experiment and overrides: "
            f"[{arguments!r}]"
        )
    names: list[str] = []
    overrides: list[str] = []
    for argument in arguments:
        override = Override.read(argument)
        if argument and not override.key:
            raise ConfigError(f"{argument} names no key: an override is KEY=VALUE")
        if override.value is None and not override.deletes:
            names.append(resolve_experiment(argument))
        else:
            _require_choice(override)
            overrides.append(quote_column_names(expand_number_grids(argument)))
    if len(names) > 1:
        raise ConfigError(
            f"one experiment at a time, got {' and '.join(names)}: an override is KEY=VALUE"
        )
    if not names:
        return locations.TOP_CONFIG, overrides
    return names[0], overrides


def require_no_blank(arguments: Sequence[str]) -> None:
    """Raise ConfigError if a value was typed with a blank and without quotes.

    The shell has split it, and its second half would be an experiment.
    """
    known = locations.find_experiments()
    for place, (before, word) in enumerate(pairwise(arguments), 1):
        if Override.read(before).value is None or not _is_word(word):
            continue
        if resolve_experiment(word) not in known:
            value = " ".join([before, *takewhile(_is_word, arguments[place:])])
            raise ConfigError(
                f"{describe_unknown('experiment', word, list(known))}; if it belongs to {before}, "
                f"a value with a blank stands in quotes: {quote_word(value)}"
            )


def _is_word(argument: str) -> bool:
    """Return True for an argument that is no override."""
    override = Override.read(argument)
    return override.value is None and not override.deletes


def resolve_experiment(argument: str) -> str:
    """Return the name of an experiment.

    It may be given as a file: `experiments/base.yaml`. ConfigError if it is a key without a value.
    """
    known = locations.find_experiments()
    name = argument
    if argument:
        name = posixpath.normpath(argument.removesuffix(".yaml"))
    if name in known:
        return name
    file = Path(f"{name}.yaml").absolute()
    for other, path in known.items():
        if path.absolute() == file:
            return other
    section = Override.read(argument).key.partition(".")[0]
    if section in FitConfig.model_fields and not argument.endswith(".yaml"):
        raise ConfigError(f"{argument} has no value: an override is KEY=VALUE")
    return name


def parse_flags(arguments: Sequence[str]) -> argparse.Namespace:
    """Read Hydra's flags; ConfigError if wrong or incompatible."""
    parser = get_args_parser()

    def error(message: str) -> NoReturn:
        raise ConfigError(f"{message}: `linfit run --help` lists the flags")

    parser.error = error  # type: ignore[method-assign]
    flags: argparse.Namespace = parser.parse_intermixed_args(list(arguments))
    several = [mode for mode in _MODES if getattr(flags, mode)]
    if len(several) > 1:
        raise ConfigError(f"only one of --{' and --'.join(several)} at a time")
    if flags.resolve and not (flags.cfg or flags.help):
        raise ConfigError("--resolve goes with --cfg or --help")
    return flags


def _require_choice(override: Override) -> None:
    """Raise ConfigError if an override chooses several components of a group, or none."""
    group = override.key
    value = override.value or ""
    if group not in GROUPS or override.deletes:
        return
    if value.startswith("["):
        one = value.strip("[]")
        raise ConfigError(
            f"{override.text}: {group} is one component, not a list: choose one, "
            f"or sweep over several with -m {group}={one}"
        )
    if value == "null":
        raise ConfigError(
            f"{override.text} chooses no {group}: "
            f"there are {', '.join(locations.find_components(group))}"
        )
