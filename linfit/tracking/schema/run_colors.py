"""Give the runs of a sweep a colour for each method, which MLflow's UI draws them in."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence

from linfit.config import GROUPS
from linfit.override import Override
from linfit.tracking.schema.objective import PROBLEM_SECTIONS

COLOR_TAG = "mlflow.runColor"
#: The colours of the pictures, in their order.
RUN_COLORS = (
    "#0072B2",
    "#D55E00",
    "#009E73",
    "#CC79A7",
    "#56B4E9",
    "#E69F00",
    "#000000",
    "#7F7F7F",
)


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
        colors.append(RUN_COLORS[number % len(RUN_COLORS)])
    return colors
