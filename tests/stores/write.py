"""Write a small store of this version: `python -m tests.stores.write tests/stores/v2.tar.xz`.

Run for each schema of the stored config, by the version that introduces it, and again when
components are added; `tests/test_stores.py` reproduces what is in it with every later version.
The store holds single runs, and a sweep over every component that no other store has, what belongs
to no component and what conventions decide, with nothing in it that names the machine's folders or
user.
"""

from __future__ import annotations

import io
import json
import os
import shutil
import sqlite3
import sys
import tarfile
from contextlib import closing
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from pyarrow import parquet

from linfit.config import FitConfig
from linfit.engine.fit import Fit, Status
from linfit.settings import MLflowTracking
from linfit.sweeps.run.rerun import RepeatedSample, repeat_run, repeat_sample
from linfit.tracking.schema import mlflow_names
from linfit.tracking.write.open import open_recorder
from tests import helpers

STEPS = 20
#: What stands for the folder in which it was written.
ELSEWHERE = "/elsewhere"
#: Groups of which other components do not run on every machine, or do not decide the numbers.
LEFT_OUT = ("device", "tracking", "engine")
#: What belongs to no component.
BESIDE: tuple[dict[str, Any], ...] = (
    {"stop": {"excess_loss": 0.1}},
    {"stop": {"gradient_norm": 0.1}},
    {"split": {"validation": 0.25}},
    {"threads": 2},
    {"deterministic": False},
)
WEIGHTED = {
    "name": "csv",
    "path": "linfit:article.csv",
    "features": ["x_squared", "one"],
    "target": "y",
    "weight": "x_squared",
}
RIDGE = {"name": "ridge", "strength": 20.0}
INTERCEPT = {"name": "raw", "intercept": True}
SCALED = {"name": "polynomial", "degree": 2, "basis": "chebyshev", "scaling": "standardize"}
#: Settings under a convention that schema 2 changed: the penalty of an intercept, the mean over
#: weighted samples.
CONVENTIONS: tuple[dict[str, Any], ...] = (
    {
        "features": INTERCEPT,
        "penalty": RIDGE,
        "optimizer": "closed_form",
        "dataset": "random_linear",
    },
    {
        "features": INTERCEPT,
        "penalty": RIDGE,
        "optimizer": {"name": "manual_sgd", "lr": 1e-3},
        "gradient": "manual",
        "dataset": "random_linear",
    },
    {
        "features": SCALED,
        "penalty": RIDGE,
        "optimizer": {"name": "sgd", "lr": 1e-3},
        "model": "linear",
        "dataset": {"name": "random_linear", "p": 2},
    },
    {
        "features": INTERCEPT,
        "penalty": RIDGE,
        "optimizer": "heavy_ball",
        "loss": "mse",
        "dataset": {
            "name": "csv",
            "path": "linfit:article.csv",
            "features": ["x_squared"],
            "target": "y",
        },
    },
    {
        "features": INTERCEPT,
        "penalty": {"name": "ridge", "strength": 0.5},
        "loss": "huber",
        "dataset": {"name": "random_linear", "q": 2},
    },
    {
        "dataset": WEIGHTED,
        "loss": "mse",
        "optimizer": {"name": "sgd", "lr": 1e-2},
        "gradient": "manual",
    },
    {
        "dataset": WEIGHTED,
        "loss": "mse",
        "optimizer": "nesterov",
        "gradient": "gram",
        "split": {"validation": 0.25},
    },
    {
        "dataset": WEIGHTED,
        "loss": "mse",
        "optimizer": {"name": "manual_sgd", "lr": 1e-2},
        "batch": "minibatch",
    },
    {
        "dataset": WEIGHTED,
        "loss": "sse",
        "optimizer": {"name": "manual_sgd", "lr": 1e-2, "average": True},
    },
    {
        "dataset": WEIGHTED,
        "loss": "mse",
        "optimizer": "closed_form",
        "features": INTERCEPT,
        "penalty": {"name": "ridge", "strength": 0.5},
    },
)
#: What a group's components need beside them: functions of columns, columns that vary.
NEEDED: dict[str, dict[str, Any]] = {"features": {"dataset": {"name": "random_linear", "p": 2}}}
#: Components that a config names no more than earlier ones did.
UNNAMED = {"split": "holdout"}
Components = set[tuple[str, str]]


def components() -> Components:
    """(group, name) of all that a store is to have."""
    return {(group, row.name) for group, row in helpers.rows() if group not in LEFT_OUT}


def held(stores: list[Path]) -> Components:
    """(group, name) of what the sweeps of these stores have."""
    found: Components = set()
    for store in stores:
        with tarfile.open(store) as archive:
            files = [
                archive.extractfile(entry)
                for entry in archive
                if Path(entry.name).name == mlflow_names.MANIFEST
            ]
            tables = [
                parquet.read_table(io.BytesIO(file.read()), columns=["config"])
                for file in files
                if file is not None
            ]
        for text in (text for table in tables for text in table["config"].to_pylist()):
            found |= parts_of(json.loads(text)["config"])
    return found


def parts_of(config: dict[str, Any]) -> Components:
    sections = {group: part for group, part in config.items() if isinstance(part, dict)}
    named = {group: part.get("name", UNNAMED.get(group)) for group, part in sections.items()}
    return {(group, name) for group, name in named.items() if name is not None}


def configs(wanted: Components) -> list[FitConfig]:
    """Return configs with every setting of each wanted component, with the defaults of the others.

    The dtypes take turns.
    """
    given = [
        {
            **NEEDED.get(group, {}),
            **{key: own_data(part) for key, part in helpers.beside(group, settings).items()},
            group: own_data(settings),
        }
        for group, settings in helpers.settings()
        if (group, settings["name"]) in wanted
    ]
    parts: list[dict[str, Any]] = [*given, *BESIDE, *CONVENTIONS]
    return [
        helpers.config(**{"steps": STEPS, "seed": seed, "dtype": helpers.DTYPES[seed % 2], **part})
        for seed, part in enumerate(parts)
    ]


def own_data(settings: dict[str, Any]) -> dict[str, Any]:
    """With a data file of the tests copied into the working directory."""
    file = Path(settings.get("path", ""))
    if not file.is_relative_to(helpers.DATA):
        return settings
    shutil.copy(file, file.name)
    return {**settings, "path": file.name}


def finished(place: int, fit: Fit) -> dict[str, str]:
    assert fit.status is not Status.FAILED, fit.error
    return {}


def record(folder: Path, wanted: Components) -> None:
    """Record single runs, and a sweep of all configs.

    There is a single run of each component in the last of its settings, and of each convention.
    """
    recorder = open_recorder(MLflowTracking(uri=f"sqlite:///{folder}/outputs/mlflow.db"), "stored")
    every = configs(wanted)
    names = (
        (group, name, config)
        for config in every
        for group, name in parts_of(config.as_dict()) & wanted
    )
    chosen = {f"{group} {name}": config for group, name, config in names}
    chosen |= {
        f"convention {number}": config for number, config in enumerate(every[-len(CONVENTIONS) :])
    }
    for name, config in sorted(chosen.items()):
        repeat_run(config.resolved(), name, recorder, finished)
    resolved = [config.resolved(several=True) for config in every]
    repeat_sample(
        RepeatedSample("every component", resolved, ("optimizer", "dtype", "seed"), {}),
        recorder,
        finished,
        workers=1,
    )


def move(file: Path, before: str, after: str) -> None:
    """Has the artifacts of a store elsewhere."""
    with closing(sqlite3.connect(file)) as database:
        for table, column in (
            ("experiments", "artifact_location"),
            ("runs", "artifact_uri"),
            ("logged_models", "artifact_location"),
        ):
            database.execute(
                f"UPDATE {table} SET {column} = replace({column}, ?, ?)", (before, after)
            )
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
    wanted = components() - held(
        [store for store in target.parent.glob("v*.tar.xz") if store != target]
    )
    with TemporaryDirectory() as place:
        folder = Path(place).resolve()
        os.chdir(folder)  # which is in no git repository
        record(folder, wanted)
        os.chdir("/")
        neutral(folder)
        with tarfile.open(target, "w:xz") as archive:
            for part in sorted(folder.iterdir()):
                archive.add(part, part.name, filter=anonymous)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
