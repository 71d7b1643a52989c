"""How single runs in processes that another launcher of Hydra's has started say what came out of them: one file each, in one folder."""

from __future__ import annotations

import json
from dataclasses import asdict

from linfit.scratch import discard_folder, new_folder
from linfit.sweeps.recording import Done


class Letterbox:
    """A temporary folder, written by the processes that run the jobs, read and removed by the one that started them."""

    def __init__(self) -> None:
        self.path = new_folder()

    def leave(self, job: int, done: Done, where: str) -> None:
        """Says what came out of a job, and where it was recorded."""
        written = self.path / f"{job}.part"
        written.write_text(json.dumps([asdict(done), where]), encoding="utf-8")
        written.replace(self.path / f"{job}.json")

    def collect(self) -> list[tuple[Done, str]]:
        """What all jobs have left, in their order; the folder is removed."""
        files = sorted(self.path.glob("*.json"), key=lambda file: int(file.stem))
        letters = [json.loads(file.read_text(encoding="utf-8")) for file in files]
        discard_folder(self.path)
        return [(Done(**done), where) for done, where in letters]
