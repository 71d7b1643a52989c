"""Grids of numbers: `geomspace(1e-4,1,9)` and `linspace(0,1,11)`, as in NumPy.

Hydra's grammar has no such functions. They are written out as lists of values before it parses, so
that a grid may be used wherever values may: `shuffle(geomspace(1e-3,1,7))`, `0,geomspace(…)`.

The ends are exact. A number between them is rounded to the fewest digits that are right to a
hundredth of a step (of its logarithm, for geomspace): 0.000316 for 0.00031622776601683794. The
rounded number is the value of the fit. Whole numbers between whole ends are integers.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence

import numpy as np

from linfit.errors import ConfigError, shorten
from linfit.override import Override
from linfit.problem.types import Array
from linfit.sweeps.config_files.quoting import QUOTED

#: Most numbers in a grid. More are read slowly, and are better drawn from an interval.
MAX_GRID = 10_000
#: The largest error of a number, as a share of the step to its neighbour.
ROUNDING = 0.01

_GRID = re.compile(r"(?<![\w.-])(geomspace|linspace|logspace)\s*\(([^()]*)\)", re.ASCII)
_QUOTED_OR_GRID = re.compile(f"{QUOTED}|{_GRID.pattern}", re.ASCII)


def expand_number_grids(override: str) -> str:
    """Write out the grids of an override; ConfigError for one that has no such numbers.

    Within the settings of Hydra, such as `hydra.sweeper.params`, they become text, which is written
    out when the sweep is made.
    """
    given = Override.read(override)
    if given.value is None or "space" not in given.value:
        return override
    in_settings = given.key.startswith("hydra.")

    def write(found: re.Match[str]) -> str:
        if found[1] is None:
            return found[0]  # text in quotes
        if in_settings:
            return f"'{found[0]}'"
        return ",".join(map(repr, _compute_grid(found, override)))

    return given.with_value(_QUOTED_OR_GRID.sub(write, given.value)).text


def list_grid_values(key: str, value: object) -> Sequence[float] | None:
    """Return the numbers of a grid that is written as text; None if the value is no grid."""
    found = _GRID.fullmatch(value.strip()) if isinstance(value, str) else None
    return None if found is None else _compute_grid(found, f"{key}={value}")


def _compute_grid(found: re.Match[str], override: str) -> list[float]:
    name = found[1]
    where = f"{shorten(override)}: {name}"
    form = _FORMS[name]
    if name == "logspace":
        raise ConfigError(f"{where} is not known: write {form}, with the ends themselves")
    start, stop, num = _read_arguments(found[2], where, form)
    if not 2 <= num <= MAX_GRID:
        raise ConfigError(
            f"{where} has from 2 to {MAX_GRID:,} numbers, not {num}: choose that many, as in {form}"
        )
    if name == "geomspace" and min(start, stop) <= 0:
        raise ConfigError(f"{where} needs ends above 0: choose them so, or linspace")
    steps = np.geomspace if name == "geomspace" else np.linspace
    values = steps(start, stop, num)
    values[[0, -1]] = start, stop
    numbers = _round_values(values, name == "geomspace")
    if len(set(numbers)) < num:
        raise ConfigError(
            f"{where}: there are fewer than {num} numbers from {start} to {stop}: "
            "choose fewer, or ends further apart"
        )
    if isinstance(start, int) and isinstance(stop, int) and all(map(float.is_integer, numbers)):
        return list(map(int, numbers))
    return numbers


#: How each grid is written.
_FORMS = {
    "geomspace": "geomspace(1e-4,1,9)",
    "linspace": "linspace(0,1,11)",
    "logspace": "geomspace(1e-4,1,9)",
}


def _read_arguments(text: str, where: str, form: str) -> tuple[float, float, int]:
    """Return the ends, and how many numbers there are."""
    try:
        start, stop, num = text.split(",")
        ends = (_read_number(start), _read_number(stop))
        count = int(num)
    except ValueError:
        wanted = "takes two ends and how many numbers"
        raise ConfigError(f"{where} {wanted}: write it as in {form}") from None
    if not np.isfinite(ends).all():
        raise ConfigError(f"{where} needs finite ends: choose them, as in {form}")
    return *ends, count


def _read_number(text: str) -> float:
    """Return a number, as an integer if it is written as one."""
    number = float(text)
    whole = re.fullmatch(r"\s*[+-]?[0-9]+\s*", text) and number.is_integer()
    return int(number) if whole else number


def _round_values(values: Array, logarithmic: bool) -> list[float]:
    """Return the numbers with the fewest digits that are right to a share of the step."""
    exact = values[1:-1]
    for digits in range(17):
        rounded = np.array([_round_to(digits, logarithmic)(value) for value in exact.tolist()])
        if logarithmic:
            allowed = ROUNDING * abs(np.log(values[-1] / values[0])) / (len(values) - 1)
            wrong = np.abs(rounded / exact - 1)
        else:
            allowed = ROUNDING * abs(values[-1] - values[0]) / (len(values) - 1)
            wrong = np.abs(rounded - exact)
        if (wrong <= allowed).all():
            return [float(values[0]), *rounded.tolist(), float(values[-1])]
    return [float(value) for value in values]


def _round_to(digits: int, significant: bool) -> Callable[[float], float]:
    if significant:
        return lambda value: float(f"{value:.{digits}e}")
    return lambda value: round(value, digits)
