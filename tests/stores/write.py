"""Writes a small store as this version of linfit writes it: `python -m tests.stores.write tests/stores/v1.tar.xz`.

Run once for each schema of the stored config, by the version that introduces it; `tests/test_stores.py` reproduces what is in it with
every later version. Holds single runs and a sweep over every component, with nothing in it that names the machine's folders or user.
"""

from __future__ import annotations

import os
import sqlite3
import sys
import tarfile
from contextlib import closing
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from linfit.config import FitConfig
from linfit.settings import MLflowTracking
from linfit.sweeps.repeating import Sample, repeat, repeat_sample
from linfit.tracking.opening import open_recorder
from tests import helpers

STEPS = 20
#: What stands for the folder in which it was written.
ELSEWHERE = "/elsewhere"
#: Groups of which other components do not run on every machine, or do not decide the numbers.
LEFT_OUT = ("device", "tracking", "engine")


def configs() -> list[FitConfig]:
    """Every setting of every component in turn, beside the defaults of the others, by turns in both dtypes."""
    given = [(group, settings) for group, settings in helpers.settings() if group not in LEFT_OUT]
    parts: list[dict[str, Any]] = [{group: settings} for group, settings in given]
    return [helpers.config(steps=STEPS, seed=seed, dtype=helpers.DTYPES[seed % 2], **part) for seed, part in enumerate(parts)]


def record(folder: Path) -> None:
    """Single runs of each optimizer and each dataset, and a sweep of all configs."""
    recorder = open_recorder(MLflowTracking(uri=f"sqlite:///{folder}/outputs/mlflow.db"), "stored")
    every = configs()
    chosen = {(config.optimizer.name, config.dataset.name): config for config in every}
    for (optimizer, dataset), config in chosen.items():
        repeat(config.resolved(), f"{optimizer} {dataset}", recorder, lambda place, fit: {})
    resolved = [config.resolved(several=True) for config in every]
    repeat_sample(Sample("every component", resolved, ("optimizer", "dtype", "seed"), {}), recorder, lambda place, fit: {}, workers=1)


def move(file: Path, before: str, after: str) -> None:
    """Has the artifacts of a store elsewhere."""
    with closing(sqlite3.connect(file)) as database:
        for table, column in (("experiments", "artifact_location"), ("runs", "artifact_uri"), ("logged_models", "artifact_location")):
            database.execute(f"UPDATE {table} SET {column} = replace({column}, ?, ?)", (before, after))
        database.commit()


def neutral(folder: Path) -> None:
    """Replaces what names the folder and the user, in the database and in files."""
    move(folder / "outputs" / "mlflow.db", str(folder), ELSEWHERE)
    with closing(sqlite3.connect(folder / "outputs" / "mlflow.db")) as database:
        database.execute("UPDATE runs SET user_id = 'somebody'")
        database.execute("UPDATE tags SET value = 'somebody' WHERE key = 'mlflow.user'")
        database.commit()
        database.execute("VACUUM")
    for file in folder.rglob("MLmodel"):
        file.write_text(file.read_text().replace(str(folder), ELSEWHERE))


def anonymous(entry: tarfile.TarInfo) -> tarfile.TarInfo:
    entry.uid = entry.gid = entry.mtime = 0
    entry.uname = entry.gname = ""
    return entry


def main(target: Path) -> None:
    target = target.absolute()
    with TemporaryDirectory() as place:
        folder = Path(place).resolve()
        os.chdir(folder)  # which is in no git repository
        record(folder)
        os.chdir("/")
        neutral(folder)
        with tarfile.open(target, "w:xz") as archive:
            archive.add(folder / "outputs", "outputs", filter=anonymous)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
