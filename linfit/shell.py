"""Shell completion of the whole command line by click, with an extension for bash."""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from typing import Any

from click import Command
from click.shell_completion import (
    BashComplete,
    CompletionItem,
    add_completion_class,
    get_completion_class,
    split_arg_string,
)

from linfit.component import unknown
from linfit.errors import ConfigError

#: Command with which each shell removes a completion.
FORGET = {"bash": "complete -r linfit", "zsh": "compdef -d linfit", "fish": "complete -c linfit -e"}
#: Characters at which bash splits a word. They become words of their own.
BREAKS = frozenset("=:")
PLAIN = "COMPREPLY+=($value)"


@add_completion_class
class Bash(BashComplete):
    """Completion of words that contain `=` or `:`.

    Bash splits `optimizer=ad` into three words and replaces only the last. No space is added after
    a value that is to be continued.
    """

    source_template = BashComplete.source_template.replace(
        PLAIN, f"{PLAIN}\n            [[ $value == *[=./] ]] && compopt -o nospace"
    )

    def get_completion_args(self) -> tuple[list[str], str]:
        at = int(os.environ["COMP_CWORD"])
        words = split_arg_string(os.environ["COMP_WORDS"])[1 : at + 1]
        if len(words) < at:  # the cursor is in no word yet
            self.kept = ""
            return joined(words), ""
        *complete, incomplete = joined(words)
        self.kept = incomplete.removesuffix("" if BREAKS.issuperset(words[-1]) else words[-1])
        return complete, incomplete

    def format_completion(self, item: CompletionItem[Any]) -> str:
        return f"{item.type},{item.value.removeprefix(self.kept)}"


def joined(words: Iterable[str]) -> list[str]:
    """Return the words as they were typed, before bash split them."""
    found: list[str] = []
    goes_on = False
    for word in words:
        breaks = BREAKS.issuperset(word)
        if found and (breaks or goes_on):
            found[-1] += word
        else:
            found.append(word)
        goes_on = breaks
    return found


def shell_script(request: Sequence[str]) -> str | None:
    """Return the script of `--shell-completion install=SHELL` or `uninstall=SHELL`, else None.

    It completes the whole command line of linfit. Hydra's own script would call `linfit` without
    `run`.
    """
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
