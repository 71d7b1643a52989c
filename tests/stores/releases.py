"""Write a small store with the MLflow that is installed: `python -m tests.stores.releases`.

Run for each release whose tables are new. The store holds a single run and a sweep of four, in a
working directory as a user has it, and names neither the machine's folders nor its user.
"""

from __future__ import annotations

import os
import tarfile
from importlib.metadata import version
from pathlib import Path
from tempfile import TemporaryDirectory

from linfit.sweeps.run.hydra_app import execute
from tests.stores.write import anonymous, neutral

STORES = Path(__file__).parent
SETTINGS = ("article/linear_adam", "steps=20", "pictures=false")
SWEPT = ("optimizer.lr=0.1,0.2", "seed=0,1")


def main() -> None:
    release = ".".join(version("mlflow").split(".")[:2])
    with TemporaryDirectory() as place:
        folder = Path(place).resolve()
        os.chdir(folder)  # which is in no git repository
        execute(SETTINGS)
        execute(["--multirun", *SETTINGS, *SWEPT])
        os.chdir("/")
        neutral(folder)
        with tarfile.open(STORES / f"mlflow-{release}.tar.xz", "w:xz") as archive:
            archive.add(folder / "outputs", "outputs", filter=anonymous)


if __name__ == "__main__":
    main()
