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

from linfit.component import describe_unknown
from linfit.errors import ConfigError

#: Command with which each shell removes a completion.
UNINSTALL_COMMANDS = {
    "bash": "complete -r linfit",
    "zsh": "compdef -d linfit",
    "fish": "complete -c linfit -e",
}
#: Characters at which bash splits a word. They become words of their own.
WORD_BREAKS = frozenset("=:")
APPEND_VALUE = "COMPREPLY+=($value)"


@add_completion_class
class BashCompletion(BashComplete):
    """Completion of words that contain `=` or `:`.

    Bash splits `optimizer=ad` into three words and replaces only the last. No space is added after
    a value that is to be continued.
    """

    source_template = BashComplete.source_template.replace(
        APPEND_VALUE, f"{APPEND_VALUE}\n            [[ $value == *[=./] ]] && compopt -o nospace"
    )

    def get_completion_args(self) -> tuple[list[str], str]:
        at = int(os.environ["COMP_CWORD"])
        words = split_arg_string(os.environ["COMP_WORDS"])[1 : at + 1]
        if len(words) < at:  # the cursor is in no word yet
            self.kept = ""
            return join_words(words), ""
        *complete, incomplete = join_words(words)
        self.kept = incomplete.removesuffix("" if WORD_BREAKS.issuperset(words[-1]) else words[-1])
        return complete, incomplete

    def format_completion(self, item: CompletionItem[Any]) -> str:
        return f"{item.type},{item.value.removeprefix(self.kept)}"


def join_words(words: Iterable[str]) -> list[str]:
    """Return the words as they were typed, before bash split them."""
    found: list[str] = []
    goes_on = False
    for word in words:
        breaks = WORD_BREAKS.issuperset(word)
        if found and (breaks or goes_on):
            found[-1] += word
        else:
            found.append(word)
        goes_on = breaks
    return found


def render_shell_script(request: Sequence[str]) -> str | None:
    """Return the script of `--shell-completion install=SHELL` or `uninstall=SHELL`, else None.

    It completes the whole command line of linfit. Hydra's own script would call `linfit` without
    `run`.
    """
    action, _, shell = " ".join(request).partition("=")
    if action not in ("install", "uninstall"):
        return None
    if shell not in UNINSTALL_COMMANDS:
        raise ConfigError(
            f"--shell-completion {describe_unknown('shell', shell, list(UNINSTALL_COMMANDS))}"
        )
    if action == "uninstall":
        return UNINSTALL_COMMANDS[shell]
    kind = get_completion_class(shell)
    assert kind is not None
    return kind(Command("linfit"), {}, "linfit", "_LINFIT_COMPLETE").source()
