"""A directory of results, one file a job.

Another launcher of Hydra's may run jobs in processes of its own. They write their results here,
and the process that started them reads them.
"""

from __future__ import annotations

import json
from dataclasses import asdict

from linfit.sweeps.run.block_pipeline import CompletedFit
from linfit.system.scratch import create_temporary_folder, discard_folder


class ResultDirectory:
    """Temporary directory of results."""

    def __init__(self) -> None:
        self.path = create_temporary_folder()

    def write_result(self, job: int, done: CompletedFit, where: str) -> None:
        """Write the result of a job, and where it is recorded."""
        written = self.path / f"{job}.part"
        written.write_text(json.dumps([asdict(done), where]), encoding="utf-8")
        written.replace(self.path / f"{job}.json")

    def collect_results(self) -> list[tuple[CompletedFit, str]]:
        """Return the results in their jobs' order; remove the directory."""
        files = sorted(self.path.glob("*.json"), key=lambda file: int(file.stem))
        results = []
        for file in files:
            done, where = json.loads(file.read_text(encoding="utf-8"))
            results.append((CompletedFit(**done), where))
        discard_folder(self.path)
        return results
