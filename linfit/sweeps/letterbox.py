"""A directory of results, one file a job.

Another launcher of Hydra's may run jobs in processes of its own. They write their results here,
and the process that started them reads them.
"""

from __future__ import annotations

import json
from dataclasses import asdict

from linfit.scratch import discard_folder, new_folder
from linfit.sweeps.recording import Done


class Letterbox:
    """Temporary directory of results."""

    def __init__(self) -> None:
        self.path = new_folder()

    def leave(self, job: int, done: Done, where: str) -> None:
        """Write the result of a job, and where it is recorded."""
        written = self.path / f"{job}.part"
        written.write_text(json.dumps([asdict(done), where]), encoding="utf-8")
        written.replace(self.path / f"{job}.json")

    def collect(self) -> list[tuple[Done, str]]:
        """Return the results in the order of their jobs, and remove the directory."""
        files = sorted(self.path.glob("*.json"), key=lambda file: int(file.stem))
        results = []
        for file in files:
            done, where = json.loads(file.read_text(encoding="utf-8"))
            results.append((Done(**done), where))
        discard_folder(self.path)
        return results
