"""Labels of grids, and of the rows of pairs, which name fits instead of some of their keys."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

from linfit.errors import ConfigError, shorten
from linfit.sweeps.search_space.axes import AxisRow, IntervalAxis, Setting, SweepAxis
from linfit.tracking.schema.grid_labels import LABEL_KEY, GridLabel
from linfit.tracking.schema.short_names import MAX_RUN_NAME, write_on_one_line


class LabelledSettings(NamedTuple):
    """A grid or a row of a pair, with its label."""

    where: str
    group: str
    """The labels of one group are for different fits."""
    place: str
    """The place of the label itself."""
    label: Any
    settings: Any


def check_labels(labelled: Sequence[LabelledSettings]) -> None:
    """Raise ConfigError for a label that cannot stand in a name or is of several settings.

    Also where a fit would have two labels.
    """
    first: dict[str, LabelledSettings] = {}
    for own in labelled:
        label = own.label
        is_text = isinstance(label, str) and label == write_on_one_line(label).strip()
        if not is_text or not 1 <= len(label) <= MAX_RUN_NAME:
            raise ConfigError(
                f"hydra.sweeper.{own.place}: got {shorten(repr(label))}, must be text of "
                f"1 to {MAX_RUN_NAME} characters on one line, without blanks around it, as in "
                f"label: 'with momentum'"
            )
        if own.group != labelled[0].group:
            raise ConfigError(
                f"hydra.sweeper.{labelled[0].where} and {own.where} are both labelled, "
                f"and a fit has one label: label one of them"
            )
        earlier = first.setdefault(label, own)
        if own.settings != earlier.settings:
            raise ConfigError(
                f"hydra.sweeper.{earlier.where} and {own.where} are both labelled {label!r} "
                f"and have different settings: give each its own label"
            )


def add_labels(
    axes: Sequence[SweepAxis | IntervalAxis], label: str | None
) -> list[SweepAxis | IntervalAxis]:
    """Return the axes of a grid with its label, if it has one, and those of its pairs' rows."""
    if label is not None:
        return [*axes, _label_grid(label, axes)]
    labelled: list[SweepAxis | IntervalAxis] = []
    for axis in axes:
        if isinstance(axis, SweepAxis) and LABEL_KEY in axis.keys:
            axis = _label_rows(axis, [other for other in axes if other is not axis])
        labelled.append(axis)
    return labelled


def _label_grid(label: str, axes: Sequence[SweepAxis | IntervalAxis]) -> SweepAxis:
    """Return the axis of a grid's label, which stands for the keys with one value in it."""
    several = [axis for axis in axes if isinstance(axis, IntervalAxis) or axis.size > 1]
    named = tuple(key for axis in several for key in axis.keys)
    setting = Setting(GridLabel(label, named).override, LABEL_KEY, label)
    return SweepAxis((), 1, lambda _: (setting,))


def _label_rows(axis: SweepAxis, others: Sequence[SweepAxis | IntervalAxis]) -> SweepAxis:
    """Return a pair whose rows end with their labels.

    A label stands for the keys of the pair, but for one with a grid of numbers in its row.
    """
    outside = [key for other in others for key in other.keys]
    different: dict[str, dict[str, set[str]]] = {}
    for index in range(axis.size):
        *settings, label = axis.row(index)
        own = different.setdefault(str(label.value), {})
        for setting in settings:
            own.setdefault(setting.key, set()).add(setting.override)

    def row(index: int) -> AxisRow:
        *settings, label = axis.row(index)
        text = str(label.value)
        several = [key for key, written in different[text].items() if len(written) > 1]
        override = GridLabel(text, (*several, *outside)).override
        return (*settings, Setting(override, LABEL_KEY, text))

    return SweepAxis(axis.keys[:-1], axis.size, row)
