"""Compare two checkouts of linfit: the same command in turn, from no store, as whole processes."""

from __future__ import annotations

import shutil
from argparse import ArgumentTypeError
from collections.abc import Sequence
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory

from benchmarks.peers.processes import (
    ROOT,
    Command,
    ProgramError,
    Spent,
    finished_runs,
    python,
    spent_by,
)

NOW, BEFORE = "linfit", "linfit before"
Times = dict[str, list[Spent]]


def find_checkout(text: str) -> Path:
    """Return the absolute path of a checkout, as a type of argparse.

    Raise ArgumentTypeError if it is none.
    """
    folder = Path(text).absolute()
    if not (folder / "linfit" / "__main__.py").is_file():
        problem = f"{text} has no linfit/__main__.py; give the root of a checkout"
        raise ArgumentTypeError(problem)
    return folder


def measure_both(arguments: Sequence[str], size: int, before: Path, repeats: int) -> Times:
    """Run a sweep of `size` fits with either checkout, `repeats` times in turn.

    Raise ProgramError if a run is missing.
    """
    command = python(None, *arguments)
    spent: Times = {NOW: [], BEFORE: []}
    for number in range(repeats):
        pair = [(NOW, ROOT), (BEFORE, before)]
        for name, source in pair if number % 2 else reversed(pair):
            spent[name].append(measure_once(command, size, source))
    return spent


def measure_once(command: Command, size: int, source: Path) -> Spent:
    with TemporaryDirectory() as name:
        folder = Path(name)
        spent = spent_by(command, folder, source)
        if (count := finished_runs(folder)) != size:
            raise ProgramError(f"{count} of {size} runs can be read")
        shutil.rmtree(folder / "outputs")
        return spent


def show_both(size: int, spent: Times) -> None:
    """Print medians and the range of wall time, and the ratio of now to before in both times."""
    print(f"\n{size} runs × 1000 steps, {len(spent[NOW])} times in turn")
    for name, times in spent.items():
        wall, cpu = median_wall(times), median_cpu(times)
        least, most = min(one.wall for one in times), max(one.wall for one in times)
        print(f"{name:<16}{wall:>8.2f} s ({least:.2f}–{most:.2f}){cpu:>8.2f} s of processor time")
    wall_ratio = median_wall(spent[NOW]) / median_wall(spent[BEFORE])
    cpu_ratio = median_cpu(spent[NOW]) / median_cpu(spent[BEFORE])
    print(f"now ÷ before    {wall_ratio:>8.2f}   {cpu_ratio:.2f} in processor time")


def median_wall(times: Sequence[Spent]) -> float:
    return median(one.wall for one in times)


def median_cpu(times: Sequence[Spent]) -> float:
    return median(one.cpu for one in times)
