"""How single runs in processes that another launcher of Hydra's has started say what came out of them: one file each, in one folder."""

from __future__ import annotations

import json
import shutil
from dataclasses import asdict
from pathlib import Path
from tempfile import mkdtemp

from linfit.sweeps.recording import Done


class Letterbox:
    """A temporary folder, written by the processes that run the jobs, read and removed by the one that started them."""

    def __init__(self) -> None:
        self.path = Path(mkdtemp(prefix="linfit-"))

    def leave(self, job: int, done: Done, where: str) -> None:
        """Says what came out of a job, and where it was recorded."""
        written = self.path / f"{job}.part"
        written.write_text(json.dumps([asdict(done), where]), encoding="utf-8")
        written.replace(self.path / f"{job}.json")

    def collect(self) -> list[tuple[Done, str]]:
        """What all jobs have left, in their order; the folder is removed."""
        files = sorted(self.path.glob("*.json"), key=lambda file: int(file.stem))
        letters = [json.loads(file.read_text(encoding="utf-8")) for file in files]
        shutil.rmtree(self.path, ignore_errors=True)
        return [(Done(**done), where) for done, where in letters]
