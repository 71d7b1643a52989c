"""The colour of each method of a sweep: of its runs in MLflow's UI, and in pictures."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence

from linfit.config import GROUPS
from linfit.override import Override
from linfit.tracking.schema.objective import PROBLEM_SECTIONS

COLOR_TAG = "mlflow.runColor"
#: Okabe and Ito's colours ("Color Universal Design", 2008) without yellow, which is faint on white.
METHOD_COLORS = (
    "#0072B2",
    "#D55E00",
    "#009E73",
    "#CC79A7",
    "#56B4E9",
    "#E69F00",
    "#000000",
    "#7F7F7F",
)


def choose_color(number: int) -> str:
    """Return the colour of a method, numbered by its first fit."""
    return METHOD_COLORS[number % len(METHOD_COLORS)]


def color_methods(overrides: Iterable[Sequence[str]], varying: Collection[str]) -> list[str]:
    """Return the colour of each fit, given its overrides; those of one method have the same.

    A method is what the sweep chooses by name, but for parts of the problem. Colours are handed out
    in the order of the fits. Empty where nothing is chosen.
    """
    keys = {key for key in varying if key in GROUPS and key not in PROBLEM_SECTIONS}
    if not keys:
        return []
    chosen: dict[str, bool] = {}
    numbers: dict[tuple[str, ...], int] = {}
    colors = []
    for own in overrides:
        for override in own:
            if override not in chosen:
                chosen[override] = Override.read(override).key in keys
        method = tuple(override for override in own if chosen[override])
        number = numbers.setdefault(method, len(numbers))
        colors.append(choose_color(number))
    return colors
