"""What the shell may complete behind `linfit run`: experiments, and what Hydra offers for overrides."""

from __future__ import annotations

from collections.abc import Sequence

from hydra._internal.core_plugins.bash_completion import BashCompletion

from linfit.sweeps import locations
from linfit.sweeps.composition import new_loader, split


def complete(words: Sequence[str], incomplete: str) -> list[str]:
    """Completions of `incomplete` behind `words`. Bash hands over `optimizer=ad` as three words, `optimizer`, `=` and `ad`."""
    words, prefix = list(words), ""
    if incomplete == "=" and words:
        prefix, incomplete = f"{words.pop()}=", ""
    elif words and words[-1] == "=":
        prefix = f"{words[-2]}="
        words = words[:-2]
    experiment, overrides = split([word for word in words if not word.startswith("-")])
    names = [name for name in locations.experiments() if name.startswith(incomplete)] if experiment == locations.TOP and not prefix else []
    query = BashCompletion(new_loader())._query(experiment, " ".join([*overrides, prefix + incomplete]))
    return names + [choice.removeprefix(prefix) for choice in query]
