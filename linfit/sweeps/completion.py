"""What the shell may complete behind `linfit run`: experiments, and what Hydra offers for overrides."""

from __future__ import annotations

from collections.abc import Sequence

from hydra._internal.core_plugins.bash_completion import BashCompletion
from hydra.errors import HydraException
from omegaconf.errors import OmegaConfBaseException

from linfit.component import unknown
from linfit.errors import ConfigError
from linfit.sweeps import locations
from linfit.sweeps.composition import new_loader, split

#: How each shell forgets a completion.
FORGET = {"bash": "complete -r linfit", "zsh": "compdef -d linfit", "fish": "complete -c linfit -e"}


def complete(words: Sequence[str], incomplete: str) -> list[str]:
    """Completions of `incomplete` behind `words`; none where they make no sense. Bash hands over `optimizer=ad` as three words, `optimizer`, `=` and `ad`."""
    words, prefix = list(words), ""
    if incomplete == "=" and words:
        prefix, incomplete = f"{words.pop()}=", ""
    elif words and words[-1] == "=":
        prefix = f"{words[-2]}="
        words = words[:-2]
    try:
        experiment, overrides = split([word for word in words if not word.startswith("-")])
        query = BashCompletion(new_loader())._query(experiment, " ".join([*overrides, prefix + incomplete]))
    except (ConfigError, HydraException, OmegaConfBaseException):  # a half-written line is no mistake
        return []
    names = [name for name in locations.experiments() if name.startswith(incomplete)] if experiment == locations.TOP and not prefix else []
    return names + [choice.removeprefix(prefix) for choice in query]


def shell_script(request: Sequence[str]) -> str | None:
    """What a shell evaluates for `--shell-completion install=SHELL` or `uninstall=SHELL`; None for another request.

    It completes the whole of linfit's command line: Hydra's own script would ask `linfit`, without `run`.
    """
    from click import Command
    from click.shell_completion import get_completion_class

    action, _, shell = " ".join(request).partition("=")
    if action not in ("install", "uninstall"):
        return None
    if shell not in FORGET:
        raise ConfigError(f"--shell-completion {unknown('shell', shell, list(FORGET))}")
    if action == "uninstall":
        return FORGET[shell]
    kind = get_completion_class(shell)
    assert kind is not None
    return kind(Command("linfit"), {}, "linfit", "_LINFIT_COMPLETE").source()
