"""Numbers of a problem as lines of the plain program that `linfit script` prints."""

from __future__ import annotations

from linfit.problem.problem import Problem
from linfit.problem.types import Array
from linfit.script_fragments import SCRIPT_WIDTH, Lines, ScriptScope, indent_lines


def write_numbers(problem: Problem, scope: ScriptScope) -> Lines:
    """Return lines with the numbers of a problem themselves, column by column."""
    lines = (
        *_write_array("X", problem.X, problem.features, scope),
        *_write_array("y", problem.y, problem.targets, scope),
    )
    shares = problem.mean_one_weights
    if shares is None:
        return lines
    return (*lines, *_write_array("weights", shares[:, None], ("weights",), scope))


def _write_array(name: str, values: Array, titles: tuple[str, ...], scope: ScriptScope) -> Lines:
    *columns, last = values.T.tolist()
    lines: list[str] = []
    for column in columns:
        lines += scope.format_array(column, ",")
    lines += scope.format_array(last, "], axis=1)")
    opening = f"{name} = np.stack([  # {', '.join(map(repr, titles))}"[:SCRIPT_WIDTH]
    return (opening, *indent_lines(lines))
