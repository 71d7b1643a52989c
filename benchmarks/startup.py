"""Measure what a single fit costs from the shell, next to bare torch with the same imports.

    python -m benchmarks.startup [--before FOLDER] [--repeats 9] [--json]

The fit is the article's fourth level: nn.Linear, autograd and 1,001 steps of Adam, once with
nothing recorded or drawn, once recorded in an existing store, with its pictures. The floor imports
every module that the command has imported but linfit's own, and mlflow too where something is
recorded, and makes the same steps without torch's compiler. `--before` measures another checkout
as well. All programs run in turn. Each figure is the median of whole processes: seconds on the
clock, and seconds of processor time, which other work on the machine changes less.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory

from benchmarks.peers.checkouts import find_checkout
from benchmarks.peers.processes import Command, Spent, python, spent_by

FIT = ("run", "article/linear_adam")
UNRECORDED = ("tracking=none", "pictures=false")


@dataclass(frozen=True)
class Program:
    """A command to measure.

    `bound` limits its time as a multiple of its floor's. None for the floor and for `--before`.
    """

    name: str
    command: Command
    source: Path | None = None
    bound: float | None = None


@dataclass(frozen=True)
class Case:
    """A way to run the fit: its floor, linfit, and linfit as it was before."""

    title: str
    programs: Sequence[Program]


def cases(folder: Path, before: Path | None) -> list[Case]:
    """Return both ways to run the fit, after a first run of each.

    The first run tells which modules are imported, and makes the store.
    """
    return [
        case("nothing recorded, no pictures", UNRECORDED, (), 1.25, folder, before),
        case("recorded, with pictures", (), ("mlflow",), 1.35, folder, before),
    ]


def case(
    title: str,
    settings: Sequence[str],
    more: Sequence[str],
    bound: float,
    folder: Path,
    before: Path | None,
) -> Case:
    """Return the programs of one way to run the fit.

    `more` are imports of the floor in addition to those of the command.
    """
    listing = folder / f"{bound}.txt"
    spent_by(python("imported", listing, *FIT, *settings), folder)

    linfit = python(None, *FIT, *settings)
    floor = " and ".join(["imports", *more, "the steps"])
    programs = [
        Program(floor, python("floors", "like", listing, *more)),
        Program("linfit", linfit, None, bound),
    ]
    if before is not None:
        spent_by(linfit, folder, before)  # its compiled modules are written
        programs.append(Program("linfit before", linfit, before))
    return Case(title, programs)


def measure(
    measured: Sequence[Case], folder: Path, repeats: int
) -> dict[str, dict[str, list[Spent]]]:
    """Run all programs in turn, `repeats` times."""
    spent: dict[str, dict[str, list[Spent]]] = {
        one.title: {program.name: [] for program in one.programs} for one in measured
    }
    for _ in range(repeats):
        for one in measured:
            for program in one.programs:
                spent[one.title][program.name].append(
                    spent_by(program.command, folder, program.source)
                )
    return spent


def median_of(spent: Sequence[Spent]) -> Spent:
    """Return the median of either time."""
    return Spent(median(one.wall for one in spent), median(one.cpu for one in spent))


def show(one: Case, spent: dict[str, list[Spent]]) -> None:
    """Print a line for each program of a case; the first is the floor."""
    floor = median_of(spent[one.programs[0].name])
    print(f"{one.title:<34}{'wall':>10}{'÷ floor':>9}{'cpu':>10}{'÷ floor':>9}")
    for program in one.programs:
        mine = median_of(spent[program.name])
        bound = "" if program.bound is None else f"   bound {program.bound}× in wall time"
        ratios = (
            f"{mine.wall:>8.2f} s{mine.wall / floor.wall:>9.2f}"
            f"{mine.cpu:>8.2f} s{mine.cpu / floor.cpu:>9.2f}"
        )
        print(f"  {program.name:<32}{ratios}{bound}")


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument(
        "--before", type=find_checkout, help="a folder with another checkout, measured besides"
    )
    parser.add_argument("--repeats", type=int, default=9, help="times that each program runs")
    parser.add_argument(
        "--json", action="store_true", help="every time that was measured, for a program to read"
    )
    arguments = parser.parse_args()
    with TemporaryDirectory() as name:
        folder = Path(name)
        measured = cases(folder, arguments.before)
        spent = measure(measured, folder, arguments.repeats)
    if arguments.json:
        times = {
            title: {name: [vars(one) for one in all_of] for name, all_of in each.items()}
            for title, each in spent.items()
        }
        print(json.dumps(times, indent=1))
        return
    for one in measured:
        show(one, spent[one.title])


if __name__ == "__main__":
    main()
